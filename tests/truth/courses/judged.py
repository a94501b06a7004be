"""What the real judge says about one course: its slot of the real records becomes a run folder with one strike.

The records are the load's own, byte for byte but for two columns: times are moved so that the slot begins at the zero
of tests.histories, arrivals are numbered from 0.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import yaml

from harness.history.reader import History
from harness.history.requests import schema
from harness.history.writer import Recorder
from harness.judge import judge_history
from harness.measure.case import Case
from harness.measure.recovery import Recovery
from harness.verdict import Verdict
from tests import histories
from tests.course import PODS
from tests.truth.courses import acts
from tests.truth.courses.families import HOLD_NS, MS, S
from tests.truth.courses.offer import Offered
from tests.truth.courses.plan import Course
from tests.truth.courses.truth import Requests

UNDO_AFTER_NS = HOLD_NS + 250 * MS  # after the last act


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One course, judged. Moments are absolute, as in the load's records."""

    run_dir: Path
    recovery: Recovery
    outages: tuple[tuple[int, int, int | None], ...]  # first bad, last bad, first good after it
    aftershocks: int
    bad: int
    verdict: Verdict
    moved_ns: int  # what the judge's moments lie before the absolute ones
    history: histories.Course

    def asked(self, limit_ns: int) -> tuple[str, str]:
        """(verdict of recovers_within, verdict of the run) with this limit."""
        promised = replace(self.history, expect={**self.history.expect, "recovers_within": f"{limit_ns}ns"})
        path = self.run_dir / "experiment.yaml"
        path.write_text(yaml.safe_dump(histories.experiment_document(promised), sort_keys=False), encoding="utf-8")
        verdict = judge_history(History.read(self.run_dir))
        check = next(one for one in verdict.checks if one.name == "recovers_within")
        return check.verdict.value, verdict.verdict.value


def judge_course(offered: Offered, requests: Requests, course: Course, folder: Path) -> Judged:
    """Writes the run folder and judges it."""
    moved_ns = offered.zero_ns + course.begin_ns - histories.ZERO_NS
    history = _history(offered, course)
    folder.mkdir(parents=True)
    histories.write_description(folder, history)
    count = _write_requests(requests, offered.zero_ns + course.begin_ns, moved_ns + history.end_ns, folder)
    with Recorder(folder) as recorder:
        for record in histories.actions(history, count):
            recorder.record(record)
        for watched in histories.cluster_events(history):
            recorder.record(watched)
    read = History.read(folder)
    case = Case(read)
    (recovery,) = case.recovery
    return Judged(
        run_dir=folder,
        recovery=recovery,
        outages=tuple(
            (one.first_ns + moved_ns, one.last_ns + moved_ns, None if one.by_ns is None else one.by_ns + moved_ns)
            for one in recovery.outages
        ),
        aftershocks=int(case.aftershocks.sum()),
        bad=int(case.overall.bad.sum()),
        verdict=judge_history(read),
        moved_ns=moved_ns,
        history=history,
    )


def _history(offered: Offered, course: Course) -> histories.Course:
    """The run that the slot is made to be."""
    if acts.BACKENDS != PODS:
        raise ValueError(f"the server's backends are {acts.BACKENDS}, the history's pods {PODS}")
    load = offered.batch.load
    undo_ns = min(course.last_ns + UNDO_AFTER_NS, course.end_ns - 100 * MS)
    if course.family.startswith("source ports"):
        undo_ns = course.end_ns - 500 * MS  # what comes back late must not be taken for the fault's
    baseline_s = (course.strike_ns - course.begin_ns) / S - 0.01
    rest_s = (course.end_ns - undo_ns) / S
    return histories.Course(
        rate=load.rate,
        arrivals=load.arrivals,
        timeout_s=load.timeout_ns / S,
        baseline_s=baseline_s,
        recover_s=(undo_ns - course.begin_ns) / S - baseline_s - 0.1,
        rollback_s=0.05,
        undo_s=0.03,
        settle_s=rest_s - 0.05,
        claims={"pod-gone": True},
        proven_s=(course.first_ns - course.strike_ns) / S,
        target=0.01,
        within=f"{load.within_ns}ns",
        expect={"recovers_within": "60s", "hold": f"{HOLD_NS}ns"},
        kept=f"{load.kept_share * 100:g}%",
    )


def _write_requests(requests: Requests, begin_ns: int, end_ns: int, folder: Path) -> int:
    """The rows scheduled in [begin, end); returns how many they are."""
    rows = np.flatnonzero((requests.scheduled >= begin_ns) & (requests.scheduled < end_ns))
    slot = requests.table.take(pa.array(rows))
    for name in ("scheduled_ns", "sent_ns", "first_byte_ns", "end_ns"):
        at = slot.schema.get_field_index(name)
        moved = pa.compute.subtract(slot[name], begin_ns - histories.ZERO_NS)
        slot = slot.set_column(at, slot.schema.field(at), moved)
    slot = slot.set_column(0, slot.schema.field(0), pa.array(range(len(rows)), pa.int64()))
    slot = slot.cast(schema())
    histories.write_requests(folder / "requests-0.arrows", slot.to_batches(max_chunksize=500))
    return len(rows)


def complete(offered: Offered, requests: Requests) -> bool:
    """Whether the whole run's records are all there: each arrival once, as many as the load said were due."""
    arrivals = np.sort(requests.column("arrival"))
    due = offered.done["arrivals"]
    return bool(len(arrivals) == due and (arrivals == np.arange(due)).all())


def note(folder: Path, text: dict[str, object]) -> None:
    """Leaves a course's findings in its folder."""
    (folder / "truth.json").write_text(json.dumps(text, indent=2), encoding="utf-8")
