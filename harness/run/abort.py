"""The abort condition, evaluated live on the counts that the load generator sends."""

from __future__ import annotations

from collections import deque
from typing import Any

from harness.errors import Interrupted
from harness.experiment.model import AbortWhen


class AbortWatch:
    """Says when availability has been below the share for the whole hold time.

    Availability here is that of the requests that ended within the last second, so that one bad request among many good
    ones neither starts nor stops the clock. Requests still in flight are not counted, unless nothing ended at all while
    requests are in flight: then service is down.
    """

    def __init__(self, condition: AbortWhen) -> None:
        self._condition = condition
        self._recent: deque[tuple[int, int, int]] = deque()  # (t_ns, ok, bad)
        self._below_since_ns: int | None = None

    def feed(self, live: dict[str, Any]) -> bool:
        """Take one live line; True when the run must be aborted."""
        t_ns = int(live["t_ns"])
        recent = live.get("recent", {})
        self._recent.append((t_ns, int(recent.get("ok", 0)), int(recent.get("bad", 0))))
        while self._recent and self._recent[0][0] < t_ns - 1_000_000_000:
            self._recent.popleft()
        ok = sum(entry[1] for entry in self._recent)
        bad = sum(entry[2] for entry in self._recent)
        ended = ok + bad
        below = ok / ended < self._condition.share if ended else int(live.get("in_flight", 0)) > 0
        if not below:
            self._below_since_ns = None
            return False
        if self._below_since_ns is None:
            self._below_since_ns = t_ns
        return t_ns - self._below_since_ns >= self._condition.hold_ns


class AbortConditionMet(Interrupted):
    """Availability was below the abort condition for its whole hold time."""
