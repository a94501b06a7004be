"""The load generator as a process of this machine: start it, tell it when to begin and end, hear how it goes.

It speaks on stdin and stdout. Closing its standard input ends it, so that a harness that was killed never leaves load
behind. Where several workers offer the load, the process is their master, and speaks for all of them.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.errors import InvalidRun
from harness.run.load_link import LoadLink, OnLine
from harness.run.load_standby import Standby, start_load

READY_LIMIT_S = 30.0
READY_LIMIT_WORKER_S = 5.0  # more for each worker: they start side by side, on as many cores as there are
JOIN_LIMIT_S = 180.0  # for workers that people or other machines start


class LoadProcess(LoadLink):
    """A running load generator."""

    def __init__(
        self,
        config: dict[str, Any],
        run_dir: Path,
        on_line: OnLine,
        join: str | None = None,
        standby: Standby | None = None,
    ) -> None:
        ready_s = READY_LIMIT_S + READY_LIMIT_WORKER_S * config["workers"] + (JOIN_LIMIT_S if join is not None else 0)
        super().__init__(config, run_dir, on_line, ready_s=ready_s)
        path = run_dir / "load.json"
        path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        self._log = (run_dir / "load.log").open("ab")
        options = ["--master"] if config["workers"] > 1 else []
        if join is not None:
            options = ["--master", "--listen", join, "--join-within", str(JOIN_LIMIT_S)]
        waiting = standby.take(path) if standby is not None else None
        self._process = waiting or start_load([*options, str(path)], self._log)
        (run_dir / "load.pid").write_text(f"{self._process.pid}\n", encoding="utf-8")
        self._reader = threading.Thread(target=self._read, name="load-reader", daemon=True)
        self._reader.start()

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
                self._hear(message)
        finally:
            self._end()
