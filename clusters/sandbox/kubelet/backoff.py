"""How long a container that keeps ending has to wait: not at first, then 10 s, doubled up to 5 minutes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Backoff:
    """The waits of one container. Times are seconds of any one clock.

    The first end costs no wait. The memory is lost when a container ends more than twice the longest wait after the
    last wait began.
    """

    initial_s: float = 10.0
    longest_s: float = 300.0
    wait_s: float = 0.0  # the wait in force; 0: none yet
    _since: float = 0.0

    def left(self, ended_at: float, now: float) -> float:
        """Seconds that a container which ended at `ended_at` still has to wait."""
        if not self.wait_s or self._expired(ended_at):
            return 0.0
        return max(ended_at + self.wait_s - now, 0.0)

    def next(self, ended_at: float, now: float) -> None:
        """Notes a restart: the next wait is longer."""
        if not self.wait_s or self._expired(ended_at):
            self.wait_s = self.initial_s
        else:
            self.wait_s = min(self.wait_s * 2, self.longest_s)
        self._since = now

    def _expired(self, at: float) -> bool:
        return at - self._since > 2 * self.longest_s
