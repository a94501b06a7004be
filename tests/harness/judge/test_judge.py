"""From a run's folder to its verdict: which course ends how, and which check says so."""

from __future__ import annotations

import json
import shutil

import pytest

from harness.checks import catalogue
from harness.history.records import Stop
from harness.judge import judge
from harness.verdict import CheckKind, VerdictName
from tests.course import ZERO_NS, S
from tests.course_requests import alter_requests
from tests.harness.judge.verdicts import FAILED, INVALID, PASSED, alter_experiment, check, ended
from tests.histories import alter_lines, build_run


def test_a_pod_kill_that_nobody_noticed_passes(tmp_path):
    """Every check holds, and the sentence says what was seen."""
    verdict = judge(build_run(tmp_path))

    assert ended(verdict) == {}
    assert verdict.verdict is PASSED
    assert verdict.why.startswith("all 14 checks hold; recovers_within: no bad request")
    assert verdict.title == "A GPU pod dies under load"


def test_every_check_says_what_was_expected_and_seen(tmp_path):
    """And why, and where, unless it passed."""
    for course in ({}, {"outage": (0.0, 9.0)}, {"strikes": False}):
        verdict = judge(build_run(tmp_path / str(len(course)) / str(course.get("strikes")), **course))

        for one in verdict.checks:
            assert one.expected and one.seen, one
            assert one.why or one.verdict is PASSED, one


def test_the_catalogue_names_every_check_that_is_asked(tmp_path):
    """What `bulletproof list checks` shows is what runs."""
    everything = {
        "lost": "1s",
        "lost_requests": 5,
        "wrong_answers": 0,
        "recovers_within": "5s",
        "replicas_within": "15s",
        "undone_within": "5s",
        "stable_within": "10s",
        "exposed": "10%",
        "ready_floor": 2,
        "latency": {"p99": "250ms"},
        "uptime": "99%",
        "goodput": "150/s",
        "budget_spent": "1%",
        "burn_rate": "14.4x",
        "degraded": "1s",
        "in_flight_lost": 0,
        "gray_pods": 0,
    }

    verdict = judge(build_run(tmp_path, expect=everything, stable_version="1", latency_scale=10.0))

    asked = {one.name.replace("_detector", "_NAME").replace("p99", "pNN"): one.kind for one in verdict.checks}
    assert asked == {one.name: one.kind for one in catalogue()}
    assert verdict.verdict is PASSED


@pytest.mark.parametrize(
    ("course", "name", "verdict"),
    [
        # the platform
        ({"outage": (0.0, 6.0), "outcome": "timeout"}, "recovers_within", FAILED),
        ({"outage": (0.0, 0.8)}, "lost", FAILED),
        ({"outage": (0.0, 0.3)}, "lost", PASSED),
        ({"outage": (0.0, 9.0), "outage_share": 1 / 3, "outcome": "timeout"}, "recovers_within", FAILED),
        ({"outage": (0.0, 1.0), "outcome": "slow"}, "lost", FAILED),
        ({"outage": (0.0, 0.1), "outcome": "wrong_answer"}, "wrong_answers", FAILED),
        ({"outage": [(0.0, 0.1), (12.0, 12.2)]}, "recovers_within", FAILED),
        ({"outage": (0.0, 1000.0)}, "recovers_within", FAILED),
        ({"outage": (0.0, 1000.0)}, "settles", FAILED),
        ({"outage": (22.0, 22.5)}, "settles", FAILED),
        ({"new_pod_ready_s": None}, "replicas_within", FAILED),
        ({"new_pod_ready_s": 16.0}, "replicas_within", FAILED),
        ({"new_pod_ready_s": 14.0}, "replicas_within", PASSED),
        ({"undo_s": 6.0, "rollback_s": 7.0}, "undone_within", FAILED),
        ({"outage": (0.0, 0.4), "target": 0.999}, "slo_detector", FAILED),
        # the instrument
        ({"strikes": False}, "fault_proven", INVALID),
        ({"claims": {}}, "fault_proven", INVALID),
        ({"claims": {"pod-gone": True, "endpoint-withdrawn": False}}, "fault_proven", INVALID),
        ({"claims": {"pod-gone": None}}, "fault_proven", INVALID),
        ({"claims": {"pod-gone": True, "unheard-of": None}}, "fault_proven", INVALID),
        ({"silent": False}, "fault_proven", INVALID),
        ({"proven_s": -1.0}, "fault_proven", INVALID),
        ({"noise": 0.02}, "baseline_steady", INVALID),
        ({"outage": (-5.0, -4.95)}, "baseline_steady", INVALID),
        ({"late": [(-5.0, -4.9, 20.0)]}, "load_delivered", INVALID),
        ({"late": [(5.0, 5.2, 100.0)]}, "load_delivered", INVALID),
        ({"not_sent": [(5.0, 5.2)]}, "load_delivered", INVALID),
        ({"target": 0.9999}, "steady_detector", INVALID),
        ({"after_snapshot": False}, "undo_verified", INVALID),
        ({"undo_verified": False}, "undo_verified", VerdictName.RESIDUE),
        ({"differences": ("node/gpu-1 spec.unschedulable: absent -> true",)}, "undo_verified", VerdictName.RESIDUE),
    ],
)
def test_each_course_ends_where_it_must(tmp_path, course, name, verdict):
    """The table of courses."""
    assert check(judge(build_run(tmp_path, **course)), name).verdict is verdict


