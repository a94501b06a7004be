"""A bad release is judged by the versions that answered."""

from __future__ import annotations

from harness.judge import judge
from tests.course_requests import alter_requests
from tests.harness.judge.verdicts import FAILED, INVALID, ended
from tests.histories import build_run


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
