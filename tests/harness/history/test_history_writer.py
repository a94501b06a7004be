"""The history as it is written: line by line, by any thread, and by a second writer after a crash."""

from __future__ import annotations

import json
import threading

import pytest

from harness.history.records import Evidence, Note, Phase, PhaseStart, Snapshot, Watched
from harness.history.writer import Recorder
from tests.histories import build_run, read_history


def test_a_record_is_in_its_file_before_the_next_thing_happens(tmp_path):
    """A harness that is killed right after `record` has lost nothing."""
    recorder = Recorder(tmp_path)

    recorder.record(PhaseStart(t_ns=5, phase=Phase.BASELINE))
    recorder.record(Watched(t_ns=6, kind="Pod", verb="ADDED", object={"metadata": {"name": "ü"}}))

    assert json.loads((tmp_path / "actions.jsonl").read_text()) == {"type": "phase", "t_ns": 5, "phase": "baseline"}
    assert json.loads((tmp_path / "cluster.jsonl").read_text())["object"] == {"metadata": {"name": "ü"}}
    recorder.close()


def test_lines_of_many_threads_do_not_mix(tmp_path):
    """Each line is one record, whoever writes."""
    with Recorder(tmp_path) as recorder:
        threads = [
            threading.Thread(target=lambda n=n: [recorder.record(Note(t_ns=n, text="x" * 3000)) for _ in range(50)])
            for n in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    lines = [json.loads(line) for line in (tmp_path / "actions.jsonl").read_text().splitlines()]

    assert sorted(line["t_ns"] for line in lines[:-1]) == sorted(n for n in range(8) for _ in range(50))


def test_a_closed_recorder_refuses_to_forget(tmp_path):
    """What comes after the end is an error, not silence."""
    recorder = Recorder(tmp_path)
    recorder.close()
    recorder.close()

    with pytest.raises(ValueError, match="closed"):
        recorder.record(Note(t_ns=1, text="late"))


def test_a_second_writer_marks_the_line_that_the_first_left_unfinished(tmp_path):
    """`bulletproof recover` appends to a killed run's history; its reader forgives exactly that one line."""
    run_dir = build_run(tmp_path)
    with (run_dir / "actions.jsonl").open("ab") as file:
        file.write(b'{"type":"note","t_ns":12')

    with Recorder(run_dir) as recorder:
        recorder.record(Note(t_ns=7, text="recovered"))
    history = read_history(run_dir)

    assert [record.text for record in history.actions if isinstance(record, Note)][-2:] == [
        "recovered",
        "the history was closed",
    ]
    assert [damage.kind for damage in history.damage] == ["cut"]


def test_records_come_back_as_they_were(tmp_path):
    """Reading is the inverse of writing, for every shape of field."""
    run_dir = build_run(tmp_path)
    written = [
        Snapshot(t_ns=1, moment="after", differences=("a: 1 -> 2",), objects=3),
        Evidence(t_ns=2, fault_id="f", claim="c", channel="requests", seen=None, facts={"pods": ["a", "b"]}),
        PhaseStart(t_ns=3, phase=Phase.SETTLE),
    ]

    with Recorder(run_dir) as recorder:
        for record in written:
            recorder.record(record)

    assert read_history(run_dir).actions[-4:-1] == written
