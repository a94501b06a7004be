"""What became of the requests that were under way when the fault struck?"""

from __future__ import annotations

from typing import Any

from harness.checks.answer import Answer, count, failed, invalid, passed
from harness.measure.case import Tally


def in_flight_lost(tally: Tally | None, limit: int, first_bad_ns: int | None) -> Answer:
    """At most `limit` of them ended badly. `tally` is of those requests; None: nothing struck.

    With no request under way nothing is said: the load was too thin to have one in flight.
    """
    if tally is None:
        return invalid("no fault struck, so nothing was under way then")
    if not tally.scheduled:
        return invalid("no request was under way when the fault struck", hint="raise load.rate")
    seen = f"{tally.bad:,} of {tally.scheduled:,} under way"
    figures: dict[str, Any] = {"under_way": tally.scheduled, "bad": tally.bad}
    if tally.bad > limit:
        why = f"{count(tally.bad, 'request')} under way when the fault struck ended badly, at most {limit:,} may"
        return failed(seen, why, at_ns=first_bad_ns, **figures)
    if tally.bad + tally.unknown > limit:
        why = f"{count(tally.unknown, 'request')} that the load generator failed decide it"
        return invalid(why, seen=seen, hint="give the load generator more CPU", **figures)
    return passed(seen, **figures)
