"""Runs a command, and ends it with all its children when whoever holds our standard input is gone, kill -9 included.

A program of its own, standard library only: `python -I _tether.py COMMAND ARGUMENT...`. Exits as the command does; 127
when it cannot be started.
"""

import os
import select
import signal
import subprocess
import sys
import time

PATIENCE_S = 5.0


def main() -> int:
    """Run `sys.argv[1:]` in our process group."""
    try:
        child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        return 127
    while child.poll() is None:
        readable, _, _ = select.select([0], [], [], 0.02)
        if readable and not os.read(0, 4096):
            end_group(child)
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


def end_group(child: "subprocess.Popen[bytes]") -> None:
    """Ask first, then end everything, ourselves too."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.killpg(0, signal.SIGTERM)
    deadline = time.monotonic() + PATIENCE_S
    while child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
