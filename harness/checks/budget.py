"""What did the run cost of the SLO's error budget, and how fast did it burn?"""

from __future__ import annotations

from typing import Any

from harness.checks.answer import Answer, failed, invalid, passed
from harness.units import format_duration, format_share


def budget_spent(lost_s: float, doubted_s: float, budget_s: float, limit: float, first_bad_ns: int | None) -> Answer:
    """The lost seconds of the run are at most this share of what the SLO's period allows.

    `doubted_s` are the lost seconds with everything bad that the load generator failed.
    """
    if budget_s <= 0:
        return invalid("the SLO leaves no error budget")
    spent, doubted = lost_s / budget_s, doubted_s / budget_s
    seen = f"{spent * 100:.3g} % ({format_duration(lost_s * 1e9)} of {format_duration(budget_s * 1e9)})"
    figures: dict[str, Any] = {"spent": spent, "lost_s": lost_s, "budget_s": budget_s}
    if spent > limit:
        why = f"the run spent {spent * 100:.3g} % of the error budget, at most {limit * 100:.3g} % it may"
        return failed(seen, why, at_ns=first_bad_ns, **figures)
    if doubted > limit:
        why = "requests that the load generator failed decide whether the budget was kept"
        return invalid(why, seen=seen, hint="give the load generator more CPU", at_ns=first_bad_ns, **figures)
    return passed(seen, at_ns=first_bad_ns, **figures)


def burn_rate(burn: dict[str, float], doubted: dict[str, float], limit: float, target: float) -> Answer:
    """Not all of the windows burn the budget faster than `limit` times its even pace.

    `burn` is the worst rate in each window, by its name: a page needs all of them (SRE workbook, multiwindow alerts).
    """
    if not burn:
        return invalid("no window to measure the burn rate in")
    told = ", ".join(f"{rate:.3g}x in {name}" for name, rate in burn.items())
    seen = f"{told}, of a budget of {format_share(1 - target)}"
    figures: dict[str, Any] = {"burn": burn, "limit": limit}
    if min(burn.values()) > limit:
        return failed(seen, f"the budget burned at {told}: more than {limit:g}x in every window", **figures)
    if min(doubted.values()) > limit:
        why = "requests that the load generator failed decide whether the budget burned too fast"
        return invalid(why, seen=seen, hint="give the load generator more CPU", **figures)
    return passed(seen, **figures)
