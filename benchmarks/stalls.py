"""Tells when a core of this machine did not run, whoever wanted it: `python benchmarks/stalls.py CORE`.

The control of a measurement of lateness. A timer without any work, pinned to one core, with a real-time priority above
the load's: what the load does cannot hold it up, what holds it up held up the load. A **stall** is a wake-up more than
1 ms late: from when it was due to when it woke. It is due every 2 ms (1.8 % of a core; every 1 ms would be 3.5 %): a
stall of 3 ms or more is always seen, one between 1 and 3 ms sometimes, and what is not seen counts as the load's.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

EVERY_NS, LATE_NS = 2_000_000, 1_000_000
PRIORITY = 50  # the load has 1
READY = "ready"
_MCL_CURRENT, _MCL_FUTURE = 1, 2


def watch(core: int) -> None:
    """Says `ready`, then each stall as it ends, until it is ended; where it may not, it says why and returns."""
    gc.disable()
    try:
        os.sched_setaffinity(0, {core})
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
    except OSError as error:
        print(error, flush=True)
        return
    ctypes.CDLL(None).mlockall(_MCL_CURRENT | _MCL_FUTURE)
    print(READY, flush=True)
    # Not all cores at the same moment: a load that is moved aside by one must not meet the next.
    due = (time.monotonic_ns() // EVERY_NS + 1) * EVERY_NS + EVERY_NS * core // (os.cpu_count() or 1)
    while True:
        time.sleep(max(0, due - time.monotonic_ns()) / 1e9)  # clock_nanosleep
        woke = time.monotonic_ns()
        if woke - due > LATE_NS:
            print(due, woke, flush=True)
        due += max(1, -((due - woke) // EVERY_NS)) * EVERY_NS


@dataclass(slots=True)
class Control:
    """What one control for each core found; it is known once they have ended."""

    stalls: list[tuple[int, int]] | None = None  # (was due, woke), of all cores; None: it was not permitted


@contextlib.contextmanager
def watched() -> Iterator[Control]:
    """All cores are watched, each by a process of its own."""
    control = Control()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        cores = sorted(os.sched_getaffinity(0))
        said = [folder / f"{core}" for core in cores]
        watchers = []
        for core, path in zip(cores, said, strict=True):
            with path.open("w") as out:  # a file: a full pipe would hold it up
                watchers.append(subprocess.Popen([sys.executable, __file__, str(core)], stdout=out))
            stack.callback(watchers[-1].wait)
            stack.callback(watchers[-1].terminate)
        until = time.monotonic() + 30
        while not all(path.read_text().endswith("\n") for path in said):
            if time.monotonic() > until:
                raise SystemExit("the control does not start")
            time.sleep(0.01)
        yield control
        ended = [watcher.poll() is not None for watcher in watchers]
        for watcher in watchers:
            watcher.terminate()
            watcher.wait()
        lines = [path.read_text().splitlines() for path in said]
        if not any(ended) and all(first == READY for first, *_ in lines):
            control.stalls = [(int(due), int(woke)) for _, *rest in lines for due, woke in map(str.split, rest)]


def standing(
    stalls: list[tuple[int, int]], scheduled_ns: NDArray[np.int64], sent_ns: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Which requests the machine held up: [scheduled, sent] overlaps a stall. One never sent counts as due alone."""
    import numpy as np

    whole: list[list[int]] = []  # disjoint, in order
    for due, woke in sorted(stalls):
        if whole and due <= whole[-1][1]:
            whole[-1][1] = max(whole[-1][1], woke)
        else:
            whole.append([due, woke])
    if not whole:
        return np.zeros(len(scheduled_ns), dtype=np.bool_)
    begins, ends = np.array(whole).T
    last = np.where(np.isnan(sent_ns), scheduled_ns, sent_ns)
    before = np.searchsorted(begins, last, side="right") - 1  # the last stall that began by then
    found: NDArray[np.bool_] = (before >= 0) & (ends[before] >= scheduled_ns)
    return found


if __name__ == "__main__":
    watch(int(sys.argv[1]))
