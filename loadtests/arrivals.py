"""When requests are due: a schedule made ahead from a seed, the same on every machine and for every worker.

The arrivals of the whole load are numbered from 0; worker w of n takes the numbers w, w+n, w+2n, ... of one and the
same sequence, so that the whole has the same arrivals however it is divided.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.history.trace import Replay

# Arrivals are drawn in blocks: 4096 take 0.1 ms, too short to make one late.
BLOCK = 4096


class Arrival(NamedTuple):
    """One request that is due."""

    number: int  # in the whole schedule
    offset_ns: int  # after the schedule's zero
    kept: bool  # on a kept connection, else on a new one
    case: int  # of the golden cases


class Clock:
    """When so many arrivals are due, at a rate that changes: the inverse of the integral of the rate.

    `points` are (ns since zero, arrivals per second), the first at 0, in order of time; the rate is straight between
    them and level after the last. Two points at one time are a jump.
    """

    def __init__(self, points: Sequence[tuple[int, float]]) -> None:
        self._at_s = np.array([at for at, _ in points], dtype=np.float64) / 1e9
        self._rates = np.array([rate for _, rate in points], dtype=np.float64)
        widths = np.diff(self._at_s)
        self._due = np.concatenate(([0.0], np.cumsum(widths * (self._rates[1:] + self._rates[:-1]) / 2)))
        slopes = np.divide(np.diff(self._rates), widths, out=np.zeros_like(widths), where=widths > 0)
        self._slopes = np.append(slopes, 0.0)

    def offsets_ns(self, due: NDArray[np.float64]) -> NDArray[np.int64]:
        """The moments by which `due` arrivals are expected."""
        piece = np.maximum(np.searchsorted(self._due, due, side="right") - 1, 0)
        more, rate = due - self._due[piece], self._rates[piece]
        # The root of slope/2 t^2 + rate t = more, in the form that stays exact for a slope near 0.
        into = 2 * more / (rate + np.sqrt(rate * rate + 2 * self._slopes[piece] * more))
        return np.rint((self._at_s[piece] + into) * 1e9).astype(np.int64)


def arrivals(
    *,
    kind: str,
    rate_per_s: float,
    seed: int,
    kept_share: float,
    cases: int,
    worker: int = 0,
    workers: int = 1,
    curve: Sequence[tuple[int, float]] | None = None,
    replay: Replay | None = None,
    by_size: Sequence[int] = (),
) -> Iterator[Arrival]:
    """The endless schedule of one worker, in order of time.

    `constant` has an arrival each 1/rate seconds from zero on; `poisson` has independent exponential gaps, the first
    before the first arrival. With a `curve` (as Clock has it) the same moments follow a rate that changes: `constant`
    has the times at which 0, 1, 2, ... arrivals are expected, `poisson` is the inhomogeneous process. When, on which
    connection, and with which golden case are drawn from three independent streams of the seed, so that changing one of
    them leaves the others as they were.

    `trace` has the moments of a `replay`; where that has sizes, they choose among the cases `by_size`, which are
    numbers of cases from the smallest on.
    """
    gaps, connections, choices = (np.random.default_rng(part) for part in np.random.SeedSequence(seed).spawn(3))
    clock = Clock(curve) if curve is not None else None
    elapsed = 0.0  # in mean gaps
    first = 0
    while True:
        if replay is not None:
            offsets = replay.offsets_ns(np.arange(first, first + BLOCK))
        elif kind == "poisson":
            moments = elapsed + np.cumsum(gaps.exponential(size=BLOCK))
            elapsed = float(moments[-1])
        else:
            moments = np.arange(first, first + BLOCK, dtype=np.float64)
        if replay is not None:
            pass
        elif clock is not None:
            offsets = clock.offsets_ns(moments)
        else:
            offsets = np.rint(moments * (1e9 / rate_per_s)).astype(np.int64)
        kept = connections.random(BLOCK) < kept_share
        case = choices.integers(0, cases, BLOCK)
        if replay is not None and replay.sizes is not None:
            case = np.array(by_size)[replay.ranks(np.arange(first, first + BLOCK), cases)]
        skip = (worker - first) % workers
        mine = slice(skip, None, workers)
        numbers = range(first + skip, first + BLOCK, workers)
        columns = (offsets[mine].tolist(), kept[mine].tolist(), case[mine].tolist())
        yield from map(Arrival._make, zip(numbers, *columns, strict=True))
        first += BLOCK
