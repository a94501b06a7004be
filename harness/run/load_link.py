"""What the harness asks of a load and hears of it, wherever the load is.

The protocol is JSON lines: `start_ns` and `stop_ns` go in; states, live counts, clocks and losses come out.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.errors import InvalidRun

DONE_MARGIN_S = 15.0
OnLine = Callable[[dict[str, Any]], None]


class LoadLink(ABC):
    """A load that is on its way or running. `on_line` is called with every line it says, from a thread of its own."""

    def __init__(self, config: dict[str, Any], run_dir: Path, on_line: OnLine, *, ready_s: float) -> None:
        self.config = config
        self.run_dir = run_dir
        self.lost = ""  # which worker, and how it is known
        self.latest: dict[str, Any] = {}  # live line
        self._on_line = on_line
        self._ready_s = ready_s
        self._changed = threading.Condition()
        self._states: dict[str, dict[str, Any]] = {}
        self._ended = False

    def wait_ready(self, interrupted: threading.Event) -> dict[str, Any]:
        """The ready line, once every user is connected. Raises InvalidRun when it does not come."""
        return self._wait_state("ready", self._ready_s, interrupted)

    def start(self, start_ns: int) -> None:
        """The schedule's zero: a moment in the near future."""
        self._say({"start_ns": start_ns})

    def foresee_stop(self, stop_ns: int) -> None:
        """No arrival at or after `stop_ns`, which lies ahead: time for every worker to hear of it."""
        self._say({"stop_ns": stop_ns})

    def stop(self, stop_ns: int) -> dict[str, Any]:
        """No arrival at or after `stop_ns`. Returns the done line, after the last request has ended and is on disk."""
        try:
            if not self._done:
                self._say({"stop_ns": stop_ns})
        except InvalidRun:
            # It may have ended as it was foreseen, in this moment.
            with self._changed:
                self._changed.wait_for(lambda: self._ended, timeout=5)
            if not self._done:
                raise
        limit_s = max(0.0, (stop_ns - time.monotonic_ns()) / 1e9) + self.config["timeout_ns"] / 1e9 + DONE_MARGIN_S
        return self._wait_state("done", limit_s, threading.Event())

    @property
    def alive(self) -> bool:
        """False once it has ended without having said that all is done."""
        return not self._ended or self._done

    @property
    def _done(self) -> bool:
        return "done" in self._states

    @abstractmethod
    def close(self) -> None:
        """The load has ended after this: by itself when it is told, else by force."""

    @abstractmethod
    def _say(self, message: dict[str, Any]) -> None:
        """The load has heard it. Raises InvalidRun when it has ended."""

    def _wait_state(self, state: str, limit_s: float, interrupted: threading.Event) -> dict[str, Any]:
        deadline = time.monotonic() + limit_s
        with self._changed:
            while state not in self._states:
                if "error" in self._states:
                    raise InvalidRun(
                        f"the load generator failed: {self._states['error'].get('detail')}", hint=self._log_hint()
                    )
                left = deadline - time.monotonic()
                if self._ended or left <= 0:
                    how = "ended" if self._ended else f"did not answer within {limit_s:.0f} s"
                    raise InvalidRun(f'the load generator {how} before it was "{state}"', hint=self._log_hint())
                if interrupted.is_set():
                    raise InvalidRun(f'stopped before the load generator was "{state}"')
                self._changed.wait(min(left, 0.1))
            return self._states[state]

    def _log_hint(self) -> str:
        return f"see {self.run_dir / 'load.log'}"

    def _hear(self, message: dict[str, Any]) -> None:
        """One line of the load."""
        with self._changed:
            if message.get("state") == "live":
                self.latest = message
            elif message.get("state") == "lost":
                self.lost = str(message.get("detail"))
            else:
                self._states[str(message.get("state"))] = message
            self._changed.notify_all()
        self._on_line(message)

    def _end(self) -> None:
        """Nothing more will come."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
