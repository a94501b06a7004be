"""From a run's folder to its verdict: which course ends how, and which check says so."""

from __future__ import annotations

import json
import shutil

import pytest
import yaml

from harness.checks import catalogue
from harness.history.records import Stop
from harness.judge import judge
from harness.verdict import CheckKind, VerdictName
from tests.course import PODS, ZERO_NS, Course, S
from tests.course_requests import alter_requests
from tests.histories import alter_lines, build_run

PASSED, FAILED, INVALID = VerdictName.PASSED, VerdictName.FAILED, VerdictName.INVALID


def ended(verdict):
    """Names of the checks that did not pass."""
    return {check.name: check.verdict for check in verdict.checks if check.verdict is not PASSED}


def check(verdict, name):
    """One check of a verdict."""
    return next(one for one in verdict.checks if one.name == name)


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


def test_a_bad_release_is_judged_by_versions(tmp_path):
    """Who met it, and how long."""
    course = {
        "stable_version": "1",
        "bad_version": (1.0, 3.0, 0.25),
        "fault": "bad-release",
        "claims": {"version-served": None},
        "target": 0.9,
    }
    kept = judge(build_run(tmp_path / "a", **course, expect={"stable_within": "5s", "exposed": "30%"}))
    broken = judge(build_run(tmp_path / "b", **course, expect={"stable_within": "1s", "exposed": "5%"}))

    assert ended(kept) == {}
    assert ended(broken) == {"stable_within": FAILED, "exposed": FAILED}
    assert kept.measurements["versions"][1]["version"] == "4"


def test_wrong_answers_of_no_version_may_be_of_the_bad_one(tmp_path):
    """Who was exposed is not known then."""
    course = {"fault": "bad-release", "claims": {"version-deployed": True}, "stable_version": "1", "target": 0.9}
    run_dir = build_run(tmp_path, **course, bad_version=(1.0, 3.0, 0.25), expect={"exposed": "5%"})

    alter_requests(run_dir, lambda rows: [{**row, "version": None} if row["version"] == "4" else row for row in rows])

    assert ended(judge(run_dir)) == {"exposed": INVALID}


def test_another_version_is_no_noise_however_noisy_the_baseline_was(tmp_path):
    """As many answers of the bad version as the baseline had bad ones: each is still one too many."""
    course = {"fault": "bad-release", "claims": {"version-deployed": True}, "stable_version": "1", "target": 0.985}
    served = {"noise": 0.004, "bad_version": (0.0, 19.9, 0.003), "bad_version_outcome": "ok"}

    verdict = judge(build_run(tmp_path, **course, **served, expect={"stable_within": "5s"}))

    assert ended(verdict) == {"stable_within": FAILED}


def test_a_fault_that_was_planned_and_never_struck_proves_nothing(tmp_path):
    """One of two did strike, and the other's undo alone is on record."""
    run_dir = build_run(tmp_path)

    def two_planned(lines):
        planned = next(line for line in lines if line["type"] == "fault" and line["step"] == "planned")
        at = lines.index(planned)
        return [*lines[:at], {**planned, "fault_id": "pod-kill-2", "target": "pod/other"}, *lines[at:]]

    alter_lines(run_dir / "actions.jsonl", two_planned)

    assert ended(judge(run_dir)) == {"fault_proven": INVALID}


def test_a_claim_that_was_announced_and_is_not_on_record_proves_nothing(tmp_path):
    """Its line was lost; the others alone do not make the fault."""
    run_dir = build_run(tmp_path)
    claims = ["pod-gone", "endpoint-withdrawn", "pod-silent"]

    def announced(lines):
        begin = next(line for line in lines if line["type"] == "fault" and line["step"] == "begin")
        begin["facts"]["claims"] = claims
        return lines

    alter_lines(run_dir / "actions.jsonl", announced)
    assert ended(judge(run_dir)) == {}

    alter_lines(run_dir / "actions.jsonl", lambda lines: [line for line in lines if line.get("claim") != "pod-gone"])
    assert ended(judge(run_dir)) == {"fault_proven": INVALID}


