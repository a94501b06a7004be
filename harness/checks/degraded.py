"""For how long, all outages together, was service not good?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.checks.answer import Answer, count, failed, invalid, passed
from harness.measure.recovery import Outage
from harness.units import format_duration


def degraded(certain: Sequence[Outage] | None, doubted: Sequence[Outage] | None, limit_ns: int, stop_ns: int) -> Answer:
    """The outages from the fault to the undo, relapses included, last at most `limit_ns` together.

    Each lasts at least from its first to its last bad request, and at most until the good one after it (`stop_ns` where
    none came). `doubted` takes requests that the load generator failed as bad. None: nothing struck.
    """
    if certain is None or doubted is None:
        return invalid("no fault struck, so nothing was degraded by it")
    least = sum(outage.last_ns - outage.first_ns for outage in certain)
    most = sum((stop_ns if outage.by_ns is None else outage.by_ns) - outage.first_ns for outage in doubted)
    outages = count(len(certain), "outage")
    seen = f"{format_duration(least)} to {format_duration(most)} in {outages}" if certain else "no outage"
    at = certain[0].first_ns if certain else None
    figures: dict[str, Any] = {"least_ns": least, "most_ns": most, "outages": len(certain)}
    if least > limit_ns:
        why = f"service was degraded for {format_duration(least)}, at most {format_duration(limit_ns)} it may be"
        return failed(seen, why, at_ns=at, **figures)
    if most > limit_ns:
        why = (
            f"the limit of {format_duration(limit_ns)} falls between two arrivals, or was decided by the load generator"
        )
        return invalid(why, seen=seen, hint="raise load.rate: the arrivals are its resolution", at_ns=at, **figures)
    return passed(seen, at_ns=at, **figures)
