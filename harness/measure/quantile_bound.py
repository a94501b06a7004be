"""How high a latency quantile may truly be, from order statistics alone (Conover): no distribution is assumed."""

from __future__ import annotations

import math

import numpy as np

from harness.history.columns import Ints

CONFIDENCE = 0.95


def requests_for_quantile(share: float) -> int:
    """Fewest values that bound this quantile from above: p99 299, p99.9 2995."""
    return math.ceil(math.log(1 - CONFIDENCE) / math.log(share))


def rank_of_bound(count: int, share: float) -> int | None:
    """The smallest rank (from 1) whose order statistic is above the quantile in 95 of 100 samples; None: too few."""
    from harness.measure.special import bdtr

    # P(Bin(count, share) <= rank - 1) >= 95 %
    low, high = 0, count - 1
    if count < 1 or float(bdtr(high, count, share)) < CONFIDENCE:
        return None
    while low < high:
        middle = (low + high) // 2
        if float(bdtr(middle, count, share)) >= CONFIDENCE:
            high = middle
        else:
            low = middle + 1
    return low + 1


def quantile_bound(values: Ints, share: float) -> int | None:
    """An upper bound of the quantile at 95 %; None where there are too few values."""
    rank = rank_of_bound(len(values), share)
    return None if rank is None else int(np.partition(values, rank - 1)[rank - 1])
