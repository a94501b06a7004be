"""Was the workload back at full strength in time?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.checks.answer import Answer, count, failed, invalid, passed
from harness.measure.pods import Pods, still_ready
from harness.measure.timeline import Strike
from harness.units import format_duration


def replicas_within(pods: Pods, strikes: Sequence[Strike], until_ns: int | None, limit_ns: int, hold_ns: int) -> Answer:
    """As many pods are ready as before the fault, within `limit_ns` of each strike, and stay so until the undo.

    A time below full strength counts from the last strike before it.
    """
    struck = strikes[0].begin_ns if strikes else None
    if struck is None or until_ns is None:
        return invalid("no fault struck, so no replica had to come back")
    if not pods.watched:
        return invalid("no pod was ever watched", hint="see the warnings of the run: the watch failed")
    if pods.ready.gap_between(struck - 1, until_ns):
        return invalid("the watch on pods was broken after the fault struck")
    full = pods.ready.at(struck - 1)
    if not full:
        return invalid("no pod of the workload was ready before the fault")
    still = still_ready(pods, strikes, struck, until_ns)
    if still:
        return invalid(f"the watch never showed that {still} left, so it cannot show that another came")
    steps = pods.ready.between(struck, until_ns)
    ends = [*(since for since, _ in steps[1:]), until_ns]
    below: list[tuple[int, int]] = []
    for (since, number), end in zip(steps, ends, strict=True):
        if number < full:
            begin = below.pop()[0] if below and below[-1][1] == since else since
            below.append((begin, end))
    limit = format_duration(limit_ns)
    if not below:
        return passed(f"{count(full, 'pod')} ready all the time", replicas=full, back_ns=0)
    back = below[-1][1]
    fewest = min(number for _, number in steps)
    begins = [strike.begin_ns for strike in strikes if strike.begin_ns is not None]
    lasted = [end - max(begin for begin in begins if begin <= since) for since, end in below]
    took = max(lasted)
    figures: dict[str, Any] = {"replicas": full, "fewest": fewest, "back_ns": took}
    last = steps[-1][1]
    if last < full:
        seen = f"{last} of {full} ready when the observation ended, {format_duration(lasted[-1])} after the strike"
        if took >= limit_ns:
            return failed(seen, f"{last} of {full} pods were ready after {limit}", at_ns=below[-1][0], **figures)
        return invalid("the undo began before the limit was over", seen=seen, hint="lengthen phases.recover", **figures)
    seen = f"{full} of {full} ready after {format_duration(took)}"
    if took > limit_ns:
        why = f"full strength was back after {format_duration(took)}, the limit is {limit}"
        return failed(seen, why, at_ns=back, **figures)
    if until_ns - back < hold_ns:
        why = f"the undo began before the pods had stayed ready for {format_duration(hold_ns)}"
        return invalid(why, seen=seen, hint="lengthen phases.recover", at_ns=back, **figures)
    return passed(seen, at_ns=back, **figures)
