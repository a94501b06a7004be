"""Non-inferiority: the formulas, and that they err as rarely as they say."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest, mannwhitneyu

from harness.measure.noninferior import quantile_ratio, rank_sum_p, runs_worse, share_worse, smallest_p, wilson


@pytest.mark.parametrize(("good", "count"), [(0, 10), (5, 10), (10, 10), (2995, 3000), (119_900, 120_000)])
def test_wilson_is_scipys(good, count):
    """Two-sided 90 %."""
    interval = binomtest(good, count).proportion_ci(0.9, "wilson")

    assert wilson(good, count) == pytest.approx((interval.low, interval.high), abs=1e-12)


def test_newcombe_matches_its_paper():
    """Newcombe 1998, table II, row (a), method 10: 56/70 against 48/80, here at 90 % and with the sign turned."""
    worse = share_worse((48, 80), (56, 70))

    assert worse.seen == pytest.approx(0.2)
    assert worse.at_least == pytest.approx(0.0761, abs=0.003)
    assert worse.at_most == pytest.approx(0.3136, abs=0.003)


def test_a_platform_at_the_margin_passes_in_at_most_5_of_100_comparisons():
    """Truly worse by exactly the margin: calling it "not worse" is the error that is bounded."""
    rng = np.random.default_rng(2)
    count, trials = 20_000, 1500
    old = rng.binomial(count, 0.999, trials)
    new = rng.binomial(count, 0.998, trials)
    wrong = sum(
        (share_worse((a, count), (b, count)).at_most or 1) <= 0.001
        for a, b in zip(new.tolist(), old.tolist(), strict=True)
    )

    assert binomtest(wrong, trials, 0.05, alternative="greater").pvalue > 1e-3, f"{wrong} of {trials}"


def test_a_side_without_requests_says_nothing():
    """None, not zero."""
    assert share_worse((0, 0), (10, 10)).at_most is None


@pytest.mark.parametrize("seed", range(10))
def test_the_rank_test_is_mann_and_whitneys(seed):
    """Without ties scipy has the exact distribution."""
    rng = np.random.default_rng(seed)
    low, high = rng.random(5).tolist(), (rng.random(4) + 0.2).tolist()

    assert rank_sum_p(low, high) == pytest.approx(mannwhitneyu(low, high, alternative="less", method="exact").pvalue)


@pytest.mark.parametrize(("new", "old", "p"), [(1, 1, 0.5), (3, 3, 0.05), (4, 4, 1 / 70), (5, 5, 1 / 252), (0, 3, 1.0)])
def test_few_runs_can_say_little(new, old, p):
    """The smallest p-value there is."""
    assert smallest_p(new, old) == pytest.approx(p)


def test_never_is_worse_than_any_time():
    """A run that did not recover is ranked last, and never against never is no difference."""
    never = float("inf")

    _, not_worse, worse = runs_worse([never, never, never], [1.0, 1.1, 1.2], 1.0)
    _, same, _ = runs_worse([never, never, never], [never, never, never], 1.0)

    assert worse == pytest.approx(0.05)
    assert not_worse > 0.9
    assert same > 0.05


def test_many_runs_take_the_approximation():
    """Sixty against sixty have more arrangements than can be counted."""
    rng = np.random.default_rng(4)
    new, old = rng.normal(1, 0.1, 60).tolist(), rng.normal(1, 0.1, 60).tolist()

    _, not_worse, worse = runs_worse(new, old, 1.0)

    assert not_worse < 1e-6
    assert worse > 0.9


def test_a_quantile_that_doubled_is_found_and_one_that_did_not_is_not():
    """Windows of latencies, as they come from two baselines."""
    rng = np.random.default_rng(6)
    old = [rng.gamma(4, 1e6, 200) for _ in range(60)]
    same = [rng.gamma(4, 1e6, 200) for _ in range(60)]
    double = [rng.gamma(4, 2e6, 200) for _ in range(60)]

    assert quantile_ratio(same, old, 0.99).at_most < 0.2
    assert quantile_ratio(double, old, 0.99).at_least > 0.2
    assert quantile_ratio(same[:5], old, 0.99) is None
