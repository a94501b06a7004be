"""How much did clients still get while it lasted? Good answers per second, in the worst stretch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from harness.checks.answer import Answer, failed, invalid, passed


@dataclass(frozen=True, slots=True, kw_only=True)
class Worst:
    """The stretch with the fewest good answers."""

    begin_ns: int
    least_per_s: float  # good answers that clients must get in it
    good_per_s: float
    unknown_per_s: float  # that the load generator failed in it, at most in any stretch
    offered_per_s: float


def goodput(worst: Worst | None, window_s: float) -> Answer:
    """No stretch of `window_s` seconds from the fault to the undo has fewer good answers per second than it must."""
    if worst is None:
        return invalid(
            f"from the fault to the undo there is no whole stretch of {window_s:g} s", hint="lengthen phases.recover"
        )
    least_per_s = worst.least_per_s
    seen = f"{worst.good_per_s:.4g}/s good in the worst {window_s:g} s, of {worst.offered_per_s:.4g}/s offered"
    figures: dict[str, Any] = {
        "good_per_s": worst.good_per_s,
        "offered_per_s": worst.offered_per_s,
        "window_s": window_s,
    }
    if worst.good_per_s < least_per_s and worst.offered_per_s < least_per_s:
        why = f"only {worst.offered_per_s:.4g} requests a second were offered: {least_per_s:.4g} could not be answered"
        return invalid(why, seen=seen, hint="raise load.rate above expect.goodput", at_ns=worst.begin_ns, **figures)
    if worst.good_per_s + worst.unknown_per_s < least_per_s:
        why = f"clients got {worst.good_per_s:.4g} good answers a second, at least {least_per_s:.4g} they must"
        return failed(seen, why, at_ns=worst.begin_ns, **figures)
    if worst.good_per_s < least_per_s:
        why = "requests that the load generator failed decide whether clients got enough"
        return invalid(why, seen=seen, hint="give the load generator more CPU", at_ns=worst.begin_ns, **figures)
    return passed(seen, at_ns=worst.begin_ns, **figures)
