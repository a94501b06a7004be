"""The workers as their master knows them, and what they say of themselves as one load would say it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

_COUNTS = ("scheduled", "sent", "ok", "bad", "in_flight")


@dataclass(slots=True, kw_only=True)
class Member:
    """A worker as the master knows it."""

    number: int
    name: str  # of Locust
    host: str
    pid: int
    file: int  # descriptor of its requests
    at: int = 0  # bytes in it
    heard_s: float = 0.0
    states: dict[str, dict[str, Any]] = field(default_factory=dict)  # the last line of each state
    lost: str = ""  # why

    @property
    def closed(self) -> bool:
        """Nothing more comes of it, and all that was to come is here."""
        return "closed" in self.states

    def __str__(self) -> str:
        return f"worker {self.number} (process {self.pid} on {self.host})"


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
