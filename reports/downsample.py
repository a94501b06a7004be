"""A million requests become a few hundred kilobytes, and no bad request disappears.

- Bad requests (and those that the load generator spoiled): every one as a point, up to `MOST_BAD`; above that a grid
  over time and latency whose cells carry exact counts by outcome, so that the sum over each slice of time is still the
  number of bad requests in it.
- Good requests: every one up to `MOST_GOOD`; above that the same grid, and the fastest and the slowest of each slice of
  time as points, so that no single outlier is lost.

Times are seconds since the load began, by each request's schedule; latency is in milliseconds from the schedule, NaN
where no end was recorded (the request was never sent).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.experiment.model import Slo
from harness.history.columns import Mask, Requests
from harness.history.requests import NOT_SENT, OK

MOST_BAD = 20_000
MOST_GOOD = 12_000
SLICES = 2_000  # of time, for the fastest and slowest good request
GRID_TIMES = 600
GRID_LATENCIES = 120  # the row above them holds what never ended
SLOW = "slow"  # answered well, but later than an SLO allows
LOAD_LATE = "load_late"  # answered well, but sent so late that it says nothing about the platform
BLIND_NS = 50_000_000  # of lateness, as the judge has it; a test holds the two together

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Classified:
    """Each request's time, latency and class. Class 0 is good; the others follow in order of first appearance."""

    t_s: Floats
    end_s: Floats  # NaN: never ended
    latency_ms: Floats  # NaN: never ended
    answered_ms: Floats  # the same where the right answer came; NaN: a refusal is fast, and no answer
    codes: NDArray[np.int32]
    names: tuple[str, ...]
    counts: tuple[int, ...]  # of each class
    known: tuple[bool, ...]  # of each class; False: the load generator's own failure, neither good nor bad

    @property
    def bad_classes(self) -> list[int]:
        """The classes that are held against the platform."""
        return [code for code in range(1, len(self.names)) if self.known[code]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """A sparse grid: cell (time, latency) of class `code` holds `count` requests. Row `GRID_LATENCIES`: never ended."""

    time: NDArray[np.uint16]
    latency: NDArray[np.uint8]
    code: NDArray[np.uint8]
    count: NDArray[np.uint32]
    from_s: float
    to_s: float
    low_ms: float
    high_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What the latency plot draws: `points` are row numbers of the requests, `cells` stand for the others."""

    points: Ints
    cells: Cells | None
    bad_are_points: bool
    good_are_points: bool


def classify(requests: Requests, slos: Sequence[Slo], zero_ns: int) -> Classified:
    """As the judge has it (`harness.measure.goodness`): good by every SLO, bad by one, or the load's own failure."""
    ended = requests.end_ns >= 0
    right = requests.outcome.is_(OK)
    good, bad = _good_and_bad(requests, slos, right)
    classes = {OK: 0}
    codes = np.zeros(len(requests), dtype=np.int32)
    special = ((SLOW, right & bad), (LOAD_LATE, right & ~bad & ~good))
    for name, rows in special:
        if rows.any():
            codes[rows] = classes.setdefault(name, len(classes))
    # Numbered in order of first appearance, so that the same run always has the same colours.
    used, first = np.unique(np.where(right, -2, requests.outcome.codes), return_index=True)
    for _, code in sorted(zip(first.tolist(), used.tolist(), strict=True)):
        if code != -2:
            name = requests.outcome.names[code] if code >= 0 else "unknown"
            codes[~right & (requests.outcome.codes == code)] = classes.setdefault(name, len(classes))
    latency = np.where(ended, (requests.end_ns - requests.scheduled_ns) / 1e6, np.nan)
    return Classified(
        t_s=(requests.scheduled_ns - zero_ns) / 1e9,
        end_s=np.where(ended, (requests.end_ns - zero_ns) / 1e9, np.nan),
        latency_ms=latency,
        answered_ms=np.where(right, latency, np.nan),
        codes=codes,
        names=tuple(classes),
        counts=tuple(np.bincount(codes, minlength=len(classes)).tolist()),
        known=tuple(name not in (NOT_SENT, LOAD_LATE) for name in classes),
    )


def _good_and_bad(requests: Requests, slos: Sequence[Slo], right: Mask) -> tuple[Mask, Mask]:
    sent = requests.sent_ns >= 0
    blind = requests.sent_ns - requests.scheduled_ns > BLIND_NS
    good = right & sent & ~blind
    bad = ~right & ~requests.outcome.is_(NOT_SENT)
    for slo in slos:
        if slo.within_ns is not None:
            from_sent = requests.end_ns - requests.sent_ns <= slo.within_ns
            bad |= right & sent & ~from_sent
            good &= from_sent
            if slo.measured_from == "scheduled":
                good &= requests.end_ns - requests.scheduled_ns <= slo.within_ns
    return good, bad


def sample(data: Classified) -> Sample:
    """Choose what is drawn as points and what as cells."""
    good = data.codes == 0
    n_good = data.counts[0]
    n_bad = len(data.codes) - n_good
    bad_are_points, good_are_points = n_bad <= MOST_BAD, n_good <= MOST_GOOD
    chosen = []
    gridded = np.zeros(len(good), dtype=bool)
    if bad_are_points:
        chosen.append(np.flatnonzero(~good))
    else:
        gridded |= ~good
    if good_are_points:
        chosen.append(np.flatnonzero(good))
    else:
        gridded |= good
        chosen.append(_extremes(data.t_s, data.latency_ms, np.flatnonzero(good)))
    points = np.sort(np.concatenate(chosen)) if chosen else np.zeros(0, dtype=np.int64)
    return Sample(
        points=points,
        cells=_grid(data, gridded) if gridded.any() else None,
        bad_are_points=bad_are_points,
        good_are_points=good_are_points,
    )


def _extremes(t_s: Floats, latency_ms: Floats, rows: Ints) -> Ints:
    """Row numbers of the fastest and the slowest request of each slice of time."""
    times, latencies = t_s[rows], latency_ms[rows]
    width = max(float(times[-1] - times[0]), 1e-9) / SLICES
    slices = np.minimum(((times - times[0]) / width).astype(np.int64), SLICES - 1)
    order = np.lexsort((latencies, slices))
    starts = np.flatnonzero(np.diff(slices[order], prepend=-1))
    ends = np.append(starts[1:], len(order)) - 1
    return np.unique(rows[order[np.concatenate((starts, ends))]])


def _grid(data: Classified, rows: NDArray[np.bool_]) -> Cells:
    t, latency, codes = data.t_s[rows], data.latency_ms[rows], data.codes[rows]
    from_s, to_s = float(data.t_s.min()), float(data.t_s.max())
    ended = ~np.isnan(latency)
    positive = np.maximum(latency[ended], 1e-3)
    low, high = (float(positive.min()), float(positive.max())) if len(positive) else (1.0, 10.0)
    high = max(high, low * 1.001)
    column = np.minimum(((t - from_s) / max(to_s - from_s, 1e-9) * GRID_TIMES).astype(np.int64), GRID_TIMES - 1)
    row = np.full(len(t), GRID_LATENCIES, dtype=np.int64)
    height = np.log(high / low) / GRID_LATENCIES
    row[ended] = np.minimum((np.log(positive / low) / height).astype(np.int64), GRID_LATENCIES - 1)
    rows_per_class = GRID_LATENCIES + 1
    flat = (codes.astype(np.int64) * GRID_TIMES + column) * rows_per_class + row
    counts = np.bincount(flat, minlength=len(data.names) * GRID_TIMES * rows_per_class)
    filled = np.flatnonzero(counts)
    return Cells(
        time=(filled // rows_per_class % GRID_TIMES).astype(np.uint16),
        latency=(filled % rows_per_class).astype(np.uint8),
        code=(filled // (rows_per_class * GRID_TIMES)).astype(np.uint8),
        count=counts[filled].astype(np.uint32),
        from_s=from_s,
        to_s=to_s,
        low_ms=low,
        high_ms=high,
    )


def bin_edges(from_s: float, to_s: float, most: int = 600) -> Floats:
    """Edges of equal, round widths (1 s, 2 s, 5 s …) from a whole multiple below `from_s` to one above `to_s`."""
    width = 1.0
    for factor in (1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 86400):
        width = float(factor)
        if (to_s - from_s) / width <= most:
            break
    else:
        width = (to_s - from_s) / most
    first = np.floor(from_s / width)
    count = max(int(np.floor(to_s / width) - first) + 1, 1)
    edges: Floats = (first + np.arange(count + 1)) * width
    return edges


def count_by(t_s: Floats, codes: NDArray[np.int32], classes: int, edges: Floats) -> Ints:
    """Requests of each class in each bin, shape (classes, bins). NaN times and codes below 0 are left out."""
    bins = len(edges) - 1
    width = edges[1] - edges[0]
    usable = ~np.isnan(t_s) & (codes >= 0)
    position = np.clip(np.floor((t_s[usable] - edges[0]) / width), 0, bins - 1).astype(np.int64)
    flat = np.bincount(codes[usable].astype(np.int64) * bins + position, minlength=classes * bins)
    counts: Ints = flat.reshape(classes, bins).astype(np.int64)
    return counts


def quantiles_by_bin(t_s: Floats, latency_ms: Floats, edges: Floats, shares: Sequence[float]) -> Floats:
    """Latency quantiles of the answered requests in each bin, shape (shares, bins); NaN where a bin has none."""
    bins = len(edges) - 1
    answered = ~np.isnan(latency_ms)
    t, latency = t_s[answered], latency_ms[answered]
    position = np.clip(np.floor((t - edges[0]) / (edges[1] - edges[0])), 0, bins - 1).astype(np.int64)
    order = np.lexsort((latency, position))
    ordered = latency[order]
    sizes = np.bincount(position, minlength=bins)
    starts = np.concatenate(([0], np.cumsum(sizes)[:-1]))
    result = np.full((len(shares), bins), np.nan)
    filled = sizes > 0
    for row, share in enumerate(shares):
        rank = np.maximum(np.ceil(share * sizes).astype(np.int64) - 1, 0)
        result[row, filled] = ordered[(starts + rank)[filled]]
    return result


def ecdf(latency_ms: Floats, points: int = 400) -> tuple[Floats, Floats]:
    """Latency and the share of *all* requests answered within it, at most `points` steps, dense in the tail.

    NaN (no right answer) counts as slower than any: the curve then stays below 1.
    """
    ended = np.sort(latency_ms[~np.isnan(latency_ms)])
    n, total = len(ended), len(latency_ms)
    if n == 0:
        return np.zeros(0), np.zeros(0)
    if n <= points:
        rank = np.arange(n)
    else:
        body = np.linspace(0, n - 1, points // 2)
        tail = n - 1 - (np.geomspace(1, n, points // 2) - 1)  # ever closer towards the slowest
        rank = np.unique(np.concatenate((body, tail)).astype(np.int64))
    return ended[rank], (rank + 1) / total


def running_total(t_s: Floats, from_s: float, edges: Floats) -> Ints:
    """How many of `t_s` lie at or after `from_s` and before each edge but the first: shape (bins,)."""
    counted = np.sort(t_s[t_s >= from_s])
    total: Ints = np.searchsorted(counted, edges[1:], side="left").astype(np.int64)
    return total
