"""Was the load what it claims to be: offered at its rate, without holes, on time?

Lateness of the generator is never the platform's failure, and never hides one: the claims of the other checks count
late requests against themselves. Here is the bound beyond which nothing may be concluded at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.checks.answer import Answer, count, invalid, passed
from harness.experiment.shape import Curve
from harness.history.columns import BLOCK_ROWS, Ints, Mask, Requests
from harness.history.trace import Replay
from harness.units import NS_PER_S, format_duration, format_share

# Outside the baseline ten times as many requests may be late: pods that start share the machine with a sandbox's load.
ELSEWHERE_FACTOR = 10
# Requests that say nothing (never sent, or sent too late to tell), as a share of all.
UNKNOWN_SHARE = 0.001
# Six sigma of a Poisson count; a Poisson gap longer than this comes once in a million runs.
SIGMAS = 6.0
GAP_CHANCE = 1e-6


def load_delivered(
    requests: Requests,
    baseline: Mask,
    unknown: Mask,
    span: tuple[int, int] | None,
    *,
    offered: Curve | Replay,
    shape: str | None = None,
    arrivals: str,
    limit_ns: int,
    share: float,
) -> Answer:
    """`share` of the baseline's requests were sent within `limit_ns` of their schedule, and the rest nearly so.

    `span` is the [from, to) of the load; `offered` is what is expected from there on, `shape` the same in words.
    """
    if span is None or not len(requests):
        return invalid("no load was offered")
    if not baseline.any():
        return invalid("no request was offered in the baseline")
    if isinstance(offered, Curve):
        hole = _hole(requests, span, offered, shape, arrivals)
    else:
        hole = _off_trace(requests, span, offered)
    if hole is not None:
        return hole
    late, worst_lag_ns = _late(requests, limit_ns)
    rest = ~baseline
    on_time = 1 - _share(late, baseline)
    on_time_rest = 1 - _share(late, rest) if rest.any() else 1.0
    not_said = int(np.count_nonzero(unknown))
    figures: dict[str, Any] = {
        "on_time_share_baseline": on_time,
        "on_time_share_elsewhere": on_time_rest,
        "not_judged_requests": not_said,
        "not_sent_requests": int(np.count_nonzero(requests.sent_ns < 0)),
        "worst_lag_ns": worst_lag_ns,
    }
    within = format_duration(limit_ns)
    seen = (
        f"{format_share(on_time)} within {within} in the baseline, {format_share(on_time_rest)} after it; "
        f"worst {format_duration(figures['worst_lag_ns'])}, {count(figures['not_sent_requests'], 'request')} not sent"
    )
    hint = "give the load generator more CPU or real-time scheduling, lower load.rate, or raise load.lag_limit"
    if on_time < share:
        why = (
            f"{_of(late[baseline])} of the baseline were sent more than {within} after their schedule, "
            f"{format_share(share)} must be on time: what clients saw may be the load generator's own doing"
        )
        return invalid(why, seen=seen, hint=hint, at_ns=_first(requests, late & baseline), **figures)
    least = 1 - ELSEWHERE_FACTOR * (1 - share)
    if on_time_rest < least:
        why = (
            f"{_of(late[rest])} after the baseline were sent more than {within} after their schedule, "
            f"{format_share(least)} must be on time"
        )
        return invalid(why, seen=seen, hint=hint, at_ns=_first(requests, late & rest), **figures)
    allowed = max(1, int(UNKNOWN_SHARE * len(requests)))
    if not_said > allowed:
        why = (
            f"{count(not_said, 'request')} of {len(requests):,} were not sent, or so late that they say nothing; "
            f"at most {allowed:,} may be"
        )
        return invalid(why, seen=seen, hint=hint, at_ns=_first(requests, unknown), **figures)
    return passed(seen, **figures)


def _hole(requests: Requests, span: tuple[int, int], curve: Curve, shape: str | None, arrivals: str) -> Answer | None:
    """Too few or too many arrivals for the rate, or a time without any that the arrival process does not have.

    Time is counted in expected arrivals: there every schedule has gaps of 1 in the mean, however its rate changes.
    """
    begin, end = span
    seconds = (end - begin) / NS_PER_S
    expected = float(curve.expected(end - begin))
    rate = f"{curve.points[0][1]:g}/s" if shape is None else f"{curve.points[0][1]:g}/s with {shape}"
    offered = len(requests)
    spread = 2 + 0.001 * expected if arrivals == "constant" else 2 + SIGMAS * expected**0.5
    hint = "see load.log; the schedule itself has a hole, or records of it were lost"
    seen = f"{count(offered, 'arrival')} in {seconds:.1f} s at {rate}"
    if abs(offered - expected) > spread:
        why = f"{count(offered, 'request')} were scheduled in {seconds:.1f} s, {rate} are {expected:,.0f}"
        return invalid(why, seen=seen, hint=hint)
    widest = 2.5 if arrivals == "constant" else float(np.log(max(expected, 1.0) / GAP_CHANCE))
    gap, off = _worst(requests.scheduled_ns, span, curve)
    if gap.size > widest + curve.peak_per_s / NS_PER_S:  # moments are whole nanoseconds
        why = f"no request was scheduled for {format_duration(gap.until_ns - gap.from_ns)}, at {rate}"
        return invalid(why, seen=seen, hint=hint, at_ns=gap.from_ns)
    # The counts of any stretch from the begin, not of the whole alone: another shape may have the same mean.
    if off.size > spread:
        lasted, due = format_duration(off.from_ns - begin), float(curve.expected(off.from_ns - begin))
        why = f"{off.number:,} requests were scheduled in the first {lasted}, {rate} are {due:,.0f}"
        return invalid(why, seen=seen, hint=hint, at_ns=off.from_ns)
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Worst:
    """Where something is worst: after so many arrivals, from the last of them until the next one."""

    size: float  # in arrivals
    number: int
    from_ns: int
    until_ns: int


def _worst(scheduled_ns: Ints, span: tuple[int, int], curve: Curve) -> tuple[_Worst, _Worst]:
    """The widest gap between arrivals, and where their number is farthest from what is expected by then."""
    begin, end = span
    gap = off = _Worst(size=-np.inf, number=0, from_ns=begin, until_ns=begin)
    for first in range(0, len(scheduled_ns) + 1, BLOCK_ROWS):
        edges = scheduled_ns[max(0, first - 1) : first + BLOCK_ROWS]
        if first == 0:
            edges = np.insert(edges, 0, begin)
        if first + BLOCK_ROWS > len(scheduled_ns):
            edges = np.append(edges, end)
        moments = curve.expected(edges - begin)
        gap = max(gap, _largest(np.diff(moments), edges, first), key=lambda one: one.size)
        moments[:-1] -= np.arange(first, first + len(edges) - 1)
        off = max(off, _largest(np.abs(moments[:-1]), edges, first), key=lambda one: one.size)
    return gap, off


def _largest(sizes: NDArray[np.float64], edges: Ints, first: int) -> _Worst:
    at = int(sizes.argmax())
    return _Worst(size=float(sizes[at]), number=first + at, from_ns=int(edges[at]), until_ns=int(edges[at + 1]))


def _late(requests: Requests, limit_ns: int) -> tuple[Mask, int]:
    """Which were not sent in time or not at all, and the worst lag of those that were sent."""
    late, worst = np.empty(len(requests), dtype=np.bool_), 0
    for rows, block in requests.blocks():
        unsent = block.sent_ns < 0
        lag_ns = block.sent_ns - block.scheduled_ns
        late[rows] = unsent | (lag_ns > limit_ns)
        worst = max(worst, int(lag_ns[~unsent].max(initial=0)))
    return late, worst


def _share(rows: Mask, among: Mask) -> float:
    return int(np.count_nonzero(rows & among)) / int(np.count_nonzero(among))


def _off_trace(requests: Requests, span: tuple[int, int], replay: Replay) -> Answer | None:
    """An arrival that is not where the trace has it: every moment is known."""
    begin, end = span
    due, seconds = int(replay.expected(end - begin)), (end - begin) / NS_PER_S
    seen = f"{count(len(requests), 'arrival')} in {seconds:.1f} s of a trace"
    hint = "see load.log; records were lost, or the trace in the run's folder is not the one that was replayed"
    if len(requests) != due:
        why = f"{count(len(requests), 'request')} were scheduled in {seconds:.1f} s, the trace has {due:,} there"
        return invalid(why, seen=seen, hint=hint)
    off = np.abs(requests.scheduled_ns - begin - replay.offsets_ns(np.arange(due, dtype=np.int64)))
    worst = int(off.argmax())
    if off[worst]:
        why = f"request {worst:,} was scheduled {format_duration(int(off[worst]))} from where the trace has it"
        return invalid(why, seen=seen, hint=hint, at_ns=int(requests.scheduled_ns[worst]))
    return None


def _of(rows: Mask) -> str:
    """A share near the needed one would be rounded to it."""
    return f"{int(rows.sum()):,} of {len(rows):,} requests"


def _first(requests: Requests, rows: Mask) -> int | None:
    return int(requests.scheduled_ns[int(rows.argmax())]) if rows.any() else None
