"""A command of the team's runs beside us, and never outlives us: its whole process group ends when we do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.faults._strike import FaultContext, FaultError

END_WITHIN_S = 8.0  # the tether's own patience is 5 s


def run_command(
    context: FaultContext, command: Sequence[str], environment: Mapping[str, str], log: Path, deadline_ns: int
) -> int:
    """Its exit code; output goes to `log`. Raises FaultError when it cannot start or does not end, and Interrupted."""
    end = context.ends(deadline_ns)
    tether = Path(__file__).with_name("_tether.py")
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-I", str(tether), *command],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            start_new_session=True,
        )
    try:
        while process.poll() is None:
            if time.monotonic() > end:
                raise FaultError(f"{command[0]} did not end in time; it was ended", hint=f"see {log}")
            context.wait(0.05)
    finally:
        _end(process)
    if process.returncode == 127:
        raise FaultError(f"{command[0]} could not be started", hint=f"see {log}")
    return int(process.returncode)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Let go of the tether, which ends its group; make sure of it."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        process.wait(END_WITHIN_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
