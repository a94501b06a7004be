"""Is the cluster as it was before? What is left of the fault outranks everything else."""

from __future__ import annotations

from collections.abc import Sequence

from harness.checks.answer import Answer, count, invalid, passed
from harness.history.records import Snapshot, Stop
from harness.measure.timeline import UndoEntry
from harness.verdict import VerdictName

_RECOVER = "bulletproof recover"


def undo_verified(
    entries: Sequence[UndoEntry],
    snapshots: Sequence[Snapshot],
    stops: Sequence[Stop],
    *,
    touched: bool,
    ended: bool,
    not_rolled_back: Sequence[str] = (),
) -> Answer:
    """Every planned undo is verified, and the objects equal the picture taken before.

    `touched`: the run got as far as its undo journal or a fault. `ended`: the run reached its end by itself.
    `not_rolled_back`: rollbacks that are none of ours and did not end well; the picture may not know what they undo.
    """
    left = [entry for entry in entries if entry.verified_ns is None]
    if left:
        names = ", ".join(_entry(entry) for entry in left[:3])
        more = f" and {len(left) - 3} more" if len(left) > 3 else ""
        verb = "is" if len(left) == 1 else "are"
        why = (
            f"{count(len(left), 'entry', 'entries')} of the undo journal {verb} not undone and verified: {names}{more}"
        )
        return _residue(why, f"{len(left)} of {len(entries)} not undone", [_entry(entry) for entry in left])
    afters = [snapshot for snapshot in snapshots if snapshot.moment == "after"]
    if afters and afters[-1].differences:
        found = list(afters[-1].differences)
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        why = f"the cluster differs from the picture taken before: {found[0]}{more}"
        return _residue(why, count(len(found), "difference"), found, at_ns=afters[-1].t_ns)
    left_at_stop = next((stop for stop in stops if stop.reason == "residue"), None)
    if left_at_stop is not None and not any(snapshot.t_ns > left_at_stop.t_ns for snapshot in afters):
        return _residue(f"the run found residue: {left_at_stop.detail}", "residue", [left_at_stop.detail])
    befores = [snapshot for snapshot in snapshots if snapshot.moment == "before"]
    if not touched and not befores and not entries:
        return passed("nothing was touched", entries=0)
    if not_rolled_back:
        return invalid(
            f'the rollback "{not_rolled_back[0]}" did not end well: nobody knows what it leaves',
            hint="its error is in the history; clear by hand what it should have undone",
        )
    if not befores:
        return invalid("no picture of the cluster was taken before the run: nothing to compare with")
    if not afters:
        how = "was not looked at after the undo" if ended else "was never looked at after the run was cut short"
        return invalid(f"the cluster {how}: nobody knows whether it is clean", hint=_RECOVER)
    objects = afters[-1].objects
    if not objects:
        return invalid("the picture of the cluster holds no object: it says nothing")
    told = f"{count(len(entries), 'entry', 'entries')} undone and verified" if entries else "nothing to undo"
    return passed(f"{told}; {count(objects, 'object')} as before", at_ns=afters[-1].t_ns, entries=len(entries))


def _entry(entry: UndoEntry) -> str:
    return f"{entry.entry_id} ({entry.detail})" if entry.detail else entry.entry_id


def _residue(why: str, seen: str, left: list[str], *, at_ns: int | None = None) -> Answer:
    return Answer(verdict=VerdictName.RESIDUE, seen=seen, why=why, hint=_RECOVER, at_ns=at_ns, measured={"left": left})
