"""What the baseline's count of failures says about the steady state: a bound, not a guess.

The one-sided 95 % Clopper-Pearson lower bound of availability, on the number of requests that independent failures
would have to come from: failures in bursts are fewer trials than requests (their design effect).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.history.columns import Ints, Mask
from harness.units import NS_PER_S

CONFIDENCE = 0.95
BLOCK_NS = 10 * NS_PER_S
FEWEST_BLOCKS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """`lower` is below the true availability of the steady state in 95 of 100 runs."""

    requests: int
    good: int
    design_effect: float
    lower: float


def clopper_pearson_lower(good: float, requests: float) -> float:
    """The one-sided lower bound of a share; counts may be fractions of requests after a design effect."""
    if good <= 0 or requests <= 0:
        return 0.0
    alpha = 1 - CONFIDENCE
    if good >= requests:
        return float(alpha ** (1 / requests))
    from harness.measure.special import betaincinv

    return float(betaincinv(good, requests - good + 1, alpha))


def design_effect(scheduled_ns: Ints, bad: Mask, begin_ns: int, end_ns: int) -> float:
    """How many requests count as one independent trial: variance of the bad per block over that of independent ones.

    Blocks are 10 s, shorter where fewer than ten would fit. 1.0 without bad requests: nothing shows a dependence.
    """
    count, failures = len(bad), int(np.count_nonzero(bad))
    if not failures or failures == count or end_ns <= begin_ns:
        return 1.0
    blocks = max(FEWEST_BLOCKS, (end_ns - begin_ns) // BLOCK_NS)
    edges = np.linspace(begin_ns, end_ns, blocks + 1)
    index = np.clip(np.searchsorted(edges, scheduled_ns, side="right") - 1, 0, blocks - 1)
    sizes = np.bincount(index, minlength=blocks)
    per_block = np.bincount(index[bad], minlength=blocks)
    share = failures / count
    # Against each block's own size: the arrivals' own randomness is no dependence of failures.
    spread = float(((per_block - sizes * share) ** 2).sum() / (blocks - 1))
    return max(1.0, spread / (count / blocks * share * (1 - share)))


def bound(scheduled_ns: Ints, bad: Mask, begin_ns: int, end_ns: int) -> Bound:
    """The bound of the steady state between two moments."""
    effect = design_effect(scheduled_ns, bad, begin_ns, end_ns)
    count, failures = len(bad), int(np.count_nonzero(bad))
    return Bound(
        requests=count,
        good=count - failures,
        design_effect=effect,
        lower=clopper_pearson_lower((count - failures) / effect, count / effect),
    )


def requests_needed(target: float, failures: int, effect: float) -> int:
    """Fewest requests, with this many failures among them, whose bound reaches the target."""
    low, high = 1, 1
    while clopper_pearson_lower((high - failures) / effect, high / effect) < target:
        low, high = high, high * 2
        if high > 2**50:
            raise ValueError("no number of requests reaches the target")
    while low + 1 < high:
        middle = (low + high) // 2
        if clopper_pearson_lower((middle - failures) / effect, middle / effect) < target:
            low = middle
        else:
            high = middle
    return high


def improbable_burst(bad_per_window: Ints, per_window: Ints, target: float) -> int | None:
    """The first window with more bad requests than the target's own share explains (less than one in a million)."""
    several = np.flatnonzero(bad_per_window >= 2)
    if not len(several):
        return None
    from harness.measure.special import bdtrc

    with np.errstate(all="ignore"):
        chance = bdtrc(bad_per_window[several] - 1.0, per_window[several], 1 - target)
    found = several[chance < 1e-6]
    return int(found[0]) if len(found) else None
