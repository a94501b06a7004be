"""The limits that a run's promises must keep: as written, or with a gate's margin to spare.

A margin means one thing for all of them: of the bad that a limit allows, at most the share (1 - margin) may be there.
"At most 5 s" allows 5 s; with 20 % to spare it is 4 s. "At least 98 %" allows 2 %; with 20 % to spare it is 1.6 %, so
98.4 % must be good.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from harness.experiment.model import Expect, Slo

# Fields of `expect`. Whole numbers at most: nanoseconds and counts.
AT_MOST = (
    "lost_ns",
    "lost_requests",
    "wrong_answers",
    "recovers_within_ns",
    "replicas_within_ns",
    "undone_within_ns",
    "stable_within_ns",
    "degraded_ns",
    "in_flight_lost",
    "gray_pods",
)
AT_MOST_SHARE = ("exposed", "budget_spent", "burn_rate")
AT_LEAST_SHARE = ("uptime",)
LATENCIES = "latency_ns"
# "At least so many a second" allows the rest of what was offered, which only the check knows.
BY_CHECK = ("goodput_per_s",)
# No limits of a promise: how recovery is measured, and whole pods, of which the fault takes its own by intention.
EXACT = ("hold_ns", "ready_floor")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a run is held to. `expect` is tightened already."""

    expect: Expect
    margin: float

    @classmethod
    def of(cls, expect: Expect, margin: float) -> Limits:
        """The limits of an experiment with this margin to spare; 0 is what was promised."""
        return cls(expect=_tightened(expect, margin) if margin else expect, margin=margin)

    def target(self, slo: Slo) -> float:
        """The share of good requests that an SLO takes."""
        return at_least(slo.target, self.margin)


def at_least(share: float, margin: float) -> float:
    """The bad share that it allows shrinks: 98 % with 20 % to spare is 98.4 %. Never less than `share`."""
    return max(share, round(share + (1 - share) * margin, 12)) if margin else share


def at_most(limit: int, margin: float) -> int:
    """A whole number shrinks to a whole number: 3 with 20 % to spare is 2, and 0 stays 0."""
    return math.floor(round(limit * (1 - margin), 6)) if margin else limit  # 10 x (1 - 0.9) is 0.9999999999999998


def at_most_share(limit: float, margin: float) -> float:
    """A share, or a rate, shrinks."""
    return min(limit, round(limit * (1 - margin), 12)) if margin else limit


def _tightened(expect: Expect, margin: float) -> Expect:
    strict: dict[str, Any] = {LATENCIES: {name: at_most(limit, margin) for name, limit in expect.latency_ns.items()}}
    for fields, tighter in ((AT_MOST, at_most), (AT_MOST_SHARE, at_most_share), (AT_LEAST_SHARE, at_least)):
        strict |= {name: tighter(value, margin) for name in fields if (value := getattr(expect, name)) is not None}
    return expect.model_copy(update=strict)
