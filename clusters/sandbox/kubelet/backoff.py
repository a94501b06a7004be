"""When a container that ended runs again: by its policy, and after a wait that doubles from 10 s to 5 minutes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


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

    def text(self) -> str:
        """The wait in force as messages have it: `10s`, `2m40s`."""
        minutes, seconds = divmod(int(self.wait_s), 60)
        return f"{minutes}m{seconds}s" if minutes else f"{seconds}s"


def restarts(policy: str, *, init: bool, sidecar: bool, code: int) -> bool:
    """Whether a container that ended with `code` runs again."""
    if sidecar:
        return True
    if init:
        return code != 0 and policy != "Never"
    return policy == "Always" or (policy == "OnFailure" and code != 0)


def describe(pod: Mapping[str, Any]) -> str:
    """A pod as kubelet messages name it: `name_namespace(uid)`."""
    meta = pod["metadata"]
    return f"{meta['name']}_{meta['namespace']}({meta['uid']})"
