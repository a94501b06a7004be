"""Were enough pods ready at all times?"""

from __future__ import annotations

from collections.abc import Sequence

from harness.checks.answer import Answer, count, failed, invalid, passed
from harness.measure.pods import Pods, still_ready
from harness.measure.timeline import Strike


def ready_floor(pods: Pods, strikes: Sequence[Strike], span: tuple[int, int] | None, floor: int) -> Answer:
    """At no time of the load were fewer than `floor` pods ready."""
    if span is None:
        return invalid("no load was offered")
    if not pods.watched:
        return invalid("no pod was ever watched", hint="see the warnings of the run: the watch failed")
    steps = pods.ready.between(*span)
    if not steps or steps[0][0] > span[0]:
        return invalid("the watch on pods began after the load did")
    since, fewest = min(steps, key=lambda step: (step[1], step[0]))
    seen = f"at least {count(fewest, 'pod')} ready"
    if fewest < floor:
        why = f"only {count(fewest, 'pod')} {'was' if fewest == 1 else 'were'} ready, {floor} must be at all times"
        return failed(f"down to {fewest}", why, at_ns=since, fewest=fewest)
    if still := still_ready(pods, strikes, *span):
        return invalid(f"the watch never showed that {still} left: it was not listening", seen=seen)
    if pods.ready.gap_between(*span):
        return invalid("the watch on pods was broken: what happened meanwhile is not known", seen=seen)
    return passed(seen, at_ns=since, fewest=fewest)
