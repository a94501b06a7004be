"""Did the latency quantile keep its limit over the whole run? A census, like `slo_met`: this run, and only this run."""

from __future__ import annotations

from typing import Any

from harness.checks.answer import Answer, count, failed, invalid, passed
from harness.measure.case import Tally
from harness.units import format_duration


def latency_quantile(
    tally: Tally, name: str, share: float, limit_ns: int, seen_ns: int | None, first_late_ns: int | None
) -> Answer:
    """The quantile `share` of the latency from schedule is at most `limit_ns`.

    `tally` counts as good what was answered rightly within the limit: the quantile keeps it exactly when at least this
    share did. `seen_ns` is the quantile itself, for people; a request that failed counts as at least its timeout.
    """
    if not tally.scheduled or seen_ns is None:
        return invalid("no request was sent")
    least, most = tally.good / tally.scheduled, (tally.good + tally.unknown) / tally.scheduled
    seen = f"{name} {format_duration(seen_ns)} over {count(tally.scheduled, 'request')}"
    figures: dict[str, Any] = {"quantile": share, "seen_ns": seen_ns, "limit_ns": limit_ns, "within": tally.good}
    if most < share:
        why = (
            f"{name} was {format_duration(seen_ns)}, at most {format_duration(limit_ns)} may be: "
            f"{count(tally.bad, 'request')} took longer or failed"
        )
        return failed(seen, why, at_ns=first_late_ns, **figures)
    if least < share:
        why = f"{count(tally.unknown, 'request')} that the load generator failed decide whether the limit was kept"
        return invalid(why, seen=seen, hint="give the load generator more CPU", at_ns=first_late_ns, **figures)
    return passed(seen, **figures)
