"""Bad requests that are no more than what the baseline had all along: they begin no outage and end no recovery.

A bad request is noise when both hold:

- around it, near and far (three scales up to the hold time), there are no more bad ones than the baseline's share of
  bad requests explains (a chance of at least 1 in 1000 for as many neighbours, less where many bad requests are to be
  expected), so it is part of no burst;
- all such requests together are no more frequent than in the baseline (the two counts compared as binomial, at 5 %).

A baseline without a bad request allows none, and what comes within the hold time after a strike is never noise.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from harness.history.columns import Ints, Mask

SCALES = (1, 10, 100)  # parts of the hold time
BURST_CHANCE = 1e-3
RUN_CHANCE = 0.05
MORE_CHANCE = 0.05


def find_noise(
    scheduled_ns: Ints,
    bad: Mask,
    known: Mask,
    struck_ns: list[int],
    *,
    hold_ns: int,
    baseline_requests: int,
    baseline_bad: int,
) -> Mask:
    """The rows that are noise. `struck_ns`: when faults struck; rows before the first one are never looked at."""
    noise = np.zeros(len(scheduled_ns), dtype=np.bool_)
    if not baseline_bad or not baseline_requests or not struck_ns:
        return noise
    eligible = known & (scheduled_ns >= min(struck_ns))
    for struck in struck_ns:
        eligible &= (scheduled_ns < struck) | (scheduled_ns >= struck + hold_ns)
    rows = np.flatnonzero(bad & eligible)
    if not len(rows):
        return noise
    share = baseline_bad / baseline_requests
    # Where many are to be expected some stand close together by chance: one run in twenty may meet such a one.
    expected = share * int(eligible.sum())
    chance = min(BURST_CHANCE, RUN_CHANCE / (len(SCALES) * expected))
    explained = np.ones(len(rows), dtype=np.bool_)
    for part in SCALES:
        explained &= _chance(scheduled_ns, bad & known, known, rows, hold_ns // (2 * part), share) >= chance
    rows = rows[explained]
    if len(rows) and _no_more(len(rows), int(eligible.sum()), baseline_bad, baseline_requests):
        noise[rows] = True
    return noise


def _chance(scheduled_ns: Ints, bad: Mask, known: Mask, rows: Ints, half_ns: int, share: float) -> NDArray[np.float64]:
    """How probable it is that the neighbours of each row hold as many bad ones, or more, at this share."""
    from harness.measure.special import gammainc

    moments = scheduled_ns[rows]
    bad_times, times = scheduled_ns[bad], scheduled_ns[known]
    others = _within(bad_times, moments, half_ns) - 1
    mean = share * _within(times, moments, half_ns)
    return np.where(others > 0, gammainc(np.maximum(others, 1), mean), 1.0)


def _within(times: Ints, moments: Ints, half_ns: int) -> Ints:
    upto = np.searchsorted(times, moments + half_ns, side="right")
    return (upto - np.searchsorted(times, moments - half_ns, side="left")).astype(np.int64)


def _no_more(found: int, requests: int, baseline_bad: int, baseline_requests: int) -> bool:
    """Not more frequent than in the baseline: P(at least `found` of all fall on this side) is no less than 5 %."""
    from harness.measure.special import bdtrc

    here = requests / (requests + baseline_requests)
    return float(bdtrc(found - 1, found + baseline_bad, here)) >= MORE_CHANCE
