"""The bound of the steady state: the formula, the design effect, and that it holds in simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from harness.checks.steady_state import steady_state
from harness.measure.steady import (
    Bound,
    bound,
    clopper_pearson_lower,
    design_effect,
    improbable_burst,
    requests_needed,
)
from harness.verdict import VerdictName

S = 1_000_000_000


@pytest.mark.parametrize(("good", "requests"), [(0, 10), (9, 10), (10, 10), (2994, 2995), (119_900, 120_000)])
def test_the_bound_is_scipys(good, requests):
    """Clopper and Pearson, one-sided, 95 %."""
    scipys = binomtest(good, requests, alternative="greater").proportion_ci(0.95, "exact").low

    assert clopper_pearson_lower(good, requests) == pytest.approx(scipys, abs=1e-12)


@pytest.mark.parametrize(
    ("target", "failures", "needed"),
    [(0.999, 0, 2995), (0.999, 1, 4742), (0.999, 2, 6294), (0.999, 10, 16_959), (0.9999, 0, 29_956), (0.995, 0, 598)],
)
def test_requests_needed_are_those_of_the_table(target, failures, needed):
    """docs/statistics.md has it."""
    assert requests_needed(target, failures, 1.0) == needed


def test_too_few_requests_are_invalid_and_say_how_many_it_takes():
    """Not failed: nothing bad was seen."""
    answer = steady_state(Bound(requests=1000, good=1000, design_effect=1.0, lower=0.997), 0.999, 200.0)

    assert answer.verdict is VerdictName.INVALID
    assert "2,995" in answer.why
    assert "phases.baseline" in answer.hint


def test_independent_failures_have_no_design_effect_and_bursts_have_one():
    """A burst of 60 is one event, not 60."""
    rng = np.random.default_rng(3)
    times = np.sort(rng.integers(0, 100 * S, 20_000))
    independent = rng.random(20_000) < 0.003
    burst = (times > 50 * S) & (times < 50.3 * S)

    assert design_effect(times, independent, 0, 100 * S) < 2.5
    assert design_effect(times, burst, 0, 100 * S) > 20
    assert design_effect(times, np.zeros(20_000, dtype=bool), 0, 100 * S) == 1.0


def test_the_bound_covers_in_95_of_100_runs():
    """Truth 99.9 %, independent failures, seed fixed: the share of runs whose bound is below the truth."""
    rng = np.random.default_rng(11)
    runs, count, truth = 600, 20_000, 0.999
    times = np.sort(rng.integers(0, 100 * S, count))
    covered = sum(bound(times, rng.random(count) >= truth, 0, 100 * S).lower <= truth for _ in range(runs))

    assert binomtest(covered, runs, 0.95, alternative="less").pvalue > 1e-3, f"{covered} of {runs}"


@pytest.mark.parametrize(
    ("bad", "size", "found"), [(1, 20, False), (2, 200, False), (6, 20, True), (12, 200, True), (2, 2, False)]
)
def test_a_burst_is_what_the_target_cannot_explain(bad, size, found):
    """Less than once in a million windows, at a target of 99.5 %."""
    windows = improbable_burst(np.array([0, bad]), np.array([size, size]), 0.995)

    assert (windows == 1) is found
