"""One measured figure and what it is held against, as a line of docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure; `limit` None: nothing is promised of it."""

    what: str
    seen: float
    limit: float | None
    unit: str
    at_least: bool = False

    @property
    def holds(self) -> bool:
        """Whether the aim is met."""
        if self.limit is None:
            return True
        return self.seen >= self.limit if self.at_least else self.seen < self.limit

    def row(self) -> str:
        """A line of the table."""
        sign = "at least" if self.at_least else "under"
        aim = f"{sign} {self.limit:g} {self.unit}".rstrip() if self.limit is not None else ""
        mark = "" if self.limit is None else "yes" if self.holds else "NO"
        digits = 0 if self.seen >= 1000 else 2
        return f"| {self.what} | {self.seen:,.{digits}f} {self.unit} | {aim} | {mark} |"


def print_table(figures: Iterable[Figure]) -> int:
    """Prints the table; 1 when an aim is missed."""
    all_hold = True
    print("| what | seen | aim | met |\n|---|---|---|---|")
    for figure in figures:
        print(figure.row(), flush=True)
        all_hold &= figure.holds
    return 0 if all_hold else 1
