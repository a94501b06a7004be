"""Was the promise kept with room to spare, and at what price in error budget? What a gate may ask beyond a verdict."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from harness.experiment.model import Expect, Experiment
from harness.history.reader import History
from harness.judge import judge_history
from harness.verdict import Verdict

_LIMITS = (
    "lost_ns",
    "lost_requests",
    "recovers_within_ns",
    "replicas_within_ns",
    "undone_within_ns",
    "stable_within_ns",
    "degraded_ns",
    "in_flight_lost",
)
_SHARES = ("exposed", "budget_spent", "burn_rate")


def judge_with_room(history: History, margin: float) -> Verdict:
    """The verdict that limits tighter by this share would have led to: 0.2 makes 4 s of a limit of 5 s.

    Times, shares and counts that must not be exceeded are tightened; what is exact (hold time, floor, pods) is not.
    """
    return judge_history(dataclasses.replace(history, experiment=_tightened(history.experiment, margin)))


def _tightened(experiment: Experiment, margin: float) -> Experiment:
    block = experiment.bulletproof
    strict: dict[str, Any] = {
        name: math.floor(value * (1 - margin)) for name in _LIMITS if (value := getattr(block.expect, name)) is not None
    }
    strict |= {name: value * (1 - margin) for name in _SHARES if (value := getattr(block.expect, name)) is not None}
    strict["latency_ns"] = {name: math.floor(limit * (1 - margin)) for name, limit in block.expect.latency_ns.items()}
    expect: Expect = block.expect.model_copy(update=strict)
    return experiment.model_copy(update={"bulletproof": block.model_copy(update={"expect": expect})})


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """Share of an SLO's error budget (of its whole period) that some runs used up."""

    slo: str
    at_least: float
    at_most: float  # with the requests that the load generator failed taken as bad


def budget_spent(verdicts: Sequence[Verdict], rate_per_s: float) -> list[Spent] | None:
    """Over all the runs together, for each SLO; None when one of the runs does not tell."""
    low: dict[str, float] = {}
    high: dict[str, float] = {}
    for verdict in verdicts:
        slos, requests = verdict.measurements.get("slos"), verdict.measurements.get("requests")
        if not slos or not requests:
            return None
        for slo in slos:
            name, spent = slo["name"], float(slo["budget_spent"])
            unknown = float(requests["not_judged"])
            low[name] = low.get(name, 0.0) + spent
            high[name] = high.get(name, 0.0) + spent + unknown / rate_per_s / float(slo["budget_s"])
    return [Spent(slo=name, at_least=low[name], at_most=high[name]) for name in low]
