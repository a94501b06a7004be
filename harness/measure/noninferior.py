"""Is the new one worse than the old one by more than a margin? Three kinds of figures, each with its own method.

Each returns a one-sided 95 % answer: `worse_by` and an upper bound of it. At 100,000 requests a difference of 2 % has a
vanishing p-value, so a margin is stated and tested, never "no difference".
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

Z = 1.6448536269514722  # one-sided 95 %
ALPHA = 0.05
EXACT_ARRANGEMENTS = 200_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Worse:
    """How much worse the new side is: what was seen, and at most so much at 95 %. None: too few to say."""

    seen: float
    at_most: float | None
    at_least: float | None


def wilson(good: float, count: float) -> tuple[float, float]:
    """The two-sided 90 % interval of a share (Wilson 1927); counts may be fractions after a design effect."""
    share = good / count
    middle = (share + Z * Z / (2 * count)) / (1 + Z * Z / count)
    half = Z * math.sqrt(share * (1 - share) / count + Z * Z / (4 * count * count)) / (1 + Z * Z / count)
    return max(0.0, middle - half), min(1.0, middle + half)


def share_worse(new: tuple[float, float], old: tuple[float, float]) -> Worse:
    """By how much the new share of good is lower (Newcombe 1998, method 10). Sides are (good, count)."""
    if new[1] <= 0 or old[1] <= 0:
        return Worse(seen=0.0, at_most=None, at_least=None)
    p_new, p_old = new[0] / new[1], old[0] / old[1]
    (low_new, high_new), (low_old, high_old) = wilson(*new), wilson(*old)
    seen = p_old - p_new
    at_most = seen + math.hypot(p_new - low_new, high_old - p_old)
    at_least = seen - math.hypot(high_new - p_new, p_old - low_old)
    return Worse(seen=seen, at_most=at_most, at_least=at_least)


def runs_worse(new: list[float], old: list[float], margin: float) -> tuple[Worse, float, float]:
    """By how much the new runs' figure is larger: the Hodges-Lehmann shift, with two exact one-sided tests.

    Returns the shift, the p-value of what was seen if it were larger by `margin` (small: it is not worse), and that if
    it were larger by less (small: it is worse). Infinite figures are larger than all others.
    """
    shifted = [value - margin for value in new]
    not_worse, worse = rank_sum_p(shifted, old), rank_sum_p(old, shifted)
    differences = _differences(new, old)
    middle = float(np.median(differences))
    return Worse(seen=middle, at_most=None, at_least=None), not_worse, worse


def _differences(new: list[float], old: list[float]) -> Floats:
    with np.errstate(invalid="ignore"):
        found = np.subtract.outer(np.array(new, dtype=np.float64), np.array(old, dtype=np.float64)).ravel()
    return np.nan_to_num(found, nan=0.0, posinf=np.inf, neginf=-np.inf)  # never against never is no difference


def rank_sum_p(low: list[float], high: list[float]) -> float:
    """Mann-Whitney: how probable it is that `low` lies as low against `high`, or lower, by chance alone.

    Exact over all arrangements, ties included, where there are not too many of them; else the normal approximation.
    """
    if not low or not high:
        return 1.0
    from scipy.stats import mannwhitneyu, rankdata

    values = np.array([*low, *high], dtype=np.float64)
    if math.comb(len(values), len(low)) > EXACT_ARRANGEMENTS:
        finite = np.nan_to_num(values, posinf=1e300, neginf=-1e300)
        found = mannwhitneyu(finite[: len(low)], finite[len(low) :], alternative="less", method="asymptotic")
        return float(found.pvalue)
    ranks = rankdata(values)
    seen = float(ranks[: len(low)].sum())
    sums = np.array([sum(chosen) for chosen in combinations(ranks.tolist(), len(low))])
    return float((sums <= seen + 1e-9).mean())


def smallest_p(new: int, old: int) -> float:
    """The smallest p-value that so many runs can reach; above 5 % nothing can be said, whatever they show."""
    return 1.0 / math.comb(new + old, new) if new and old else 1.0


def quantile_ratio(
    new: list[Floats], old: list[Floats], share: float, *, rounds: int = 500, seed: int = 7
) -> Worse | None:
    """The ratio of a latency quantile, less 1: bootstrap over windows, because latencies within one hang together.

    `new` and `old` are windows of latencies. None: fewer than 10 windows on a side. Rounds and seed are fixed, so that
    the same runs give the same answer.
    """
    new, old = [one for one in new if len(one)], [one for one in old if len(one)]
    if min(len(new), len(old)) < 10:
        return None
    rng = np.random.default_rng(seed)
    seen = _quantile(new, share) / _quantile(old, share) - 1
    ratios = np.empty(rounds)
    for number in range(rounds):
        again_new = [new[at] for at in rng.integers(0, len(new), len(new))]
        again_old = [old[at] for at in rng.integers(0, len(old), len(old))]
        ratios[number] = _quantile(again_new, share) / _quantile(again_old, share) - 1
    low, high = np.quantile(ratios, [ALPHA, 1 - ALPHA])
    return Worse(seen=float(seen), at_most=float(high), at_least=float(low))


def _quantile(windows: list[Floats], share: float) -> float:
    values = np.concatenate(windows)
    rank = min(len(values) - 1, math.ceil(share * len(values)) - 1)
    return float(np.partition(values, rank)[rank])
