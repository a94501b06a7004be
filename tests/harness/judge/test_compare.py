"""Runs against earlier runs: not worse, worse, or too few to say."""

from __future__ import annotations

import json

import pytest

from harness.compare import Margins, compare
from harness.errors import UsageError
from harness.verdict import VerdictName
from tests.course import S
from tests.histories import alter_lines, build_run

PASSED, FAILED, INVALID = VerdictName.PASSED, VerdictName.FAILED, VerdictName.INVALID
SHORT = {"baseline_s": 10.0, "recover_s": 12.0, "settle_s": 2.0, "expect": {}, "target": 0.9}


def runs(tmp_path, name, number, **course):
    """Some runs of one course, with other seeds."""
    first = sum(map(ord, name))
    return [build_run(tmp_path / f"{name}{n}", **{**SHORT, "seed": first * 100 + n, **course}) for n in range(number)]


def endings(verdict):
    """Verdicts of the questions."""
    return {check.name: check.verdict for check in verdict.checks}


@pytest.fixture(scope="module")
def before(tmp_path_factory):
    """Three runs with an outage of half a second."""
    return runs(tmp_path_factory.mktemp("before"), "old", 3, outage=(0.0, 0.5))


def test_the_same_platform_is_not_worse(tmp_path, before):
    """Noise is within the margins."""
    verdict = compare(runs(tmp_path, "new", 3, outage=(0.0, 0.5)), before)

    assert endings(verdict) == dict.fromkeys(("comparable", "availability", "latency", "recovery", "lost"), PASSED)
    assert verdict.verdict is PASSED
    assert "3 runs against 3 runs before" in verdict.title


def test_a_longer_recovery_is_found(tmp_path, before):
    """3 s instead of half a second, with a margin of one."""
    verdict = compare(runs(tmp_path, "new", 3, outage=(0.0, 3.0)), before)

    assert endings(verdict)["recovery"] is FAILED
    assert endings(verdict)["lost"] is FAILED
    assert endings(verdict)["availability"] is PASSED
    assert verdict.verdict is FAILED


def test_a_relapse_counts_for_recovery(tmp_path, before):
    """Back after half a second, and gone again for good measure."""
    verdict = compare(runs(tmp_path, "new", 3, outage=[(0.0, 0.5), (6.0, 6.1)]), before)

    assert endings(verdict)["recovery"] is FAILED


def test_one_run_against_one_says_nothing_about_recovery(tmp_path, before):
    """One outage is one trial."""
    verdict = compare(runs(tmp_path, "new", 1, outage=(0.0, 3.0)), before[:1])

    assert endings(verdict)["recovery"] is INVALID
    assert verdict.verdict is INVALID


def test_a_slower_steady_state_is_found(tmp_path, before):
    """Answers take longer than before, by more than the margin."""
    slow = runs(tmp_path, "new", 3, outage=(0.0, 0.5), latency_scale=2.0)

    assert endings(compare(slow, before))["latency"] is FAILED


def test_a_worse_steady_state_is_found(tmp_path, before):
    """2 % of the requests fail without a fault."""
    verdict = compare(runs(tmp_path, "new", 3, outage=(0.0, 0.5), noise=0.02), before)

    assert endings(verdict)["availability"] is FAILED


def test_margins_are_the_users(tmp_path, before):
    """A service level that may fall by 5 points did not fall by more."""
    worse = runs(tmp_path, "new", 3, outage=(0.0, 0.5), noise=0.02)

    verdict = compare(worse, before, Margins(availability=0.05))

    assert endings(verdict)["availability"] is PASSED


def test_a_run_that_says_nothing_makes_the_comparison_say_nothing(tmp_path, before):
    """Its fault was never proven."""
    verdict = compare([*runs(tmp_path, "new", 3, outage=(0.0, 0.5)), *runs(tmp_path, "bad", 1, strikes=False)], before)

    assert verdict.verdict is INVALID
    assert endings(verdict)["comparable"] is INVALID


@pytest.mark.parametrize("course", [{"rate": 100.0}, {"target": 0.95}, {"kept": "20%"}])
def test_runs_of_another_load_or_objective_are_refused(tmp_path, before, course):
    """Apples and pears."""
    with pytest.raises(UsageError, match="cannot be compared"):
        compare(runs(tmp_path, "new", 1, **course), before)


@pytest.mark.parametrize(("old", "new"), [("count: 1", "count: 2"), ("expect: {}", "expect: {hold: 1s}")])
def test_runs_of_another_fault_are_refused_whatever_the_file_is_called(tmp_path, before, old, new):
    """A milder fault under the same name would be no worse, and prove nothing."""
    (run_dir,) = runs(tmp_path, "new", 1)
    file = run_dir / "experiment.yaml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))

    with pytest.raises(UsageError, match="cannot be compared"):
        compare([run_dir], before)


def test_the_longest_of_several_recoveries_counts(tmp_path):
    """The first fault was over after 1 s; the second after half a second, and again after 5 s."""
    run_dirs = runs(tmp_path, "new", 1, outage=[(0.0, 1.0), (5.0, 5.5), (9.0, 10.0)])
    second = {"fault_id": "pod-kill-2", "target": "pod/second"}

    def strikes_again(lines):
        first = [line for line in lines if line["type"] in ("fault", "evidence")]
        return [*lines, *({**line, **second, "t_ns": line["t_ns"] + 5 * S} for line in first)]

    alter_lines(run_dirs[0] / "actions.jsonl", strikes_again)

    (new,) = compare(run_dirs, runs(tmp_path, "old", 1)).measurements["new"]
    assert new["recovery_s"] == pytest.approx(5, abs=0.1)


def test_nothing_is_no_baseline(before):
    """A comparison takes two sides."""
    with pytest.raises(UsageError):
        compare(before, [])


def test_a_comparison_is_repeatable(tmp_path, before):
    """The bootstrap has a fixed seed."""
    new = runs(tmp_path, "new", 3, outage=(0.0, 0.5))

    assert compare(new, before) == compare(new, before)


def test_a_service_that_no_longer_comes_back_is_worse(tmp_path, before):
    """For ever is longer than any margin, and the figures stay plain JSON."""
    verdict = compare(runs(tmp_path, "new", 3, outage=(0.0, 1000.0)), before)

    recovery = next(check for check in verdict.checks if check.name == "recovery")
    assert recovery.verdict is FAILED
    assert recovery.measured["shift_s"] is None
    assert json.loads(json.dumps(verdict.measurements)) == verdict.measurements
