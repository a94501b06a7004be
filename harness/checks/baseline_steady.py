"""Was the platform well before it was struck? A platform that is ill already shows nothing about the fault."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.checks.answer import Answer, count, invalid, passed
from harness.history.columns import Ints, Mask
from harness.measure.pods import Pods
from harness.measure.steady import improbable_burst
from harness.measure.windows import per_window
from harness.units import NS_PER_S, format_duration, format_share

FEWEST_REQUESTS = 50
DECLARED_SHARE = 0.9  # of the declared baseline that must have been observed
BURST_WINDOWS_NS = (NS_PER_S // 10, NS_PER_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """One SLO in the baseline: its requests, which were bad, which cannot be judged, and the target."""

    name: str
    target: float
    scheduled_ns: Ints
    bad: Mask
    unknown: Mask


def baseline_steady(
    objectives: list[Objective],
    pods: Pods,
    named: Set[str],
    span: tuple[int, int] | None,
    declared_ns: int,
) -> Answer:
    """Every SLO is met in the baseline, without bursts, with one number of ready pods all the time.

    The objectives hold the baseline's requests only; `named` are the pods that their answers name.
    """
    if span is None:
        return invalid("the run has no baseline", hint="nothing can be compared with nothing")
    begin, end = span
    number = min((len(one.scheduled_ns) for one in objectives), default=0)
    if end - begin < DECLARED_SHARE * declared_ns:
        lasted, declared = format_duration(end - begin), format_duration(declared_ns)
        return invalid(f"the baseline was observed for {lasted} of {declared}")
    if number < FEWEST_REQUESTS:
        why = f"the baseline has {count(number, 'request')}, at least {FEWEST_REQUESTS} are needed"
        return invalid(why, hint="lengthen phases.baseline or raise load.rate")
    seen: list[str] = []
    figures: dict[str, Any] = {"requests": number}
    for one in objectives:
        answer, told = _objective(one, begin)
        if answer is not None:
            return answer
        seen.append(told)
        figures[f"bad_{one.name}"] = int(np.count_nonzero(one.bad))
    told = "; ".join(seen)
    if pods.watched and named and not named & {pod.name for pod in pods.pods}:
        why = f"the answers come from other pods than the workload's: {', '.join(sorted(named)[:3])}"
        return invalid(why, seen=told, hint="check workload.service, workload.selector and load.url")
    return _ready(pods, begin, end, told, figures)


def _objective(one: Objective, begin: int) -> tuple[Answer | None, str]:
    scheduled_ns = one.scheduled_ns
    number, bad = len(scheduled_ns), int(np.count_nonzero(one.bad))
    doubtful = bad + int(np.count_nonzero(one.unknown))
    told = f"{one.name}: {bad} of {number:,} bad"
    hint = "look at the platform: an experiment needs a service that meets its SLO before anything is broken"
    if number - doubtful < one.target * number:
        share = format_share((number - doubtful) / number)
        at = _first(scheduled_ns, one.bad | one.unknown)
        why = f"the baseline itself misses SLO {one.name}: {share} good, {format_share(one.target)} are its target"
        return invalid(why, seen=told, hint=hint, at_ns=at, bad=bad, requests=number), told
    # Windows that overlap, so that no burst falls between two.
    windows = [(size, offset) for size in BURST_WINDOWS_NS for offset in (0, size // 2)]
    for size, offset in windows:
        first, last = begin - offset, int(scheduled_ns[-1])
        requests = per_window(scheduled_ns, first, size, last)
        per_bad = per_window(scheduled_ns[one.bad], first, size, last)
        at_window = improbable_burst(per_bad, requests, one.target)
        if at_window is not None:
            at = first + at_window * size
            burst = f"{per_bad[at_window]} of {requests[at_window]} requests bad within {format_duration(size)}"
            why = f"the baseline has a burst: {burst}"
            return invalid(why, seen=told, hint=hint, at_ns=at, bad=bad, requests=number), told
    return None, told


def _ready(pods: Pods, begin: int, end: int, told: str, figures: dict[str, Any]) -> Answer:
    if not pods.watched:
        return invalid("no pod was ever watched", seen=told, hint="see the warnings of the run: the watch failed")
    if pods.ready.gap_between(begin, end):
        return invalid("the watch on pods was broken in the baseline", seen=told)
    steps = pods.ready.between(begin, end)
    numbers = sorted({number for _, number in steps})
    if steps and steps[0][0] > begin:
        return invalid("the watch on pods began after the baseline did", seen=told)
    if not steps or numbers == [0]:
        return invalid("no pod of the workload was ready in the baseline", seen=told, hint="check workload.selector")
    if len(numbers) > 1:
        at = steps[1][0]
        shown = " to ".join(str(one) for one in (numbers[0], numbers[-1]))
        return invalid(f"the number of ready pods was not steady: {shown} in the baseline", seen=told, at_ns=at)
    return passed(f"{told}; {count(numbers[0], 'pod')} ready", ready_pods=numbers[0], **figures)


def _first(scheduled_ns: Ints, rows: Mask) -> int | None:
    return int(scheduled_ns[int(rows.argmax())]) if rows.any() else None
