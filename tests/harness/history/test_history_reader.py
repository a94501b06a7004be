"""The history as it is read: everything that is there, and the truth about what is not."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import InvalidRun
from harness.history import arrows
from harness.history.reader import History
from harness.history.requests import schema
from tests.course import Course
from tests.course_requests import alter_requests, batches, read_batches, request_rows, write_requests
from tests.histories import alter_lines, build_run, read_history


def test_a_whole_history_has_no_problems(tmp_path):
    """Every request, every record, every event."""
    history = read_history(build_run(tmp_path))

    assert history.problems == []
    assert history.run["run_id"] == history.run_dir.name
    assert len(history.requests) == len(request_rows(Course())["arrival"])
    assert len(history.watched) == 10


def test_columns_are_those_that_were_written(tmp_path):
    """Nulls are -1, texts are codes, nothing moves between rows."""
    rows = request_rows(Course(outage=(0.0, 0.5), not_sent=[(2.0, 2.1)], outcome="timeout"))

    requests = read_history(build_run(tmp_path, outage=(0.0, 0.5), not_sent=[(2.0, 2.1)], outcome="timeout")).requests

    for name in ("arrival", "scheduled_ns", "sent_ns", "first_byte_ns", "end_ns", "local_port", "attempts", "user"):
        assert getattr(requests, name).tolist() == [-1 if value is None else value for value in rows[name]], name
    for name in ("outcome", "error", "pod", "version", "connection", "protocol"):
        assert [getattr(requests, name).at(row) for row in range(len(requests))] == rows[name], name


def test_rows_are_sorted_by_schedule_whatever_the_order_of_chunks(tmp_path):
    """Workers end requests in any order."""
    run_dir = build_run(tmp_path)
    path = run_dir / "requests-0.arrows"
    chunks = read_batches(path)
    np.random.default_rng(1).shuffle(chunks)

    write_requests(path, chunks)
    history = read_history(run_dir)

    assert history.problems == []
    assert (np.diff(history.requests.arrival) == 1).all()
    assert history.requests.pod.counts() == read_history(build_run(tmp_path / "other")).requests.pod.counts()


@pytest.mark.parametrize("errors", [127, 128, 1000, 33_000])
def test_no_text_is_lost_however_many_there_are(tmp_path, errors):
    """Codes of 1, 2 or 4 bytes, as many as it takes, part by part."""
    run_dir = build_run(tmp_path)
    count = 33_000
    texts = [f"error {number % errors}" for number in range(count)]
    rows = {name: [values[0]] * count for name, values in request_rows(Course()).items()}
    rows |= {"arrival": list(range(count)), "scheduled_ns": list(range(count)), "error": texts}
    write_requests(run_dir / "requests-0.arrows", batches(rows, chunk=6000))

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(arrows._Columns, "PART_ROWS", 10_000)
        requests = read_history(run_dir).requests

    assert [requests.error.at(row) for row in range(count)] == texts


def test_two_workers_files_are_one_schedule(tmp_path):
    """Worker k takes arrivals k::n."""
    run_dir = build_run(tmp_path)
    rows = request_rows(Course())
    for worker in (0, 1):
        write_requests(
            run_dir / f"requests-{worker}.arrows", {name: values[worker::2] for name, values in rows.items()}
        )

    history = read_history(run_dir)

    assert history.problems == []
    assert history.requests.scheduled_ns.tolist() == rows["scheduled_ns"]


@settings(max_examples=40, deadline=None)
@given(cut=st.integers(min_value=1, max_value=200_000))
def test_a_cut_file_of_requests_is_read_up_to_the_cut_and_tells_it(tmp_path_factory, cut):
    """Whatever the byte at which its writer died."""
    tmp_path = tmp_path_factory.mktemp("cut")
    run_dir = build_run(tmp_path, rate=50.0, baseline_s=2.0, recover_s=2.0, settle_s=1.0)
    path = run_dir / "requests-0.arrows"
    whole = path.read_bytes()
    kept = whole[: max(0, len(whole) - cut)]
    everything = read_history(run_dir).requests

    path.write_bytes(kept)
    history = read_history(run_dir)

    count = len(history.requests)
    assert history.problems
    assert history.requests.scheduled_ns.tolist() == everything.scheduled_ns[:count].tolist()
    shutil.rmtree(tmp_path)


@settings(max_examples=25, deadline=None)
@given(cut=st.integers(min_value=1, max_value=6000))
def test_a_cut_actions_file_is_read_up_to_the_cut_and_tells_it(tmp_path_factory, cut):
    """The closing line is the proof that nothing is missing after it."""
    tmp_path = tmp_path_factory.mktemp("cut")
    run_dir = build_run(tmp_path, rate=50.0, baseline_s=2.0, recover_s=2.0, settle_s=1.0)
    path = run_dir / "actions.jsonl"
    whole = path.read_bytes()
    before = read_history(run_dir).actions

    path.write_bytes(whole[: max(0, len(whole) - cut)])
    history = read_history(run_dir)

    assert history.actions == before[: len(history.actions)]
    assert history.problems or cut == 1  # the last line feed alone is no loss
    shutil.rmtree(tmp_path)


def test_a_missing_tail_of_the_watches_shows(tmp_path):
    """cluster.jsonl ends at any line; only the closing count tells that lines are missing."""
    run_dir = build_run(tmp_path)
    path = run_dir / "cluster.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-2]))

    assert read_history(run_dir).problems == ["cluster.jsonl: has 8 lines that can be read, 10 were written"]


def test_an_unreadable_line_in_the_middle_is_told_and_the_rest_is_read(tmp_path):
    """A line of garbage is not the end."""
    run_dir = build_run(tmp_path)
    path = run_dir / "actions.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    count = len(read_history(run_dir).actions)
    path.write_bytes(b"".join([*lines[:3], b"\x00garbage\n", *lines[3:]]))

    history = read_history(run_dir)

    assert history.problems == ["actions.jsonl: line 4 cannot be read"]
    assert len(history.actions) == count


def test_fields_of_a_later_version_are_left_out(tmp_path):
    """Formats grow by adding."""
    run_dir = build_run(tmp_path)
    alter_lines(run_dir / "actions.jsonl", lambda lines: [{**line, "from_the_future": 1} for line in lines])

    assert read_history(run_dir).problems == []


@pytest.mark.parametrize("doubled", [0, 3, -1])
def test_doubled_chunks_are_told(tmp_path, doubled):
    """The same arrival twice is no history."""
    run_dir = build_run(tmp_path)
    chunks = read_batches(run_dir / "requests-0.arrows")
    write_requests(run_dir / "requests-0.arrows", [*chunks, chunks[doubled]])

    problems = read_history(run_dir).problems

    assert len(problems) == 1 and "twice" in problems[0]


def test_lost_chunks_in_the_middle_are_told(tmp_path):
    """Gaps in the numbers of the schedule."""
    run_dir = build_run(tmp_path)
    chunks = read_batches(run_dir / "requests-0.arrows")
    write_requests(run_dir / "requests-0.arrows", chunks[:10] + chunks[12:])

    problems = read_history(run_dir).problems

    assert problems == ["requests-*.arrows: 40 arrivals of the schedule are missing, first number 200"]


@pytest.mark.parametrize("lost", ["first", "last"])
def test_a_lost_chunk_at_an_end_is_told(tmp_path, lost):
    """The load's own count says how many there were."""
    run_dir = build_run(tmp_path)
    alter_requests(run_dir, lambda rows: rows[1:] if lost == "first" else rows[:-1])

    assert len(read_history(run_dir).problems) == 1


