"""Histories with a known truth, damaged in every way: the verdict is right or INVALID, never a wrong PASSED."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.history.requests import schema
from harness.judge import judge
from harness.verdict import VerdictName
from tests.course import ZERO_NS, S
from tests.course_requests import alter_requests, read_batches, write_requests
from tests.histories import build_run

PASSED, FAILED, INVALID = VerdictName.PASSED, VerdictName.FAILED, VerdictName.INVALID
EXPECT = {"lost": "0.5s", "recovers_within": "2s", "replicas_within": "15s", "wrong_answers": 0, "undone_within": "5s"}
MANY = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
SHORT = {"baseline_s": 4.0, "recover_s": 8.0, "settle_s": 2.0, "rate": 100.0}
OUTCOMES = st.sampled_from(["refused", "timeout", "reset", "truncated", "http_503", "slow", "unreachable"])


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """A platform that breaks its promise: 3 s without service, 2 s are allowed."""
    return build_run(tmp_path_factory.mktemp("broken"), outage=(0.0, 3.0), expect={"recovers_within": "2s"}, target=0.5)


@pytest.fixture(scope="module")
def healthy(tmp_path_factory):
    """A platform that keeps it."""
    return build_run(tmp_path_factory.mktemp("healthy"), outage=(0.0, 0.1), expect=EXPECT)


@pytest.fixture
def copy_of(tmp_path):
    """A copy of a run to damage; the same folder each time, so that hypothesis may ask for many."""

    def make(run_dir):
        target = tmp_path / run_dir.name
        shutil.rmtree(target, ignore_errors=True)
        return shutil.copytree(run_dir, target)

    return make


def test_the_two_runs_are_what_they_are(broken, healthy):
    """Undamaged, the verdicts are the truth."""
    assert judge(broken).verdict is FAILED
    assert judge(healthy).verdict is PASSED


@MANY
@given(seed=st.integers(0, 2**32), begin=st.floats(0, 3), length=st.floats(0.02, 6), outcome=OUTCOMES)
def test_a_judged_outage_contains_the_true_one(tmp_path_factory, seed, begin, length, outcome):
    """Begin and end within one arrival gap, and the verdict is that of the truth."""
    end = begin + length
    course = {"seed": seed, "outage": (begin, end), "outcome": outcome, "recover_s": 15.0, "baseline_s": 8.0}
    tmp_path = tmp_path_factory.mktemp("course")
    verdict = judge(build_run(tmp_path, **course, expect={"recovers_within": "4s", "hold": "2s"}))
    shutil.rmtree(tmp_path)
    recovery = verdict.measurements["recovery"]
    strike = verdict.measurements["faults"][0]["begin_ns"]
    check = next(one for one in verdict.checks if one.name == "recovers_within")

    if not recovery["outages"]:
        # No request was scheduled in so short an outage: nobody can have seen it, and nobody was hurt.
        assert verdict.measurements["requests"]["bad"] == 0
        return
    (outage,) = recovery["outages"]
    assert outage["first_ns"] >= strike + begin * S
    assert outage["last_ns"] < strike + end * S <= outage["by_ns"] + 1
    took_s = (outage["by_ns"] - recovery["start_ns"]) / S
    truth = PASSED if took_s <= 4.0 else FAILED if (outage["last_ns"] - recovery["start_ns"]) / S >= 4.0 else INVALID
    assert check.verdict is truth


@MANY
@given(data=st.data())
def test_damaged_requests_never_turn_a_broken_promise_into_a_kept_one(broken, copy_of, data):
    """Chunks that are shuffled, doubled, dropped, or cut off."""
    run_dir = copy_of(broken)
    path = run_dir / "requests-0.arrows"
    chunks = read_batches(path)
    damage = data.draw(st.sampled_from(["shuffle", "double", "drop", "drop many", "reverse", "tail", "bytes", "twice"]))
    count = len(chunks)
    if damage == "shuffle":
        np.random.default_rng(data.draw(st.integers(0, 1000))).shuffle(chunks)
    elif damage == "reverse":
        chunks.reverse()
    elif damage == "double":
        chunks.insert(data.draw(st.integers(0, count)), chunks[data.draw(st.integers(0, count - 1))])
    elif damage == "twice":
        chunks = chunks + chunks
    elif damage == "drop":
        del chunks[data.draw(st.integers(0, count - 1))]
    elif damage == "drop many":
        begin = data.draw(st.integers(0, count - 1))
        del chunks[begin : begin + data.draw(st.integers(1, count))]
    elif damage == "tail":
        chunks = chunks[: data.draw(st.integers(0, count - 1))]
    write_requests(path, chunks, close=data.draw(st.booleans()))
    if damage == "bytes":
        content = path.read_bytes()
        path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])

    verdict = judge(run_dir).verdict

    assert verdict in (FAILED, INVALID)
    if damage in ("shuffle", "reverse"):
        assert verdict is FAILED, "nothing is missing, only the order"


@MANY
@given(data=st.data())
def test_missing_records_never_turn_a_broken_promise_into_a_kept_one(broken, copy_of, data):
    """Any lines of any journal gone, wherever, also all of them."""
    run_dir = copy_of(broken)
    path = run_dir / data.draw(st.sampled_from(["actions.jsonl", "cluster.jsonl"]))
    lines = path.read_bytes().splitlines(keepends=True)
    begin = data.draw(st.integers(0, len(lines) - 1))
    del lines[begin : begin + data.draw(st.integers(1, len(lines)))]
    path.write_bytes(b"".join(lines))

    assert judge(run_dir).verdict not in (PASSED, VerdictName.SKIPPED)


@settings(MANY, max_examples=60)
@given(data=st.data())
def test_no_line_of_a_kept_promise_can_go_unnoticed_where_it_matters(healthy, copy_of, data):
    """Without a line the verdict is PASSED only when the line is one that no check needs."""
    run_dir = copy_of(healthy)
    path = run_dir / "actions.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    gone = json.loads(lines.pop(data.draw(st.integers(0, len(lines) - 1))))
    path.write_bytes(b"".join(lines))

    verdict = judge(run_dir).verdict

    needless = {
        ("anchor", None),
        ("load", "ready"),
        ("action", "begin"),
        ("fault", "planned"),
        ("undo", "planned"),
        ("undo", "applied"),
    }
    kind = (gone["type"], gone.get("step") or gone.get("state"))
    if verdict is PASSED:
        assert kind in needless or gone["type"] == "evidence", gone
    else:
        assert verdict in (INVALID, VerdictName.RESIDUE), gone


@pytest.mark.parametrize("claim", ["pod-gone", "endpoint-withdrawn", "pod-silent"])
def test_one_missing_claim_is_found_when_no_other_is_left(healthy, copy_of, claim):
    """A fault with a single claim is not proven without it."""
    run_dir = copy_of(healthy)
    path = run_dir / "actions.jsonl"
    lines = [line for line in path.read_text().splitlines() if '"type":"evidence"' not in line or claim in line]
    path.write_text("\n".join(line for line in lines if f'"claim":"{claim}"' not in line) + "\n")

    assert judge(run_dir).verdict is INVALID


@pytest.mark.parametrize(
    "name", ["run.json", "experiment.yaml", "slos/detector.yaml", "actions.jsonl", "cluster.jsonl", "requests-0.arrows"]
)
def test_a_missing_file_is_never_a_kept_promise(healthy, copy_of, name):
    """No data is INVALID."""
    run_dir = copy_of(healthy)
    (run_dir / name).unlink()

    assert judge(run_dir).verdict is INVALID


@pytest.mark.parametrize(
    "name", ["run.json", "experiment.yaml", "slos/detector.yaml", "actions.jsonl", "cluster.jsonl", "requests-0.arrows"]
)
@pytest.mark.parametrize("content", [b"", b"\x00\xff\xfe", b"null\n", b"[]\n", b'{"type":"phase","t_ns":"soon"}\n'])
def test_a_file_of_garbage_is_never_a_kept_promise(healthy, copy_of, name, content):
    """And never a traceback."""
    run_dir = copy_of(healthy)
    (run_dir / name).write_bytes(content)

    assert judge(run_dir).verdict is INVALID


def test_the_wall_clock_does_not_matter(broken, healthy, copy_of):
    """Steps of the real-time clock, as NTP makes them, change nothing."""
    for run_dir, verdict in ((broken, FAILED), (healthy, PASSED)):
        copy = copy_of(run_dir)
        path = copy / "actions.jsonl"
        path.write_text(path.read_text().replace('"wall_ns":1795', '"wall_ns":1234'))

        assert judge(copy).verdict is verdict


@MANY
@given(
    field=st.sampled_from(["scheduled_ns", "sent_ns", "end_ns"]),
    step_s=st.floats(0.01, 100).map(lambda seconds: round(seconds * S)),
    sign=st.sampled_from([-1, 1]),
    share=st.floats(0, 1),
)
def test_a_clock_that_steps_in_the_run_never_helps_the_platform(broken, copy_of, field, step_s, sign, share):
    """A monotonic clock does not step; one that did would make the run worthless, not good."""
    run_dir = copy_of(broken)
    from_ns = ZERO_NS + int(share * 40 * S)

    def step(rows):
        return [
            {**row, field: row[field] + sign * step_s}
            if row["scheduled_ns"] >= from_ns and row[field] is not None
            else row
            for row in rows
        ]

    alter_requests(run_dir, step)

    assert judge(run_dir).verdict in (FAILED, INVALID)


# Each promise alone, so that no other check catches what this one should: 3 s of outage break all of them.
ALONE = st.sampled_from(
    [
        {"recovers_within": "2s"},
        {"lost": "1s"},
        {"lost_requests": 100},
        {"degraded": "2s"},
        {"uptime": "90%"},
        {"goodput": "70/s"},
        {"budget_spent": "0.0001%"},  # of 50 % of 30 days: 1.3 s
        {"latency": {"p95": "200ms"}},
    ]
)


@MANY
@given(begin=st.floats(-1, 4), length=st.floats(0.05, 5), ms=st.floats(0, 3000), expect=ALONE, seed=st.integers(0, 999))
def test_a_stall_of_the_load_generator_never_hides_an_outage(tmp_path_factory, begin, length, ms, expect, seed):
    """Requests sent late meet a service that is back already: they say nothing about when they were due."""
    tmp_path = tmp_path_factory.mktemp("stall")
    course = {"outage": (0.0, 3.0), "late": [(begin, begin + length, ms)], "met_when_sent": True}

    verdict = judge(build_run(tmp_path, **course, expect=expect, seed=seed, target=0.5, **SHORT)).verdict
    shutil.rmtree(tmp_path)

    assert verdict in (FAILED, INVALID)


@MANY
@given(begin=st.floats(-1, 4), length=st.floats(0.05, 5), expect=ALONE, seed=st.integers(0, 999))
def test_requests_that_were_never_sent_never_hide_an_outage(tmp_path_factory, begin, length, expect, seed):
    """They are neither good nor bad."""
    tmp_path = tmp_path_factory.mktemp("unsent")
    course = {"outage": (0.0, 3.0), "not_sent": [(begin, begin + length)]}

    verdict = judge(build_run(tmp_path, **course, expect=expect, seed=seed, target=0.5, **SHORT)).verdict
    shutil.rmtree(tmp_path)

    assert verdict in (FAILED, INVALID)


@MANY
@given(begin=st.floats(-4, 9), length=st.floats(0.01, 3), ms=st.floats(0, 1000))
def test_lateness_of_the_load_generator_never_fails_a_platform(tmp_path_factory, begin, length, ms):
    """What a late prober makes up is the prober's."""
    tmp_path = tmp_path_factory.mktemp("late")

    verdict = judge(build_run(tmp_path, late=[(begin, begin + length, ms)], target=0.98, **SHORT)).verdict
    shutil.rmtree(tmp_path)

    assert verdict in (PASSED, INVALID)


def test_an_empty_file_of_requests_is_no_kept_promise(healthy, copy_of):
    """A stream without a row."""
    run_dir = copy_of(healthy)
    with (run_dir / "requests-0.arrows").open("wb") as file:
        pa.ipc.new_stream(file, schema()).close()

    assert judge(run_dir).verdict is INVALID