def test_requests_that_took_several_attempts_are_counted_and_judged_by_their_end(tmp_path):
    """Retries hide failures: the report has to say how many."""
    run_dir = build_run(tmp_path)

    def retried(rows):
        for row in rows[:37]:
            first = {"outcome": "refused", "connection": row["connection"], "local_port": 1, "sent_ns": 1, "end_ns": 2}
            row |= {"attempts": 2, "tries": [first, {**first, "outcome": "ok"}]}
        rows[36] |= {"outcome": "refused"}
        return rows

    alter_requests(run_dir, retried)
    verdict = judge(run_dir)

    assert verdict.measurements["requests"]["several_attempts"] == {"requests": 37, "good": 36}
    assert verdict.measurements["requests"]["bad"] == 1


@pytest.mark.parametrize(
    ("course", "verdict"),
    [
        ({}, PASSED),
        ({"outage": (0.0, 0.02)}, PASSED),
        ({"outage": (0.0, 0.8)}, FAILED),
        ({"strikes": False, "outage": (0.0, 0.8)}, INVALID),
        ({"noise": 0.02, "outage": (0.0, 9.0)}, INVALID),
        ({"late": [(-5.0, -4.5, 20.0)], "outage": (0.0, 9.0)}, INVALID),
        ({"undo_verified": False, "strikes": True, "outage": (0.0, 9.0)}, VerdictName.RESIDUE),
        ({"stop": Stop(t_ns=ZERO_NS + 20 * S, reason="interrupted", detail="SIGINT")}, VerdictName.ABORTED),
        ({"stop": Stop(t_ns=ZERO_NS + 20 * S, reason="abort-condition")}, VerdictName.ABORTED),
        ({"stop": Stop(t_ns=ZERO_NS + 20 * S, reason="killed")}, VerdictName.ABORTED),
        ({"stop": Stop(t_ns=ZERO_NS + 20 * S, reason="error", detail="boom")}, INVALID),
        ({"stop": Stop(t_ns=ZERO_NS + 20 * S, reason="invalid", detail="bad")}, INVALID),
        ({"stop": Stop(t_ns=ZERO_NS + 20 * S, reason="skipped", detail="gpu")}, VerdictName.SKIPPED),
        ({"stop": Stop(t_ns=ZERO_NS + 20 * S, reason="of a later version")}, INVALID),
    ],
)
def test_the_verdict_is_the_worst_by_the_rules(tmp_path, course, verdict):
    """RESIDUE, ABORTED, SKIPPED, INVALID instrument, FAILED, INVALID promise, PASSED."""
    assert judge(build_run(tmp_path, **course)).verdict is verdict


def test_a_stopped_run_with_an_open_undo_is_residue(tmp_path):
    """Killed, and nobody recovered it: what is left outranks everything."""
    stop = Stop(t_ns=ZERO_NS + 20 * S, reason="killed")

    verdict = judge(build_run(tmp_path, stop=stop, undo_verified=False))

    assert verdict.verdict is VerdictName.RESIDUE
    assert "pod-kill-1.0" in verdict.why


def test_a_run_that_was_killed_and_not_recovered_is_residue(tmp_path):
    """The history breaks off after the strike."""
    run_dir = build_run(tmp_path)
    alter_lines(
        run_dir / "actions.jsonl", lambda lines: lines[: [line.get("phase") for line in lines].index("recover") + 1]
    )

    verdict = judge(run_dir)

    assert verdict.verdict is VerdictName.RESIDUE
    assert check(verdict, "stopped").verdict is INVALID


def test_the_same_folder_gives_the_same_verdict_anywhere(tmp_path):
    """Pure: nothing but the files counts, and they may be moved."""
    run_dir = build_run(tmp_path, outage=(0.0, 0.8))
    first = judge(run_dir)

    moved = shutil.copytree(run_dir, tmp_path / "elsewhere" / run_dir.name)
    before = {path: path.stat().st_mtime_ns for path in moved.rglob("*")}
    second = judge(moved)

    assert second == first
    assert {path: path.stat().st_mtime_ns for path in moved.rglob("*")} == before


def test_a_check_that_crashes_never_passes(tmp_path, monkeypatch):
    """Its error is its reason."""
    run_dir = build_run(tmp_path)
    monkeypatch.setattr("harness.checks.lost.lost", lambda *_: 1 / 0)

    verdict = judge(run_dir)

    assert verdict.verdict is INVALID
    assert "ZeroDivisionError" in check(verdict, "lost").why


