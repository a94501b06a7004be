"""What counts as proof that the fault happened, and that what was done is undone."""

from __future__ import annotations

import pytest

from harness.judge import judge
from tests.course import PODS, Course, S
from tests.course_requests import alter_requests
from tests.harness.judge.verdicts import FAILED, INVALID, PASSED, alter_experiment, check, ended
from tests.histories import alter_lines, build_run


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
    alter_experiment(run_dir, also)
    distrusted = judge(run_dir)
    alter_experiment(run_dir, lambda document: document["extensions"][0].update(trust=["another tool's"]))
    trusted = judge(run_dir)

    assert ended(distrusted) == {"fault_proven": INVALID, "lost": FAILED}
    assert 'nothing proves what "another tool\'s" did' in check(distrusted, "fault_proven").why
    assert ended(trusted) == {"lost": FAILED}
    assert check(trusted, "fault_proven").seen.endswith("taken on trust: another tool's")


@pytest.mark.parametrize(("module", "verdict"), [("somebody.elses", INVALID), ("harness.faults", None)])
def test_a_rollback_of_the_experiments_own_that_failed_leaves_nobody_knows_what(tmp_path, module, verdict):
    """What it undoes need not be in the picture; ours is verified by the journal."""
    run_dir = build_run(tmp_path)
    provider = {"type": "python", "module": module, "func": "undo"}
    rollback = {"type": "action", "name": "put it back", "provider": provider}
    alter_experiment(run_dir, lambda document: document.update(rollbacks=[rollback]))

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