def test_a_file_without_its_end_mark_is_told(tmp_path):
    """All chunks are there, but nothing says that none is missing."""
    run_dir = build_run(tmp_path)
    write_requests(run_dir / "requests-0.arrows", read_batches(run_dir / "requests-0.arrows"), close=False)

    assert read_history(run_dir).problems == ["requests-0.arrows: was not closed: its writer died"]


def test_a_file_from_before_the_attempts_were_written_down_is_whole(tmp_path):
    """Formats grow by adding: what is not there is not asked for, and what is not judged does not matter."""
    run_dir = build_run(tmp_path)
    path = run_dir / "requests-0.arrows"
    with_attempts = read_history(run_dir)
    chunks = read_batches(path)
    older = [chunk.drop_columns(["tries"]) for chunk in chunks]
    with path.open("wb") as file, pa.ipc.new_stream(file, schema().remove(schema().get_field_index("tries"))) as writer:
        for chunk in older:
            writer.write_batch(chunk)

    history = read_history(run_dir)

    assert history.problems == []
    assert history.requests.arrival.tolist() == with_attempts.requests.arrival.tolist()
    assert history.requests.outcome.counts() == with_attempts.requests.outcome.counts()


def test_an_index_beyond_its_dictionary_is_unreadable_and_no_crash(tmp_path):
    """A flipped bit must not read foreign memory."""
    run_dir = build_run(tmp_path)
    chunk = batches({name: values[:5] for name, values in request_rows(Course()).items()})[0]
    broken = pa.DictionaryArray.from_arrays(pa.array([0, 9, 0, 0, 0], pa.int32()), pa.array(["ok"]), safe=False)
    chunk = chunk.set_column(schema().get_field_index("outcome"), schema().field("outcome"), broken)
    write_requests(run_dir / "requests-0.arrows", [chunk])

    history = read_history(run_dir)

    assert len(history.requests) == 0
    assert "ends in the middle of chunk 1" in history.problems[0]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda s: s.remove(s.get_field_index("pod")), "has no column pod"),
        (lambda s: s.with_metadata({"bulletproof.format": "2"}), "has format 2"),
        (lambda s: s.with_metadata(None), "has format unknown"),
        (lambda s: s.set(1, pa.field("scheduled_ns", pa.float64())), "has column scheduled_ns as double"),
    ],
)
def test_a_foreign_format_is_told_and_not_guessed(tmp_path, change, told):
    """Columns by another name or of another kind."""
    run_dir = build_run(tmp_path)
    with (run_dir / "requests-0.arrows").open("wb") as file:
        pa.ipc.new_stream(file, change(schema())).close()

    assert any(told in problem for problem in read_history(run_dir).problems)


