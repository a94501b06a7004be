"""What the scripted server may do wrong, when, and to whom: the vocabulary of a course.

Moments are ns: after the schedule's zero in a plan, absolute CLOCK_MONOTONIC in the file that the server reads.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

# To the listening socket; nothing reaches the program while they last.
DEAD = "dead"  # listener closed, connections reset
GONE = "gone"  # listener closed, connections ended in order (FIN), as the kernel does for a process that exits
DEAF = "deaf"  # listener closed, connections go on: new ones are refused at 100 %
# To the whole process, as SIGSTOP and SIGCONT have it: the kernel goes on taking connections and bytes, nobody reads.
FREEZE = "freeze"
# To a request, by the clock at its arrival.
SWALLOW = "swallow"  # read, never answered
PAUSE = "pause"  # held, and answered when the act ends; the transport goes on
SLOW = "slow"  # answered `delay_ns` later
RESET = "reset"
CLOSE = "close"  # FIN instead of an answer
WRONG = "wrong"  # a number of the answer is another one
SHAPE = "shape"  # an output is missing
STATUS = "status"  # 503, UNAVAILABLE
MID_RESET = "mid-reset"  # half an answer, then RST
MID_CLOSE = "mid-close"  # half an answer, then FIN
DRIP = "drip"  # the answer comes byte by byte, and never ends
# To what comes from a source port that was harmed, afterwards.
IGNORE = "ignore"
# To nobody: a server may end an idle connection in order at any time.
IDLE_CLOSE = "idle-close"

LISTENER = (DEAD, GONE, DEAF)
REQUEST = (SWALLOW, PAUSE, SLOW, RESET, CLOSE, WRONG, SHAPE, STATUS, MID_RESET, MID_CLOSE, DRIP)

ALL = "all"
NEW = "new"  # the first request of a connection
KEPT = "kept"  # the later ones
GRAY = "gray"  # requests on connections that the balancer gave to the first backend
# Their names are those of the pods in the histories that the courses become: an answer of a stranger proves nothing.
BACKENDS = ("detector-7d9f-aaaaa", "detector-7d9f-bbbbb", "detector-7d9f-ccccc")


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """One kind of misbehaviour over [begin_ns, end_ns)."""

    kind: str
    begin_ns: int
    end_ns: int
    whom: str = ALL
    every: int = 1  # of those whom it meets, only each n-th request that the server gets
    delay_ns: int = 0
    memory_ns: int = 0  # connections from a port that was harmed are ignored for so long after the end

    def meets(self, ordinal: int, backend: int, count: int) -> bool:
        """Whether a request would be harmed: its place on its connection, its backend, its number at the server."""
        if self.every > 1 and count % self.every:
            return False
        if self.whom == NEW:
            return ordinal == 0
        if self.whom == KEPT:
            return ordinal > 0
        return self.whom == ALL or backend == 0

    def moved(self, by_ns: int) -> Act:
        """The same, so much later."""
        return dataclasses.replace(self, begin_ns=self.begin_ns + by_ns, end_ns=self.end_ns + by_ns)


def write(path: Path, acts: list[Act]) -> None:
    """A file with absolute moments, complete when it is there."""
    text = json.dumps([dataclasses.asdict(act) for act in acts])
    beside = path.with_suffix(".part")
    beside.write_text(text, encoding="utf-8")
    beside.rename(path)


def read(path: Path) -> list[Act]:
    """The acts, in order of time. Raises ValueError when two overlap: the truth would not be known."""
    rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    acts = sorted((Act(**row) for row in rows), key=lambda act: act.begin_ns)
    for one, other in pairwise(acts):
        if one.end_ns > other.begin_ns:
            raise ValueError(f"{one} and {other} overlap")
    return acts
