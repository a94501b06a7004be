"""What the load has done so far, in numbers that are ready at any moment and take no memory."""

from __future__ import annotations

from collections import deque
from typing import Any

_LAGS = 1000


class Counts:
    """Counts since the start, and since the last look."""

    def __init__(self) -> None:
        self.sent = 0
        self.ok = 0
        self.bad = 0  # not_sent among them
        self.ended = 0  # of those sent
        self._seen_ok = 0
        self._seen_bad = 0
        self._lags: deque[int] = deque(maxlen=_LAGS)

    def begin(self, lag_ns: int) -> None:
        """A request goes out, so much after its schedule."""
        self.sent += 1
        self._lags.append(lag_ns)

    def end(self, *, ok: bool, sent: bool) -> None:
        """A record is made."""
        self.ended += sent
        if ok:
            self.ok += 1
        else:
            self.bad += 1

    @property
    def in_flight(self) -> int:
        """Sent and not ended."""
        return self.sent - self.ended

    @property
    def records(self) -> int:
        """Made so far."""
        return self.ok + self.bad

    def look(self) -> dict[str, Any]:
        """The counts of a live line; `recent` ended since the last look, the lag is of the last 1000 requests."""
        recent = {"ok": self.ok - self._seen_ok, "bad": self.bad - self._seen_bad}
        self._seen_ok, self._seen_bad = self.ok, self.bad
        lags = sorted(self._lags)
        return {
            "sent": self.sent,
            "ok": self.ok,
            "bad": self.bad,
            "in_flight": self.in_flight,
            "recent": recent,
            "lag_p99_ns": lags[len(lags) * 99 // 100] if lags else 0,
        }
