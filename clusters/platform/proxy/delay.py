"""How long each chunk is held back: a latency, a seeded jitter around it, and never one chunk before another."""

from __future__ import annotations

import random
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """What is in force. Zero: nothing is held back."""

    latency_ns: int = 0
    jitter_ns: int = 0  # uniform, from latency - jitter to latency + jitter
    seed: int = 0

    def __post_init__(self) -> None:
        if self.latency_ns < 0 or self.jitter_ns < 0 or self.jitter_ns > self.latency_ns:
            raise ValueError("latency_ns and jitter_ns are at least 0, and jitter_ns is at most latency_ns")


@dataclass(slots=True)
class Switch:
    """The latency in force for every connection; changing it touches no connection."""

    latency: Latency = field(default_factory=Latency)
    changes: int = 0

    def turn(self, latency: Latency) -> None:
        """From the next chunk on this one is in force; chunks that are held back already keep their time."""
        self.latency = latency
        self.changes += 1


class Line:
    """One connection's chunks from client to upstream. Times are nanoseconds of the caller's clock."""

    def __init__(self, switch: Switch, number: int) -> None:
        self._switch = switch
        self._number = number
        self._seen = -1
        self._random = random.Random()
        self._last_ns = 0

    def release_ns(self, now_ns: int) -> int:
        """When a chunk that arrives now may go on: not before the one before it."""
        latency = self._switch.latency
        if self._seen != self._switch.changes:
            # One generator a connection: what a connection sees does not depend on the others' timing.
            self._random.seed(f"{latency.seed}:{self._number}")
            self._seen = self._switch.changes
        delay_ns = latency.latency_ns
        if latency.jitter_ns:
            delay_ns += self._random.randint(-latency.jitter_ns, latency.jitter_ns)
        self._last_ns = max(self._last_ns, now_ns + delay_ns)
        return self._last_ns
