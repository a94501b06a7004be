"""Requests as columns, made in memory: for what is tested with a million of them, or with random ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.history.columns import Coded, Requests
from tests.course import MS, PODS, ZERO_NS, S


def make_requests(
    scheduled_s: Sequence[float] | np.ndarray,
    latency_ms: Sequence[float] | np.ndarray,
    outcomes: Sequence[str] | np.ndarray,
    lag_ms: Sequence[float] | np.ndarray | float = 0.0,
    error: str = "by hand",
) -> Requests:
    """Columns sorted by schedule; seconds from the load's start. `not_sent` has neither a sending nor an end."""
    order = np.argsort(np.asarray(scheduled_s, dtype=float), kind="stable")
    scheduled = ZERO_NS + (np.asarray(scheduled_s, dtype=float)[order] * S).astype(np.int64)
    count = len(scheduled)
    names, codes = np.unique(np.asarray(outcomes, dtype=object)[order].astype(str), return_inverse=True)
    codes = codes.astype(np.int32).reshape(-1)
    unsent = names[codes] == "not_sent" if count else np.zeros(0, dtype=bool)
    lag = np.broadcast_to(np.asarray(lag_ms, dtype=float), (count,))
    sent = scheduled + ((lag[order] if count else lag) * MS).astype(np.int64)
    end = sent + (np.asarray(latency_ms, dtype=float)[order] * MS).astype(np.int64)
    ok = names[codes] == "ok" if count else np.zeros(0, dtype=bool)
    zeros = np.zeros(count, dtype=np.int32)
    return Requests(
        arrival=np.arange(count, dtype=np.int64),
        scheduled_ns=scheduled,
        sent_ns=np.where(unsent, -1, sent),
        first_byte_ns=np.where(unsent, -1, end),
        end_ns=np.where(unsent, -1, end),
        outcome=Coded(codes, [str(name) for name in names]),
        error=Coded(np.where(ok, -1, 0).astype(np.int32), [error]),
        pod=Coded(np.where(ok, np.arange(count) % len(PODS), -1).astype(np.int32), list(PODS)),
        version=Coded(np.where(ok, 0, -1).astype(np.int32), ["1"]),
        connection=Coded((np.arange(count) % 2).astype(np.int32), ["new", "kept"]),
        protocol=Coded(zeros, ["kserve-v2-http"]),
        local_port=zeros + 40_000,
        attempts=np.ones(count, dtype=np.int16),
        user=zeros,
    )
