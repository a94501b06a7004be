"""How far another process' monotonic clock is ahead of ours, and how sure that is.

Monotonic clocks count from each machine's own boot. One question and its answer bound the difference by half of the
time that they took together, whatever the way there and the way back had of it; the quickest of many bounds it best.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

EXCHANGES = 24
EXCHANGE_EVERY_S = 0.02


class Exchange(NamedTuple):
    """One question and its answer."""

    asked_ns: int  # ours
    told_ns: int  # theirs
    heard_ns: int  # ours


@dataclass(frozen=True, slots=True, kw_only=True)
class Offset:
    """Their clock reads ours plus `ahead_ns`, to within `bound_ns`."""

    ahead_ns: int
    bound_ns: int


def estimate(exchanges: Sequence[Exchange], *, same: bool) -> Offset:
    """The quickest exchange tells. `same`: both say that they read one clock; taken for true where it can be."""
    asked, told, heard = min(exchanges, key=lambda each: each.heard_ns - each.asked_ns)
    ahead, bound = told - (asked + heard) // 2, (heard - asked + 1) // 2
    # Machines that were cloned while they ran say the same of themselves, and are hours apart.
    if same and abs(ahead) <= bound:
        return Offset(ahead_ns=0, bound_ns=0)
    return Offset(ahead_ns=ahead, bound_ns=bound)


def identity() -> str:
    """Two processes that read one monotonic clock say the same: this boot of this kernel, this time namespace."""
    return " ".join(
        [_read("/proc/sys/kernel/random/boot_id"), *_read("/proc/self/timens_offsets").replace("\n", " ").split()]
    )


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""
