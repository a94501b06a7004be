"""Is service as steady after the undo as before the fault?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.checks.answer import Answer, count, failed, invalid, passed
from harness.measure.case import Tally
from harness.units import format_share

FEWEST_REQUESTS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """One SLO in the settle phase; aftershocks are left out of the tally."""

    name: str
    target: float
    tally: Tally
    first_bad_ns: int | None


def settles(objectives: Sequence[Settled], aftershocks: int) -> Answer:
    """Every SLO is met by the requests of the settle phase alone."""
    told: list[str] = []
    undecided: Answer | None = None
    for one in objectives:
        tally = one.tally
        if tally.scheduled < FEWEST_REQUESTS:
            number = count(tally.scheduled, "request")
            return invalid(f"the settle phase has {number}, at least {FEWEST_REQUESTS} are needed")
        least, most = tally.good / tally.scheduled, (tally.good + tally.unknown) / tally.scheduled
        told.append(f"{one.name}: {format_share(least)} good of {tally.scheduled:,}")
        if most < one.target:
            why = (
                f"after the undo {format_share(most)} of the requests were good, "
                f"the target of {one.name} is {format_share(one.target)}"
            )
            return failed(told[-1], why, at_ns=one.first_bad_ns, bad=tally.bad, scheduled=tally.scheduled)
        if least < one.target:
            why = f"{count(tally.unknown, 'request')} that the load generator failed decide about {one.name}"
            undecided = invalid(why, seen=told[-1], hint="give the load generator more CPU")
    if undecided is not None:
        return undecided
    apart = f"; {count(aftershocks, 'aftershock')} apart" if aftershocks else ""
    return passed("; ".join(told) + apart)
