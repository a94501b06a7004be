"""N runs as a whole: what may be said of the platform."""

from __future__ import annotations

import pytest

from harness.errors import UsageError
from harness.repeat import judge_repeats, runs_needed, seeds
from harness.verdict import VerdictName
from tests.histories import build_run

SHORT = {"baseline_s": 5.0, "recover_s": 8.0, "settle_s": 2.0, "expect": {"recovers_within": "2s"}, "target": 0.9}


def runs(tmp_path, *courses):
    """One run for each course."""
    return [
        build_run(tmp_path / str(number), **{**SHORT, "seed": number, **course})
        for number, course in enumerate(courses)
    ]


GOOD, BAD, USELESS = {"outage": (0.0, 0.5)}, {"outage": (0.0, 4.0)}, {"strikes": False}


def test_ten_passed_runs_mean_74_percent(tmp_path):
    """0.05^(1/10), and the worst recovery bounds the same share."""
    verdict = judge_repeats(runs(tmp_path, *[GOOD] * 10))

    assert verdict.verdict is VerdictName.PASSED
    assert verdict.checks[1].measured["lower_bound"] == pytest.approx(0.741, abs=0.001)
    assert verdict.measurements["recovery"]["bounded_share"] == pytest.approx(0.741, abs=0.001)
    assert verdict.measurements["recovery"]["worst_s"] == pytest.approx(0.5, abs=0.1)
    assert "74%" in verdict.why


@pytest.mark.parametrize(
    ("courses", "pass_rate", "verdict"),
    [
        ([GOOD] * 3, None, VerdictName.PASSED),
        ([GOOD, GOOD, BAD], None, VerdictName.FAILED),
        ([GOOD, USELESS], None, VerdictName.INVALID),
        ([BAD, USELESS], None, VerdictName.INVALID),
        ([GOOD] * 5, 0.5, VerdictName.PASSED),
        ([GOOD] * 5, 0.9, VerdictName.INVALID),
        ([GOOD, BAD, BAD], 0.9, VerdictName.FAILED),
        ([GOOD, {"undo_verified": False}], None, VerdictName.RESIDUE),
    ],
)
def test_the_whole_is_judged_by_its_runs(tmp_path, courses, pass_rate, verdict):
    """Worst of, with a pass rate where one is asked for."""
    assert judge_repeats(runs(tmp_path, *courses), pass_rate=pass_rate).verdict is verdict


def test_a_service_that_never_came_back_has_no_worst_recovery(tmp_path):
    """It is not zero."""
    verdict = judge_repeats(runs(tmp_path, GOOD, {"outage": (0.0, 1000.0)}))

    assert verdict.measurements["recovery"]["worst_s"] is None
    assert "never" in verdict.measurements["recovery"]["says"]


@pytest.mark.parametrize(("rate", "number"), [(0.55, 6), (0.74, 10), (0.9, 29), (0.95, 59), (0.99, 299)])
def test_runs_needed_are_those_of_the_table(rate, number):
    """docs/statistics.md has it."""
    assert runs_needed(rate) == number


@pytest.mark.parametrize("rate", [0.0, 1.0, 1.5])
def test_certainty_cannot_be_shown(rate):
    """No number of runs shows 100 %."""
    with pytest.raises(UsageError):
        runs_needed(rate)


def test_repeats_have_seeds_of_their_own():
    """Other seeds choose other targets."""
    assert seeds(7, 3) == [7, 8, 9]
