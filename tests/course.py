"""What happened in a run: the cluster's side and the clients', told in a few numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.history.records import Stop

ZERO_NS = 5_000_000_000_000  # the schedule's zero: 5000 s after boot
WALL_NS = 1_795_000_000_000_000_000
S = 1_000_000_000
MS = 1_000_000
RUN_ID = "20261121-101112-gpu-pod-kill-3f2a"
PODS = ("detector-7d9f-aaaaa", "detector-7d9f-bbbbb", "detector-7d9f-ccccc")
NEW_POD = "detector-7d9f-ddddd"


@dataclass(frozen=True, kw_only=True)
class Course:
    """What happened. Everything is seconds from the strike unless it says otherwise."""

    # what was offered
    rate: float = 200.0  # arrivals per second
    arrivals: str = "poisson"
    shape: str | None = None  # that the experiment declares
    trace: str | None = None  # recorded arrivals, as CSV; for arrivals="trace"
    shape_offered: str | None = None  # that the load had in truth
    seed: int = 7
    timeout_s: float = 1.5
    baseline_s: float = 15.0
    recover_s: float = 20.0
    rollback_s: float = 0.5
    settle_s: float = 5.0
    lag_ms: float = 0.1  # of every request
    latency_scale: float = 1.0  # of every answer

    # what clients saw
    outage: tuple[float, float] | Sequence[tuple[float, float]] = ()  # bad requests are scheduled in [from, to)
    outage_share: float = 1.0  # share of requests in an outage that are bad
    met_when_sent: bool = False  # what a request meets is what is there when it is sent, not when it was due
    outcome: str = "refused"  # of the bad ones; "slow" is an ok answer after 0.9 x timeout
    noise: float = 0.0  # share of requests that are bad at any time, independently
    late: Sequence[tuple[float, float, float]] = ()  # (from, to, ms): requests sent that much late
    not_sent: Sequence[tuple[float, float]] = ()
    slow_ms: float = 0.0  # added to answers of `slow_pod` (None: all) between strike and undo
    slow_pod: str | None = None
    bad_version: tuple[float, float, float] | None = None  # (from, to, share): answered by version 4
    bad_version_outcome: str = "wrong_answer"

    # what the cluster did
    fault: str = "pod-kill"
    strikes: bool = True
    claims: dict[str, bool | None] = field(
        default_factory=lambda: {"pod-gone": True, "endpoint-withdrawn": True, "pod-silent": None}
    )
    proven_s: float = 0.05
    withdrawn_s: float = 0.06
    silent: bool = True  # the struck pod answers nothing after the strike
    new_pod_scheduled_s: float = 0.3
    new_pod_ready_s: float | None = 1.2  # None: never
    undo_entries: int = 1
    undo_s: float = 0.2
    undo_verified: bool = True
    differences: tuple[str, ...] = ()
    after_snapshot: bool = True
    stop: Stop | None = None

    # what was promised
    target: float = 0.995
    within: str | None = "250ms"
    expect: dict[str, Any] = field(
        default_factory=lambda: {
            "lost": "0.5s",
            "recovers_within": "5s",
            "replicas_within": "15s",
            "wrong_answers": 0,
            "undone_within": "5s",
        }
    )
    stable_version: str | None = None
    lag_limit: str | None = "5ms"  # None: as the experiment's limits have it
    on_time: str = "99.9%"
    kept: str = "50%"

    @property
    def strike_ns(self) -> int:
        """Absolute moment of the strike."""
        return ZERO_NS + round((self.baseline_s + 0.01) * S)

    @property
    def rollback_ns(self) -> int:
        """Absolute begin of the rollback phase."""
        return ZERO_NS + round((self.baseline_s + 0.1 + self.recover_s) * S)

    @property
    def end_ns(self) -> int:
        """Absolute end of the load."""
        return self.rollback_ns + round((self.rollback_s + self.settle_s) * S)

    @property
    def outages(self) -> list[tuple[float, float]]:
        """The outages as a list."""
        if self.outage and isinstance(self.outage[0], int | float):
            return [self.outage]  # type: ignore[list-item]
        return list(self.outage)  # type: ignore[arg-type]

    def at(self, seconds: float) -> int:
        """Absolute monotonic ns of a moment given in seconds from the strike."""
        return self.strike_ns + round(seconds * S)
