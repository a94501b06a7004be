"""What several workers say of themselves becomes what one load would say."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from loadtests.master import Member

_COUNTS = ("scheduled", "sent", "ok", "bad", "in_flight")


def merge_ready(members: Iterable[Member]) -> dict[str, Any]:
    """All users, and the worst scheduler that a worker got."""
    workers = [
        {"worker": member.number, "host": member.host, "pid": member.pid}
        | {name: member.states["ready"][name] for name in ("users", "scheduler")}
        for member in members
    ]
    schedulers = {worker["scheduler"] for worker in workers}
    return {
        "users": sum(worker["users"] for worker in workers),
        "scheduler": schedulers.pop() if len(schedulers) == 1 else "SCHED_OTHER",
        "workers": workers,
    }


def merge_live(lines: Sequence[dict[str, Any]], recent: dict[str, int]) -> dict[str, Any]:
    """The counts of all workers; `recent` is what ended since the last merged line, the lag the worst worker's."""
    counts = {name: sum(line[name] for line in lines) for name in _COUNTS}
    return {**counts, "recent": recent, "lag_p99_ns": max((line["lag_p99_ns"] for line in lines), default=0)}
