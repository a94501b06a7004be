"""Ends every process of a sandbox once the sandbox itself is gone, however it went.

`python -m clusters.sandbox.watchdog ID` holds the read end of a pipe as its stdin; the sandbox holds the other
end. The pipe closes when the sandbox ends, also by SIGKILL.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

MARK = "BULLETPROOF_SANDBOX"


def members(sandbox_id: str) -> list[int]:
    """Every process that carries the sandbox's mark in its environment, this one excepted."""
    wanted, found = f"{MARK}={sandbox_id}".encode(), []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                environment = (folder / "environ").read_bytes()
            except OSError:  # somebody else's, or gone
                continue
            if wanted in environment.split(b"\0"):
                found.append(int(folder.name))
    return found


def sweep(sandbox_id: str, deadline_s: float = 5.0) -> bool:
    """Kills them all, those too that are born meanwhile; whether none is left."""
    end = time.monotonic() + deadline_s
    while left := members(sandbox_id):
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:  # it ended by itself
                continue
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while sys.stdin.buffer.read(1):
        pass
    sys.exit(0 if sweep(sys.argv[1]) else 1)