def test_a_pod_that_answers_wrongly_after_its_death_is_not_silent(tmp_path):
    """Silence is no answer at all."""
    run_dir = build_run(tmp_path, expect={})
    late = Course().at(6)

    def speaks(rows):
        wrong = {"pod": PODS[0], "outcome": "wrong_answer"}
        return [{**row, **wrong} if row["scheduled_ns"] > late and row["arrival"] % 300 == 0 else row for row in rows]

    alter_requests(run_dir, speaks)

    assert ended(judge(run_dir)) == {"fault_proven": INVALID}


def test_a_load_that_met_other_pods_says_nothing_of_the_workload(tmp_path):
    """A wrong load.url: the release went out here, and the clients were elsewhere."""
    run_dir = build_run(tmp_path, fault="bad-release", claims={"version-deployed": True}, expect={})

    alter_requests(run_dir, lambda rows: [{**row, "pod": row["pod"] and f"other-{row['pod']}"} for row in rows])

    assert ended(judge(run_dir)) == {"baseline_steady": INVALID}


def test_several_workers_without_a_word_of_their_clocks_are_not_judged(tmp_path):
    """The check is asked because the load says so, not because somebody measured."""
    run_dir = build_run(tmp_path)
    _alter_experiment(run_dir, lambda document: document["extensions"][0]["load"].update(workers=2))

    assert ended(judge(run_dir)) == {"clocks_agree": INVALID}


@pytest.mark.parametrize(("module", "verdict"), [("somebody.elses", INVALID), ("harness.faults", None)])
def test_a_rollback_of_the_experiments_own_that_failed_leaves_nobody_knows_what(tmp_path, module, verdict):
    """What it undoes need not be in the picture; ours is verified by the journal."""
    run_dir = build_run(tmp_path)
    provider = {"type": "python", "module": module, "func": "undo"}
    rollback = {"type": "action", "name": "put it back", "provider": provider}
    _alter_experiment(run_dir, lambda document: document.update(rollbacks=[rollback]))

    def rolled_back(step):
        def alter(lines):
            at = next(index for index, line in enumerate(lines) if line.get("phase") == "rollback")
            done = {"type": "action", "section": "rollbacks", "name": "put it back", "t_ns": lines[at]["t_ns"] + 1}
            return [*lines[: at + 1], {**done, "step": step}, *lines[at + 1 :]]

        return alter

    alter_lines(run_dir / "actions.jsonl", rolled_back("failed"))
    assert ended(judge(run_dir)) == ({"undo_verified": verdict} if verdict else {})

    alter_lines(run_dir / "actions.jsonl", rolled_back("end"))
    assert ended(judge(run_dir)) == {}


def _alter_experiment(run_dir, alter):
    file = run_dir / "experiment.yaml"
    document = yaml.safe_load(file.read_text(encoding="utf-8"))
    alter(document)
    file.write_text(yaml.safe_dump(document), encoding="utf-8")


def test_latency_is_proven_by_the_struck_pods_answers(tmp_path):
    """At least half of what was injected, at the median, of that pod."""
    course = {
        "fault": "pod-latency",
        "claims": {"latency-added": None},
        "expect": {},
        "slow_pod": "detector-7d9f-bbbbb",
    }

    slow = judge(build_run(tmp_path / "slow", **course, slow_ms=60.0))
    alter_lines(
        build_run(tmp_path / "fast", **course, slow_ms=60.0) / "actions.jsonl",
        lambda lines: [
            {**line, "facts": {**line["facts"], "latency_ns": 200_000_000}} if "latency_ns" in str(line) else line
            for line in lines
        ],
    )
    not_slow_enough = judge(next((tmp_path / "fast").iterdir()))

    assert slow.verdict is PASSED
    assert "instead of" in slow.measurements["faults"][0]["claims"][0]["detail"]
    assert check(not_slow_enough, "fault_proven").verdict is INVALID


