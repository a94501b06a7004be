"""A load process that waits for its configuration: it starts while the platform does, not after it."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path
from typing import IO

from harness.experiment.model import Extension


def start_load(arguments: list[str], log: IO[bytes]) -> subprocess.Popen[bytes]:
    """`python -m loadtests ARGUMENTS`, with pipes to speak through.

    A session of its own: Ctrl-C in a terminal goes to the whole process group, and the load must outlive the interrupt
    until the undo is done.
    """
    return subprocess.Popen(
        [sys.executable, "-m", "loadtests", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        start_new_session=True,
    )


class Standby:
    """Imports what the load's client takes, which is most of its start; then it is taken, or closed."""

    def __init__(self, spec: Extension, run_dir: Path) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        load = spec.load
        # A load inside the cluster starts there; a master's time goes into the start of its workers.
        if load.place != "inside" and load.workers == 1 and load.join is None:
            with (run_dir / "load.log").open("ab") as log:
                self._process = start_load(["--standby", spec.workload.protocol, load.user], log)

    def take(self, config: Path) -> subprocess.Popen[bytes] | None:
        """The process, which reads `config` now. None where there is none, or it has ended: start another."""
        process, self._process = self._process, None
        if process is None or process.stdin is None:
            return None
        try:
            process.stdin.write(f"{config}\n".encode())
            process.stdin.flush()
        except BrokenPipeError:
            _end(process)
            return None
        return process

    def close(self) -> None:
        """The process has ended, unless it was taken."""
        process, self._process = self._process, None
        if process is not None:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """It holds nothing yet that it would have to give back."""
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
