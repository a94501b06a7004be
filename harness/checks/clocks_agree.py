"""Do the times of all load workers mean the same moment?

Workers on other machines have other monotonic clocks. Their times are converted with the difference that was measured
before the load; how wrong that can be is the error of that measurement, or what the one after the load differs from it,
whichever is more. Recovery is stated to a few milliseconds: a difference that is not known as well makes it a guess.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.checks.answer import Answer, count, invalid, passed
from harness.history.records import ClockOffset
from harness.units import format_duration

MASTER = "load-master"


def clocks_agree(offsets: Sequence[ClockOffset], *, workers: int, cut_short: bool, limit_ns: int) -> Answer:
    """The clocks of all `workers` are known to within `limit_ns`. `cut_short`: they were not measured again."""
    errors: dict[str, int] = {}
    for process in dict.fromkeys(offset.process for offset in offsets):
        before = _last(offsets, process, "before")
        after = _last(offsets, process, "after")
        if before is None or (after is None and not cut_short):
            when = "before" if before is None else "after"
            why = f"the clock of {process} was not compared with the harness' {when} the load"
            return invalid(why, hint="see load.log; the worker may have been lost")
        errors[process] = before.bound_ns
        if after is not None:
            drift = abs(after.ahead_ns - before.ahead_ns)
            errors[process] = max(before.bound_ns, drift + after.bound_ns)
    # The workers' clocks are compared with their master's, and that one, where it is no process of ours, with ours.
    master = errors.pop(MASTER, 0)
    errors = {process: error + master for process, error in errors.items()}
    if len(errors) < workers or not errors:
        return invalid(f"the clocks of {len(errors)} of {count(workers, 'worker')} were compared with another")
    worst = max(errors, key=lambda process: errors[process])
    seen = f"{count(len(errors), 'worker')}, at worst {worst} known to {format_duration(errors[worst])}"
    if errors[worst] <= limit_ns:
        return passed(seen, error_ns=errors[worst])
    host = next((offset.host for offset in offsets if offset.process == worst and offset.host), "its machine")
    return invalid(
        f"the clock of {worst} ({host}) is known to {format_duration(errors[worst])} only, "
        f"{format_duration(limit_ns)} is needed: its requests may be told as earlier or later than they were",
        seen=seen,
        hint="put the workers nearer to the master, keep their machines' clocks disciplined, or raise load.clock_limit "
        "and read recovery with that error",
        error_ns=errors[worst],
    )


def _last(offsets: Sequence[ClockOffset], process: str, moment: str) -> ClockOffset | None:
    found = [offset for offset in offsets if offset.process == process and offset.moment == moment]
    return found[-1] if found else None
