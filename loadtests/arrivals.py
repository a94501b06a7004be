"""When requests are due: a schedule made ahead from a seed, the same on every machine and for every worker.

The arrivals of the whole load are numbered from 0; worker w of n takes the numbers w, w+n, w+2n, ... of one and the
same sequence, so that the whole has the same arrivals however it is divided.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

# Arrivals are drawn in blocks: 4096 take 0.1 ms, too short to make one late.
BLOCK = 4096


class Arrival(NamedTuple):
    """One request that is due."""

    number: int  # in the whole schedule
    offset_ns: int  # after the schedule's zero
    kept: bool  # on a kept connection, else on a new one
    case: int  # of the golden cases


def arrivals(
    *, kind: str, rate_per_s: float, seed: int, kept_share: float, cases: int, worker: int = 0, workers: int = 1
) -> Iterator[Arrival]:
    """The endless schedule of one worker, in order of time.

    `constant` has an arrival each 1/rate seconds from zero on; `poisson` has independent exponential gaps, the first
    before the first arrival. When, on which connection, and with which golden case are drawn from three independent
    streams of the seed, so that changing one of them leaves the others as they were.
    """
    gaps, connections, choices = (np.random.default_rng(part) for part in np.random.SeedSequence(seed).spawn(3))
    elapsed = 0.0  # in mean gaps
    first = 0
    while True:
        if kind == "poisson":
            moments = elapsed + np.cumsum(gaps.exponential(size=BLOCK))
            elapsed = float(moments[-1])
        else:
            moments = np.arange(first, first + BLOCK, dtype=np.float64)
        offsets = np.rint(moments * (1e9 / rate_per_s)).astype(np.int64)
        kept = connections.random(BLOCK) < kept_share
        case = choices.integers(0, cases, BLOCK)
        skip = (worker - first) % workers
        mine = slice(skip, None, workers)
        numbers = range(first + skip, first + BLOCK, workers)
        yield from map(Arrival, numbers, offsets[mine].tolist(), kept[mine].tolist(), case[mine].tolist())
        first += BLOCK