def test_a_crash_of_the_instrument_makes_the_run_invalid(tmp_path, monkeypatch):
    """Even where a promise is broken: who knows by what."""
    run_dir = build_run(tmp_path, outage=(0.0, 9.0))
    monkeypatch.setattr("harness.checks.fault_proven.fault_proven", lambda *_: 1 / 0)

    assert judge(run_dir).verdict is INVALID


def test_a_figure_that_cannot_be_drawn_does_not_change_the_verdict(tmp_path, monkeypatch):
    """Reports may miss a plot; nobody may miss a verdict."""
    run_dir = build_run(tmp_path)
    monkeypatch.setattr("harness.measure.figures.windows", lambda *_: 1 / 0)

    verdict = judge(run_dir)

    assert verdict.verdict is PASSED
    assert verdict.measurements["problems"] == ["windows: ZeroDivisionError: division by zero"]


def test_a_folder_that_is_no_run_is_invalid(tmp_path):
    """With the reason, and without a traceback."""
    verdict = judge(tmp_path)

    assert verdict.verdict is INVALID
    assert "run.json" in verdict.why


def test_measurements_are_plain_json(tmp_path):
    """Reports and schemas see numbers, texts, lists and nulls."""
    verdict = judge(build_run(tmp_path, outage=(0.0, 0.8), bad_version=(1.0, 2.0, 0.3), expect={"wrong_answers": 0}))

    assert json.loads(json.dumps(verdict.measurements)) == verdict.measurements
    assert json.loads(json.dumps([one.measured for one in verdict.checks])) is not None
    assert "problems" not in verdict.measurements


def test_the_measured_outage_is_the_true_one(tmp_path):
    """To the arrival."""
    verdict = judge(build_run(tmp_path, outage=(0.2, 1.7)))
    recovery = verdict.measurements["recovery"]
    strike = verdict.measurements["faults"][0]["begin_ns"]

    assert recovery["after_ns"] < strike + 1.7 * S <= recovery["by_ns"]
    assert recovery["outages"][0]["first_ns"] >= strike + 0.2 * S
    assert verdict.measurements["lost_s"] == pytest.approx(1.5, abs=0.2)


def test_stages_are_in_the_order_in_which_they_happened(tmp_path):
    """From the first bad request to service within its objective."""
    verdict = judge(build_run(tmp_path, outage=(0.01, 1.3)))

    stages = verdict.measurements["recovery"]["stages"]
    times = [stage["at_ns"] for stage in stages]

    assert [stage["name"] for stage in stages] == [
        "first bad request",
        "fault proven",
        "endpoint removed",
        "pod scheduled",
        "pod ready",
        "first good answer after the last bad request",
        "SLO met for the hold time",
    ]
    assert None not in times
    assert times == sorted(times)


def test_several_workers_without_a_word_of_their_clocks_are_not_judged(tmp_path):
    """The check is asked because the load says so, not because somebody measured."""
    run_dir = build_run(tmp_path)
    alter_experiment(run_dir, lambda document: document["extensions"][0]["load"].update(workers=2))

    assert ended(judge(run_dir)) == {"clocks_agree": INVALID}


def test_the_load_generators_own_failures_are_nobodys(tmp_path):
    """Few of them decide nothing; where they would, the answer is INVALID and not FAILED."""
    few = judge(build_run(tmp_path / "few", not_sent=[(5.0, 5.02)], expect={"lost_requests": 100}))
    deciding = judge(build_run(tmp_path / "deciding", not_sent=[(5.0, 5.02)], expect={"lost_requests": 0}))

    assert few.verdict is PASSED
    assert ended(deciding) == {"lost_requests": INVALID}


@pytest.mark.parametrize(
    ("seconds", "verdict"),
    [("800ms", FAILED), ("1s", None), ("1.1s", PASSED)],
)
def test_a_limit_is_kept_or_broken_or_between_two_arrivals(tmp_path, seconds, verdict):
    """The arrivals are the resolution of the instrument."""
    course = {"arrivals": "constant", "outage": (0.0, 1.0), "proven_s": 0.0}

    found = check(judge(build_run(tmp_path, **course, expect={"recovers_within": seconds})), "recovers_within")

    assert found.verdict is verdict or (verdict is None and found.verdict in (PASSED, INVALID, FAILED))


def test_instrument_checks_are_always_asked(tmp_path):
    """Whatever the experiment expects."""
    verdict = judge(build_run(tmp_path, expect={}))

    assert {one.name for one in verdict.checks if one.kind is CheckKind.INSTRUMENT} == {
        "stopped",
        "history_complete",
        "load_delivered",
        "baseline_steady",
        "fault_proven",
        "undo_verified",
    }
