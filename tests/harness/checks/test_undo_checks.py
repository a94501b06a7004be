"""What is left of a fault, and how long its undo took."""

from __future__ import annotations

import pytest

from harness.checks.stopped import stopped
from harness.checks.undo_verified import undo_verified
from harness.checks.undone_within import undone_within
from harness.history.records import Snapshot, Stop
from harness.measure.timeline import UndoEntry
from harness.verdict import VerdictName

PASSED, FAILED, INVALID, RESIDUE = (
    VerdictName.PASSED,
    VerdictName.FAILED,
    VerdictName.INVALID,
    VerdictName.RESIDUE,
)
S = 1_000_000_000
BEFORE = Snapshot(t_ns=1, moment="before", objects=3)
CLEAN = Snapshot(t_ns=9 * S, moment="after", objects=3)
DIRTY = Snapshot(t_ns=9 * S, moment="after", objects=3, differences=("node/a spec.unschedulable: absent -> true",))


def entry(begin_s=5.0, verified_s=6.0, name="f-1.a"):
    """One entry of the journal."""
    return UndoEntry(
        entry_id=name,
        fault_id="f-1",
        begin_ns=None if begin_s is None else int(begin_s * S),
        verified_ns=None if verified_s is None else int(verified_s * S),
        detail="",
    )


@pytest.mark.parametrize(
    ("entries", "snapshots", "stops", "verdict"),
    [
        ([entry()], [BEFORE, CLEAN], [], PASSED),
        ([], [BEFORE, CLEAN], [], PASSED),  # nothing planned, and a clean picture
        ([entry(verified_s=None)], [BEFORE, CLEAN], [], RESIDUE),  # the picture may not know the object
        ([entry(), entry(verified_s=None, name="f-1.b")], [BEFORE, CLEAN], [], RESIDUE),
        ([entry()], [BEFORE, DIRTY], [], RESIDUE),
        ([entry()], [BEFORE, DIRTY, CLEAN], [], PASSED),  # recover cleaned up after the run had not
        ([entry()], [BEFORE, CLEAN, DIRTY], [], RESIDUE),
        ([entry()], [BEFORE], [], INVALID),
        ([entry()], [CLEAN], [], INVALID),  # compared with nothing
        ([entry()], [BEFORE, Snapshot(t_ns=9 * S, moment="after", objects=0)], [], INVALID),
        ([], [BEFORE], [Stop(t_ns=2, reason="killed")], INVALID),
        ([entry(verified_s=None)], [BEFORE], [Stop(t_ns=2, reason="killed")], RESIDUE),
        ([], [], [Stop(t_ns=2, reason="skipped")], PASSED),  # ended before anything was looked at
        ([entry()], [BEFORE, CLEAN], [Stop(t_ns=10 * S, reason="residue", detail="a lease")], RESIDUE),
        ([entry()], [BEFORE, CLEAN], [Stop(t_ns=8 * S, reason="residue", detail="a lease")], PASSED),
    ],
)
def test_what_is_left_is_residue_and_what_is_unknown_is_invalid(entries, snapshots, stops, verdict):
    """Clean only where both the journal and the picture say so."""
    answer = undo_verified(entries, snapshots, stops, touched=bool(entries), ended=not stops)

    assert answer.verdict is verdict
    assert answer.why or verdict is PASSED


def test_residue_names_everything_that_is_left():
    """With the command that clears it."""
    left = [entry(verified_s=None, name=f"f-1.{n}") for n in range(5)]

    answer = undo_verified(left, [BEFORE, CLEAN], [], touched=True, ended=True)

    assert len(answer.measured["left"]) == 5
    assert answer.hint == "bulletproof recover"


@pytest.mark.parametrize(
    ("entries", "limit_s", "verdict"),
    [
        ([], 5, PASSED),
        ([entry(5, 6)], 1, PASSED),
        ([entry(5, 6.1)], 1, FAILED),
        ([entry(5, 6), entry(6, 7)], 1, FAILED),  # one undo, two entries: it took 2 s in all
        ([entry(1, 1.9), entry(6, 6.9)], 1, PASSED),  # the first by the method itself, long before
        ([entry(5, None)], 5, FAILED),
        ([entry(None, 6)], 5, INVALID),
        ([entry(6, 5)], 5, INVALID),  # another machine's clock
    ],
)
def test_the_undo_is_in_time_or_not(entries, limit_s, verdict):
    """From the begin of the rollback's first undo until its last one is verified."""
    assert undone_within(entries, 4 * S, limit_s * S).verdict is verdict


@pytest.mark.parametrize(
    ("reasons", "ended", "verdict"),
    [
        ([], True, PASSED),
        ([], False, INVALID),
        (["interrupted"], True, VerdictName.ABORTED),
        (["abort-condition"], True, VerdictName.ABORTED),
        (["killed"], False, VerdictName.ABORTED),
        (["error"], True, INVALID),
        (["skipped"], True, VerdictName.SKIPPED),
        (["error", "interrupted"], True, VerdictName.ABORTED),
        (["skipped", "error"], True, INVALID),
        (["nobody knows"], True, INVALID),
    ],
)
def test_how_the_run_ended_decides_what_it_may_say(reasons, ended, verdict):
    """A run that did not end by itself never passes."""
    stops = [Stop(t_ns=n, reason=reason) for n, reason in enumerate(reasons)]

    assert stopped(stops, ended=ended).verdict is verdict
