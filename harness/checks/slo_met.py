"""Did the whole run meet the SLO? A census of what was offered, with no statistics: this run, and only this run."""

from __future__ import annotations

from typing import Any

from harness.checks.answer import Answer, count, failed, invalid, passed
from harness.measure.case import Tally
from harness.units import format_share


def slo_met(tally: Tally, target: float, first_bad_ns: int | None) -> Answer:
    """The share of good requests among all that were scheduled reaches the target."""
    if not tally.scheduled:
        return invalid("no request was scheduled")
    least, most = tally.good / tally.scheduled, (tally.good + tally.unknown) / tally.scheduled
    seen = f"{format_share(least)} good, {count(tally.bad, 'bad request')} of {tally.scheduled:,}"
    if tally.unknown:
        seen += f", {count(tally.unknown, 'request')} cannot be judged"
    figures: dict[str, Any] = {
        "scheduled": tally.scheduled,
        "good": tally.good,
        "bad": tally.bad,
        "availability": least,
    }
    if most < target:
        why = f"{format_share(most)} of the run's requests were good, the target is {format_share(target)}"
        return failed(seen, why, at_ns=first_bad_ns, **figures)
    if least < target:
        why = f"{count(tally.unknown, 'request')} that the load generator failed decide whether the target was met"
        return invalid(why, seen=seen, hint="give the load generator more CPU", at_ns=first_bad_ns, **figures)
    return passed(seen, at_ns=first_bad_ns, **figures)