def test_answers_too_slow_to_end_before_the_strike_are_still_the_baselines(tmp_path):
    """One in 30 takes 20 s, from the begin on: what had not ended by the strike was late all the same."""
    latency = {"within": None, "expect": {"latency": {"p99": "1s"}}, "recover_s": 100.0}
    slo = {"within": "1s", "expect": {}, "target": 0.98}
    strike = Course().strike_ns

    def slow(rows):
        late = [row for row in rows if row["scheduled_ns"] < strike and row["arrival"] % 30 == 0]
        for row in late:
            row["end_ns"] = row["sent_ns"] + 20 * S
        return rows

    found = {}
    for name, course in (("latency", latency), ("slo", slo)):
        run_dir = build_run(tmp_path / name, **course)
        alter_requests(run_dir, slow)
        found[name] = ended(judge(run_dir))

    assert found == {
        "latency": {"steady_latency_p99": INVALID},
        "slo": {"baseline_steady": INVALID, "steady_detector": INVALID},
    }


def test_what_befalls_the_platform_while_the_method_still_waits_is_no_baseline(tmp_path):
    """The fault phase began 5 s before the strike, with a pause: a platform that fails meanwhile was not well."""
    run_dir = build_run(tmp_path, outage=(-3.0, -2.9), target=0.98, baseline_s=15.0)

    def begins_earlier(lines):
        fault = next(line for line in lines if line.get("phase") == "fault")
        fault["t_ns"] -= 5 * S
        return lines

    alter_lines(run_dir / "actions.jsonl", begins_earlier)
    _alter_experiment(run_dir, lambda document: document["extensions"][0]["phases"].update(baseline="10s"))

    assert ended(judge(run_dir)) == {"baseline_steady": INVALID, "steady_detector": INVALID}


def test_what_another_tools_action_costs_is_lost_too(tmp_path):
    """It broke the service 3 s before our own fault did nothing to it; who promised 0.5 s lost a second."""
    run_dir = build_run(tmp_path, outage=(-3.0, -2.0), target=0.9, expect={"lost": "0.5s"})

    def acts_before(lines):
        fault = next(line for line in lines if line.get("phase") == "fault")
        fault["t_ns"] -= 4 * S
        at, done = lines.index(fault) + 1, {"type": "action", "section": "method", "name": "another tool's"}
        begin, end = ({**done, "step": step, "t_ns": fault["t_ns"] + 1} for step in ("begin", "end"))
        return [*lines[:at], begin, end, *lines[at:]]

    def also(document):
        provider = {"type": "process", "path": "kubectl", "arguments": "delete pod detector-7d9f-bbbbb"}
        document["method"].insert(0, {"type": "action", "name": "another tool's", "provider": provider})
        document["extensions"][0]["phases"]["baseline"] = "11s"

    alter_lines(run_dir / "actions.jsonl", acts_before)
    _alter_experiment(run_dir, also)
    distrusted = judge(run_dir)
    _alter_experiment(run_dir, lambda document: document["extensions"][0].update(trust=["another tool's"]))
    trusted = judge(run_dir)

    assert ended(distrusted) == {"fault_proven": INVALID, "lost": FAILED}
    assert 'nothing proves what "another tool\'s" did' in check(distrusted, "fault_proven").why
    assert ended(trusted) == {"lost": FAILED}
    assert check(trusted, "fault_proven").seen.endswith("taken on trust: another tool's")


def test_a_request_under_way_at_the_strike_is_the_faults_and_not_the_baselines(tmp_path):
    """It was scheduled before the strike and died of it."""
    run_dir = build_run(tmp_path, expect={"lost_requests": 0})
    strike = ZERO_NS + 15_010_000_000

    def dies(rows):
        last = max(row["arrival"] for row in rows if row["scheduled_ns"] < strike)
        changed = {"outcome": "reset", "end_ns": strike + 1_000_000, "first_byte_ns": None, "pod": None}
        return [{**row, **changed} if row["arrival"] == last else row for row in rows]

    alter_requests(run_dir, dies)
    verdict = judge(run_dir)

    assert ended(verdict) == {"lost_requests": FAILED}


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
