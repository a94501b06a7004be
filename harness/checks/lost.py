"""How much did clients lose from the fault on: requests, and seconds?"""

from __future__ import annotations

from typing import Any

from harness.checks.answer import Answer, count, failed, invalid, passed
from harness.measure.case import Tally
from harness.units import format_duration


def lost_requests(tally: Tally | None, limit: int, aftershocks: int, first_bad_ns: int | None) -> Answer:
    """At most `limit` requests were bad. `tally` is of the requests from the fault on; None: nothing struck."""
    if tally is None:
        return invalid("no fault struck, so nothing was lost by it")
    seen = _seen(tally, aftershocks)
    if tally.bad > limit:
        why = f"{count(tally.bad, 'request')} were lost from the fault on, at most {limit:,} may be"
        return failed(seen, why, at_ns=first_bad_ns, bad=tally.bad)
    if tally.bad + tally.unknown > limit:
        return _undecided(tally, seen)
    return passed(seen, at_ns=first_bad_ns, bad=tally.bad)


def lost(tally: Tally | None, limit_ns: int, rate_per_s: float, aftershocks: int, first_bad_ns: int | None) -> Answer:
    """Bad requests over the arrival rate are at most `limit_ns`: they don't shrink as the run gets longer."""
    if tally is None:
        return invalid("no fault struck, so nothing was lost by it")
    lost_ns, worst_ns = tally.bad / rate_per_s * 1e9, (tally.bad + tally.unknown) / rate_per_s * 1e9
    seen = f"{format_duration(lost_ns)} ({_seen(tally, aftershocks)})"
    figures: dict[str, Any] = {"lost_s": lost_ns / 1e9, "bad": tally.bad}
    if lost_ns > limit_ns:
        why = f"clients lost {format_duration(lost_ns)} from the fault on, at most {format_duration(limit_ns)} may be"
        return failed(seen, why, at_ns=first_bad_ns, **figures)
    if worst_ns > limit_ns:
        return _undecided(tally, seen)
    return passed(seen, at_ns=first_bad_ns, **figures)


def _seen(tally: Tally, aftershocks: int) -> str:
    text = f"{count(tally.bad, 'bad request')} of {tally.scheduled:,}"
    return f"{text}, {aftershocks:,} of them aftershocks" if aftershocks else text


def _undecided(tally: Tally, seen: str) -> Answer:
    why = f"{count(tally.unknown, 'request')} that the load generator failed decide whether the limit was kept"
    return invalid(why, seen=seen, hint="give the load generator more CPU")
