"""Figures for the reports: latency, lag, windows, pods, versions, errors. Nothing here decides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from harness.history import requests as outcomes
from harness.history.columns import Codes, Ints, Mask, Requests, of
from harness.measure.windows import per_window
from harness.units import NS_PER_S

WINDOW_NS = NS_PER_S
TOP_ERRORS = 20
BURN_WINDOWS = {"5m": 300, "1h": 3600}  # s; those of the fast page of the SRE workbook


def quantiles(values: Ints, *shares: float) -> list[int]:
    """Order statistics: the smallest value with at least this share of the values at or below it.

    The values are moved about: a copy of millions of them would cost more than the search.
    """
    count = len(values)
    ranks = [min(count - 1, max(0, int(np.ceil(share * count)) - 1)) for share in shares]
    values.partition(sorted(set(ranks)))  # several ranks in one pass
    return [int(values[rank]) for rank in ranks]


def latencies(requests: Requests, parts: Mapping[str, Mask | slice], timeout_ns: int) -> dict[str, dict[str, Any]]:
    """Of each part, from schedule to the end of the answer. A failed request counts as at least the timeout: nobody was
    answered. Requests that were never sent are left out.
    """
    answers = (outcomes.OK, outcomes.WRONG_ANSWER)
    return {name: _summary(_took(requests, rows, timeout_ns, *answers)) for name, rows in parts.items()}


def _summary(took: Ints) -> dict[str, int | None]:
    if not len(took):
        return {"p50_ns": None, "p95_ns": None, "p99_ns": None, "max_ns": None, "n": 0}
    p50, p95, p99, most = quantiles(took, 0.5, 0.95, 0.99, 1.0)
    return {"p50_ns": p50, "p95_ns": p95, "p99_ns": p99, "max_ns": most, "n": len(took)}


def latency_quantile(requests: Requests, rows: Mask | slice, timeout_ns: int, share: float) -> int | None:
    """One quantile of the same, a wrong answer counting as none; None without a request that was sent."""
    took = _took(requests, rows, timeout_ns, outcomes.OK)
    return quantiles(took, share)[0] if len(took) else None


def _took(requests: Requests, rows: Mask | slice, timeout_ns: int, *answers: str) -> Ints:
    """Of those that were sent."""
    took = requests.end_ns[rows] - requests.scheduled_ns[rows]
    unanswered = np.flatnonzero(~requests.outcome[rows].is_(*answers))  # few, mostly
    took[unanswered] = np.maximum(took[unanswered], timeout_ns)
    return of(took, requests.sent_ns[rows] >= 0)


def lag(requests: Requests, limit_ns: int) -> dict[str, Any]:
    """How late requests were sent."""
    late = of(requests.sent_ns - requests.scheduled_ns, requests.sent_ns >= 0)
    if not len(late):
        return {"p50_ns": None, "p99_ns": None, "p999_ns": None, "max_ns": None, "on_time_share": None}
    p50, p99, p999, most = quantiles(late, 0.5, 0.99, 0.999, 1.0)
    on_time = int(np.count_nonzero(late <= limit_ns))
    return {
        "p50_ns": p50,
        "p99_ns": p99,
        "p999_ns": p999,
        "max_ns": most,
        "on_time_share": on_time / len(requests),  # what was never sent was not on time
    }


def windows(scheduled_ns: Ints, good: Mask, zero_ns: int, target: float) -> dict[str, Any]:
    """Uptime by window: in how many seconds with requests the share of good ones met the target."""
    if not len(scheduled_ns):
        return {"size_s": WINDOW_NS / NS_PER_S, "met": 0, "total": 0}
    begin_ns = int(scheduled_ns[0]) - (int(scheduled_ns[0]) - zero_ns) % WINDOW_NS
    total = per_window(scheduled_ns, begin_ns, WINDOW_NS, int(scheduled_ns[-1]))
    met = total - per_window(scheduled_ns[~good], begin_ns, WINDOW_NS, int(scheduled_ns[-1]))
    offered = total > 0
    return {
        "size_s": WINDOW_NS / NS_PER_S,
        "met": int((met[offered] >= target * total[offered]).sum()),
        "total": int(offered.sum()),
    }


def worst_lost_s(scheduled_ns: Ints, bad: Mask, rate_per_s: float, window_ns: int) -> float:
    """The most lost seconds in any window of this length."""
    times = scheduled_ns[bad]
    if not len(times):
        return 0.0
    upto = np.searchsorted(times, times + window_ns, side="left")
    return float((upto - np.arange(len(times))).max() / rate_per_s)


def burn_rates(scheduled_ns: Ints, bad: Mask, rate_per_s: float, target: float) -> dict[str, float]:
    """The worst burn rate in any window of each length: bad ratio / (1 - target), at the declared arrival rate."""
    return {
        name: worst_lost_s(scheduled_ns, bad, rate_per_s, seconds * NS_PER_S) / seconds / (1 - target)
        for name, seconds in BURN_WINDOWS.items()
    }


def throughput(requests: Requests, rows: slice, good: Mask, seconds: float) -> dict[str, float]:
    """Requests per second: scheduled, answered (rightly or not), and good by every SLO."""
    answered = requests.outcome[rows].is_(outcomes.OK, outcomes.WRONG_ANSWER)
    return {
        "offered_per_s": len(answered) / seconds,
        "answered_per_s": float(np.count_nonzero(answered)) / seconds,
        "good_per_s": float(np.count_nonzero(good[rows])) / seconds,
    }


def by_connection(requests: Requests, bad: Mask) -> dict[str, dict[str, int]]:
    """New and kept connections apart."""
    found = {}
    for kind in (outcomes.NEW, outcomes.KEPT):
        rows = requests.connection.is_(kind)
        found[kind] = {"scheduled": int(np.count_nonzero(rows)), "bad": int(np.count_nonzero(rows & bad))}
    return found


def several_attempts(requests: Requests, good: Mask) -> dict[str, int]:
    """Requests that were tried again or sent twice, and the good ones among them: what a client without that lost."""
    rows = requests.attempts > 1
    return {"requests": int(np.count_nonzero(rows)), "good": int(np.count_nonzero(rows & good))}


def versions(requests: Requests) -> list[dict[str, Any]]:
    """Which model versions answered, and when, in order of their first answer."""
    return sorted(_seen(requests, requests.version.codes, requests.version.names, "version"), key=_first)


def answers_by_pod(requests: Requests) -> dict[str, int]:
    """How many answers named each pod."""
    return requests.pod.counts()


def errors(requests: Requests) -> list[dict[str, Any]]:
    """The most frequent errors by outcome and signature."""
    failed = ~requests.outcome.is_(outcomes.OK)
    rows = np.flatnonzero(failed)
    if not len(rows):
        return []
    width = len(requests.error.names) + 1
    key = requests.outcome.codes[rows].astype(np.int64) * width + requests.error.codes[rows] + 1
    keys, first, counts = np.unique(key, return_index=True, return_counts=True)
    found: list[dict[str, Any]] = [
        {
            "outcome": requests.outcome.at(int(rows[at])),
            "error": requests.error.at(int(rows[at])),
            "count": int(count),
            "first_ns": int(requests.scheduled_ns[rows[at]]),
        }
        for _, at, count in zip(keys, first, counts, strict=True)
    ]
    found.sort(key=lambda one: (-int(one["count"]), int(one["first_ns"])))
    return found[:TOP_ERRORS]


def _seen(requests: Requests, codes: Codes, names: list[str], label: str) -> list[dict[str, Any]]:
    found = []
    for code, name in enumerate(names):
        rows = codes == code
        count = int(np.count_nonzero(rows))
        if count:
            times = requests.end_ns[rows]
            found.append({label: name, "answers": count, "first_ns": int(times.min()), "last_ns": int(times.max())})
    return found


def _first(one: dict[str, Any]) -> int:
    return int(one["first_ns"])
