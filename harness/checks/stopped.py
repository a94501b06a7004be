"""Did the run end by itself, or was it ended?"""

from __future__ import annotations

from collections.abc import Sequence

from harness.checks.answer import Answer, invalid, passed
from harness.history.records import Stop
from harness.verdict import VerdictName

_ENDINGS = {
    "interrupted": (VerdictName.ABORTED, "a person or the system stopped the run"),
    "abort-condition": (VerdictName.ABORTED, "the abort condition stopped the run"),
    "killed": (VerdictName.ABORTED, "the harness was killed"),
    "skipped": (VerdictName.SKIPPED, "the cluster lacks what the experiment requires"),
    "error": (VerdictName.INVALID, "the run ended with an error"),
    "invalid": (VerdictName.INVALID, "the run gave up"),
    "residue": (VerdictName.INVALID, "the run ended because something of the fault was left"),
}
# The one that says most, where there are several: an interrupt after an error does not heal the error.
_RANK = (VerdictName.ABORTED, VerdictName.INVALID, VerdictName.SKIPPED)


def stopped(stops: Sequence[Stop], *, ended: bool) -> Answer:
    """`ended`: the history reaches the end of the run."""
    if not stops:
        if ended:
            return passed("the run ended by itself")
        return invalid(
            "the history breaks off before the run's end: its harness was killed, or is still running",
            hint="bulletproof recover",
        )
    endings = [_ENDINGS.get(stop.reason, (VerdictName.INVALID, f"the run ended: {stop.reason}")) for stop in stops]
    worst = min(range(len(stops)), key=lambda number: (_RANK.index(endings[number][0]), number))
    verdict, told = endings[worst]
    stop = stops[worst]
    why = f"{told}: {stop.detail}" if stop.detail else told
    return Answer(verdict=verdict, seen=stop.reason, why=why, at_ns=stop.t_ns)
