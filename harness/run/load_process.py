"""The load generator as a process of its own: start it, tell it when to begin and end, hear how it goes.

Also where several workers offer the load: then the process is their master, and speaks for all of them.

The protocol is JSON lines: `start_ns` and `stop_ns` go in, states and live counts come out. Closing its standard input
ends it, so that a harness that was killed never leaves load behind.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from harness.errors import InvalidRun

READY_LIMIT_S = 30.0
READY_LIMIT_WORKER_S = 5.0  # more for each worker: they start side by side, on as many cores as there are
JOIN_LIMIT_S = 180.0  # for workers that people or other machines start
DONE_MARGIN_S = 15.0


class LoadProcess:
    """A running load generator. `on_line` is called with every line it says, from a thread of its own."""

    def __init__(
        self,
        config: dict[str, Any],
        run_dir: Path,
        on_line: Callable[[dict[str, Any]], None],
        join: str | None = None,
    ) -> None:
        self._config = config
        self._join = join
        self._run_dir = run_dir
        self._on_line = on_line
        self._changed = threading.Condition()
        self._states: dict[str, dict[str, Any]] = {}
        self._ended = False
        self.lost = ""  # which worker, and how it is known
        self.latest: dict[str, Any] = {}
        path = run_dir / "load.json"
        path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        self._log = (run_dir / "load.log").open("ab")
        # A session of its own: Ctrl-C in a terminal goes to the whole process group, and the load must outlive the
        # interrupt until the undo is done.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "loadtests", *self._options(), str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, name="load-reader", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Of the load generator."""
        return self._process.pid

    def wait_ready(self, interrupted: threading.Event) -> dict[str, Any]:
        """The ready line, once every user is connected. Raises InvalidRun when it does not come."""
        limit_s = READY_LIMIT_S + READY_LIMIT_WORKER_S * self._config["workers"]
        return self._wait_state("ready", limit_s + (JOIN_LIMIT_S if self._join else 0.0), interrupted)

    def start(self, start_ns: int) -> None:
        """The schedule's zero: a moment in the near future."""
        self._say({"start_ns": start_ns})

    def stop(self, stop_ns: int) -> dict[str, Any]:
        """No arrival at or after `stop_ns`. Returns the done line, after the last request has ended and is on disk."""
        self._say({"stop_ns": stop_ns})
        limit_s = max(0.0, (stop_ns - time.monotonic_ns()) / 1e9) + self._config["timeout_ns"] / 1e9 + DONE_MARGIN_S
        return self._wait_state("done", limit_s, threading.Event())

    @property
    def alive(self) -> bool:
        """False once its output has ended, for whatever reason."""
        return not self._ended

    def close(self) -> None:
        """It has ended after this: by itself when its input closes, else by a signal."""
        stdin = self._process.stdin
        if stdin is not None and not stdin.closed:
            with contextlib.suppress(BrokenPipeError):
                stdin.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(timeout=5)
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._log.close()

    def _say(self, message: dict[str, Any]) -> None:
        stdin = self._process.stdin
        if stdin is None or not self.alive:
            raise InvalidRun("the load generator has ended", hint=self._log_hint())
        try:
            stdin.write(json.dumps(message).encode() + b"\n")
            stdin.flush()
        except (BrokenPipeError, ValueError) as error:
            raise InvalidRun("the load generator has ended", hint=self._log_hint()) from error

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

    def _options(self) -> list[str]:
        if self._join is not None:
            return ["--master", "--listen", self._join, "--join-within", str(JOIN_LIMIT_S)]
        return ["--master"] if self._config["workers"] > 1 else []

    def _log_hint(self) -> str:
        return f"see {self._run_dir / 'load.log'}"

    def _lines(self) -> Iterator[dict[str, Any]]:
        stdout = self._process.stdout
        if stdout is None:
            return
        for line in stdout:
            with contextlib.suppress(json.JSONDecodeError):  # a line that a killed process cut off
                message = json.loads(line)
                if isinstance(message, dict):
                    yield message

    def _read(self) -> None:
        try:
            for message in self._lines():
                with self._changed:
                    if message.get("state") == "live":
                        self.latest = message
                    elif message.get("state") == "lost":
                        self.lost = str(message.get("detail"))
                    else:
                        self._states[str(message.get("state"))] = message
                    self._changed.notify_all()
                self._on_line(message)
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()
