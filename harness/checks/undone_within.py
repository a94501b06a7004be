"""Was the fault undone in time?"""

from __future__ import annotations

from collections.abc import Sequence

from harness.checks.answer import Answer, failed, invalid, passed
from harness.measure.timeline import UndoEntry
from harness.units import format_duration


def undone_within(entries: Sequence[UndoEntry], rollback_ns: int | None, limit_ns: int) -> Answer:
    """From the begin of the undo until its last entry was verified. `rollback_ns`: when the rollback phase began.

    Entries that were undone earlier, by the method itself, count each for itself.
    """
    if not entries:
        return passed("nothing had to be undone", took_ns=0)
    left = [entry for entry in entries if entry.verified_ns is None]
    if left:
        why = f"{left[0].entry_id} was never undone: {left[0].detail or 'its undo is not verified'}"
        return failed(f"{len(left)} of {len(entries)} not undone", why, at_ns=left[0].begin_ns)
    spans = [(entry.begin_ns, entry.verified_ns) for entry in entries if entry.begin_ns and entry.verified_ns]
    if len(spans) < len(entries):
        return invalid("the begin of an undo was not recorded")
    if any(end < begin for begin, end in spans):
        return invalid("the undo was finished by another machine: its clock cannot be compared")
    late = [span for span in spans if rollback_ns is not None and span[0] >= rollback_ns]
    took = [end - begin for begin, end in spans if (begin, end) not in late]
    if late:
        took.append(max(end for _, end in late) - min(begin for begin, _ in late))
    worst = max(took)
    end_ns = max(end for _, end in spans)
    seen = f"undone and verified within {format_duration(worst)}"
    if worst > limit_ns:
        why = f"the undo took {format_duration(worst)}, the limit is {format_duration(limit_ns)}"
        return failed(seen, why, at_ns=end_ns, took_ns=worst)
    return passed(seen, at_ns=end_ns, took_ns=worst)
