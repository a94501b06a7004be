"""Every request of a run as numpy columns: one row is one request, sorted by its scheduled time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]
Codes = NDArray[np.int8] | NDArray[np.int16] | NDArray[np.int32]

# Comparing codes is ten times as fast as looking each up; of texts that are asked for there are mostly one or two.
_FEW = 4
# What is worked out of so many rows stays in the processor's cache. Of ten million rows a single column of 8 bytes is
# 80 MB, and memory that is written for the first time costs more than all arithmetic (seen: up to 2 s for a GB).
BLOCK_ROWS = 1 << 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """Something that a history should have and has not."""

    where: str  # the file's name in the run folder
    kind: str  # missing | cut | unreadable | arrivals
    what: str  # for people

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


@dataclass(frozen=True, slots=True)
class Coded:
    """A text column: `names[codes[i]]` is row i's text; code -1 is null."""

    codes: Codes
    names: list[str]

    def __getitem__(self, rows: slice | Mask | NDArray[np.intp]) -> Coded:
        """These rows alone."""
        return Coded(self.codes[rows], self.names)

    def where(self, wanted: Callable[[str], bool]) -> Mask:
        """The rows whose text is wanted; null never is."""
        rows = [wanted(name) for name in self.names]
        if sum(rows) <= _FEW:
            found: Mask = np.zeros(len(self.codes), dtype=np.bool_)
            for code in np.flatnonzero(rows):
                found |= self.codes == code
            return found
        return np.array([*rows, False], dtype=np.bool_)[self.codes]  # code -1 takes the last

    def is_(self, *names: str) -> Mask:
        """The rows whose text is one of these."""
        return self.where(lambda name: name in names)

    def known(self) -> Mask:
        """The rows that have a text."""
        return self.codes >= 0

    def counts(self) -> dict[str, int]:
        """How often each text occurs, most frequent first, then by name; texts that don't occur are left out."""
        numbers = np.zeros(len(self.names), dtype=np.int64)
        block = max(BLOCK_ROWS, len(self.names))
        for begin in range(0, len(self.codes), block):
            codes = self.codes[begin : begin + block].astype(np.int64)
            numbers += np.bincount(codes + 1, minlength=len(numbers) + 1)[1:]
        found: dict[str, int] = {}
        for name, number in zip(self.names, numbers.tolist(), strict=True):
            if number:
                found[name] = found.get(name, 0) + number
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))

    def among(self, rows: Mask) -> set[str]:
        """The texts of these rows."""
        return {self.names[code] for code in np.unique(self.codes[rows]).tolist() if code >= 0}

    def at(self, row: int) -> str | None:
        """One row's text."""
        code = int(self.codes[row])
        return self.names[code] if code >= 0 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Requests:
    """The requests of a run, sorted by scheduled_ns. Times are monotonic ns, -1 where there is none."""

    arrival: Ints
    scheduled_ns: Ints
    sent_ns: Ints
    first_byte_ns: Ints
    end_ns: Ints
    outcome: Coded
    error: Coded
    pod: Coded
    version: Coded
    connection: Coded
    protocol: Coded
    local_port: NDArray[np.int32]
    attempts: NDArray[np.int16]
    user: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.arrival)

    def blocks(self) -> Iterator[tuple[slice, Requests]]:
        """All rows, some at a time: which they are, and they alone."""
        for begin in range(0, len(self), BLOCK_ROWS):
            rows = slice(begin, begin + BLOCK_ROWS)
            yield rows, Requests(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})


def of(values: Ints, rows: Mask) -> Ints:
    """The values of these rows; the array itself where that is all of them, as it mostly is."""
    return values if rows.all() else values[rows]
