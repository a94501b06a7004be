"""May it be claimed that the steady state meets the SLO? With how many requests, and at 95 % confidence."""

from __future__ import annotations

from typing import Any

from harness.checks.answer import Answer, invalid, passed
from harness.measure.steady import Bound, requests_needed
from harness.units import format_share


def steady_state(bound: Bound, target: float, rate_per_s: float) -> Answer:
    """The lower bound of the baseline's availability reaches the target."""
    if not bound.requests:
        return invalid("the baseline has no request")
    bad = bound.requests - bound.good
    share = bound.good / bound.requests
    seen = f"at least {format_share(bound.lower)} at 95 %, from {bound.requests:,} requests with {bad} bad"
    figures: dict[str, Any] = {
        "requests": bound.requests,
        "bad": bad,
        "design_effect": round(bound.design_effect, 3),
        "lower_bound": bound.lower,
    }
    if share < target:
        return invalid(f"the baseline itself misses the target: {format_share(share)} good", seen=seen, **figures)
    if bound.lower >= target:
        return passed(seen, **figures)
    needed = requests_needed(target, bad, bound.design_effect)
    why = (
        f"{bound.requests:,} requests with {bad} bad are too few to claim {format_share(target)}: "
        f"it takes {needed:,} with no further failure"
    )
    hint = f"lengthen phases.baseline to {needed / rate_per_s * 1.1:.0f}s or more, or raise load.rate"
    return invalid(why, seen=seen, hint=hint, needed=needed, **figures)