@pytest.mark.parametrize("missing", ["run.json", "experiment.yaml", "slos/detector.yaml"])
def test_without_what_was_promised_there_is_no_history(tmp_path, missing):
    """Nobody can say what a good request was."""
    run_dir = build_run(tmp_path)
    (run_dir / missing).unlink()

    with pytest.raises(InvalidRun):
        History.read(run_dir)


@pytest.mark.parametrize("missing", ["requests-0.arrows", "actions.jsonl", "cluster.jsonl"])
def test_a_missing_file_is_told(tmp_path, missing):
    """The rest is read."""
    run_dir = build_run(tmp_path)
    (run_dir / missing).unlink()

    assert any(damage.kind == "missing" for damage in read_history(run_dir).damage)


def test_a_history_of_another_format_is_refused(tmp_path):
    """A later Bulletproof's run is not half understood."""
    run_dir = build_run(tmp_path)
    run = json.loads((run_dir / "run.json").read_text())
    (run_dir / "run.json").write_text(json.dumps({**run, "format": 2}))

    with pytest.raises(InvalidRun, match="format 2"):
        History.read(run_dir)


def test_a_buffer_that_arrow_still_holds_is_no_crash(tmp_path, monkeypatch):
    """Its threads may let go of the file a moment after the last row was read: seen once, on a busy machine."""
    run_dir = build_run(tmp_path)
    held, read = [], arrows._read_chunks

    def holding(mapped, into):
        held.append(pa.py_buffer(mapped))
        return read(mapped, into)

    monkeypatch.setattr(arrows, "_read_chunks", holding)

    assert History.read(run_dir).problems == []
