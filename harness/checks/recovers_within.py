"""Was service back in time, and did it stay back? Also: was the stable version back in time after a bad release?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.checks.answer import Answer, count, failed, invalid, passed
from harness.measure.recovery import Outage, Recovery
from harness.units import format_duration
from harness.verdict import VerdictName

_WORST_FIRST = (VerdictName.FAILED, VerdictName.INVALID, VerdictName.PASSED)


def recovers_within(
    certain: Sequence[Recovery], doubted: Sequence[Recovery], limit_ns: int, hold_ns: int, *, subject: str = "service"
) -> Answer:
    """`subject` is back within `limit_ns` of each fault's proven start, and stays back until the undo.

    `certain` passes over requests that the load generator failed, `doubted` takes them as bad: what passes must pass
    with them bad, what fails must fail without them.
    """
    if not certain or len(certain) != len(doubted):
        return invalid("no fault struck, so nothing had to recover")
    worst = min((_one(recovery, limit_ns, hold_ns, subject) for recovery in certain), key=_rank)
    doubt = min((_one(recovery, limit_ns, hold_ns, subject) for recovery in doubted), key=_rank)
    if worst.verdict is VerdictName.FAILED or doubt.verdict is VerdictName.PASSED:
        return worst
    if doubt.verdict is VerdictName.FAILED and worst.verdict is VerdictName.PASSED:
        why = "requests that the load generator failed decide whether the limit was kept"
        return invalid(why, seen=doubt.seen, hint="give the load generator more CPU", at_ns=doubt.at_ns)
    return doubt if worst.verdict is VerdictName.PASSED else worst


def _rank(answer: Answer) -> tuple[int, int]:
    latest = answer.measured.get("by_ns") or 0
    return _WORST_FIRST.index(answer.verdict), -latest


def _one(recovery: Recovery, limit_ns: int, hold_ns: int, subject: str) -> Answer:
    """By one recovery. The limit holds for the end of its last outage: what is back must stay back."""
    start = recovery.start_ns
    after = recovery.after_ns - start
    by = None if recovery.by_ns is None else recovery.by_ns - start
    figures: dict[str, Any] = {"start_ns": start, "after_ns": after, "by_ns": by, "noise": recovery.noise}
    seen = describe(recovery)
    late = [outage for outage in recovery.outages if outage.last_ns - start >= limit_ns]
    if late:
        return failed(seen, _late(recovery, late[0], limit_ns, subject), at_ns=late[0].last_ns, **figures)
    at = recovery.outages[-1].last_ns if recovery.outages else recovery.after_ns
    last_by = recovery.outages[-1].by_ns if recovery.outages else recovery.by_ns
    if last_by is None or by is None:
        why = f"the load ended before {subject} was seen to be back"
        return invalid(why, seen=seen, hint="lengthen phases.recover", at_ns=at, **figures)
    if last_by - start > limit_ns:
        between = _span(at - start, last_by - start)
        why = (
            f"the limit of {format_duration(limit_ns)} falls between two arrivals: {subject} was back between {between}"
        )
        return invalid(why, seen=seen, hint="raise load.rate: the arrivals are its resolution", at_ns=at, **figures)
    if not recovery.held or any(not outage.held for outage in recovery.outages):
        why = f"the load ended before {subject} had stayed good for {format_duration(hold_ns)}"
        return invalid(why, seen=seen, hint="lengthen phases.recover or phases.settle", at_ns=at, **figures)
    return passed(seen, at_ns=at, **figures)


def _late(recovery: Recovery, outage: Outage, limit_ns: int, subject: str) -> str:
    limit, start = format_duration(limit_ns), recovery.start_ns
    if outage is recovery.outages[0]:
        after = outage.last_ns - start
        if outage.by_ns is None:
            return f"{subject} was still bad after {format_duration(after)}, when the load ended; the limit is {limit}"
        return f"{subject} was back between {_span(after, outage.by_ns - start)} after the fault, the limit is {limit}"
    begin, end = format_duration(outage.first_ns - start), format_duration(outage.last_ns - start)
    back = format_duration((recovery.by_ns or start) - start)
    return (
        f"{subject} was back after {back} and failed again: {count(outage.bad, 'bad request')} between {begin} and "
        f"{end}, the limit is {limit}"
    )


def describe(recovery: Recovery) -> str:
    """`back after 0.31 s (between 0.30 s and 0.31 s)`."""
    start = recovery.start_ns
    if not recovery.outages:
        return "no bad request: never away"
    after = recovery.after_ns - start
    if recovery.by_ns is None:
        return f"still bad at {format_duration(after)}, when the load ended"
    by = recovery.by_ns - start
    again = f"; {count(len(recovery.relapses), 'relapse')}" if recovery.relapses else ""
    return f"back after {format_duration(by)} (between {_span(after, by)}){again}"


def _span(after: int, by: int) -> str:
    """Both ends with the same digits, and enough of them to tell them apart."""
    for digits in (2, 3, 4, 6):
        low, high = f"{after / 1e9:.{digits}f}", f"{by / 1e9:.{digits}f}"
        if low != high:
            break
    return f"{low} s and {high} s"
