"""Which requests are the baseline, and when it says nothing."""

from __future__ import annotations

from harness.judge import judge
from tests.course import ZERO_NS, Course, S
from tests.course_requests import alter_requests
from tests.harness.judge.verdicts import FAILED, INVALID, alter_experiment, ended
from tests.histories import alter_lines, build_run


def test_a_load_that_met_other_pods_says_nothing_of_the_workload(tmp_path):
    """A wrong load.url: the release went out here, and the clients were elsewhere."""
    run_dir = build_run(tmp_path, fault="bad-release", claims={"version-deployed": True}, expect={})

    alter_requests(run_dir, lambda rows: [{**row, "pod": row["pod"] and f"other-{row['pod']}"} for row in rows])

    assert ended(judge(run_dir)) == {"baseline_steady": INVALID}


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
    alter_experiment(run_dir, lambda document: document["extensions"][0]["phases"].update(baseline="10s"))

    assert ended(judge(run_dir)) == {"baseline_steady": INVALID, "steady_detector": INVALID}


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
