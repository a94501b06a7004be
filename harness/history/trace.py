"""Recorded arrivals: a trace file, read whole, and replayed at any speed, again from its begin when it has ended.

Load and judge work from the same file and the same numbers: when arrival k of a run is due is known to the nanosecond.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

FORMS = (
    'a header "TIMESTAMP,ContextTokens,GeneratedTokens" or "seconds[,size]", or JSON lines with "seconds" and "size"'
)
_TIMESTAMP = re.compile(r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d(?:\.\d{1,9})?)(?:Z|[+-]00:?00)?")
_LONGEST_S = 366 * 86_400.0


class TraceError(Exception):
    """The trace cannot be replayed: the line, where there is one, and what is wrong with it."""

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(f"line {line}: {message}" if line else message)
        self.message = message
        self.line = line


@dataclass(frozen=True)
class Replay:
    """The endless arrivals of a trace: it begins again one mean gap after its last arrival."""

    times_ns: Ints  # as recorded, since the first arrival
    sizes: Ints | None
    speed: float

    @property
    def lap_ns(self) -> int:
        """From one begin of the trace to the next, as recorded."""
        last = int(self.times_ns[-1])
        return last + max(1, round(last / (len(self.times_ns) - 1)))

    @property
    def lasts_ns(self) -> int:
        """The same at this speed."""
        return round(self.lap_ns / self.speed)

    @property
    def rate_per_s(self) -> float:
        """The mean arrival rate."""
        return len(self.times_ns) / self.lap_ns * 1e9 * self.speed

    def offsets_ns(self, numbers: Ints) -> Ints:
        """When these arrivals of the load (0, 1, 2, ...) are due, after the schedule's zero."""
        laps, within = np.divmod(numbers, len(self.times_ns))
        recorded = laps * self.lap_ns + self.times_ns[within]
        due: Ints = np.rint(recorded / self.speed).astype(np.int64)
        return due

    def expected(self, since_ns: Ints | int) -> NDArray[np.float64]:
        """How many arrivals are due from zero on before each of these moments."""
        moments = np.asarray(since_ns, dtype=np.int64)
        laps = max(1, math.ceil((int(moments.max(initial=0)) + 1) * self.speed / self.lap_ns))
        due = self.offsets_ns(np.arange(laps * len(self.times_ns), dtype=np.int64))
        return np.searchsorted(due, moments, side="left").astype(np.float64)

    def most_within(self, window_ns: int) -> int:
        """The most arrivals that are due in any window of this length."""
        count = len(self.times_ns)
        laps = 1 + math.ceil(window_ns * self.speed / self.lap_ns)
        due = self.offsets_ns(np.arange((laps + 1) * count, dtype=np.int64))
        ends = np.searchsorted(due, due[:count] + window_ns, side="left")
        return int((ends - np.arange(count)).max())

    @cached_property
    def _smaller(self) -> Ints:
        """For each arrival of the trace, how many are smaller."""
        if self.sizes is None:
            raise ValueError("a trace without sizes has no ranks")
        return np.searchsorted(np.sort(self.sizes), self.sizes, side="left").astype(np.int64)

    def ranks(self, numbers: Ints, cases: int) -> Ints:
        """The size of these arrivals, as one of `cases` classes from small to large. Equal sizes have one class."""
        count = len(self.times_ns)
        return self._smaller[numbers % count] * cases // count


def replay(path: Path, speed: float) -> Replay:
    """The trace of a file at a speed. Raises TraceError."""
    try:
        return _read(path, path.stat().st_mtime_ns, speed)
    except OSError as error:
        raise TraceError(f"cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise TraceError("is not UTF-8 text.") from None


@lru_cache(maxsize=4)
def _read(path: Path, _changed_ns: int, speed: float) -> Replay:
    times: list[int] = []
    sizes: list[int] = []
    with path.open(encoding="utf-8-sig", newline="") as file:
        first = file.readline()
        file.seek(0)
        rows = _json_lines(file) if first.lstrip().startswith("{") else _csv(file)
        for line, time_ns, size in rows:
            if times and time_ns < times[-1]:
                raise TraceError("is earlier than the line before it. Expected arrivals in order of time.", line)
            if bool(times) and (size is None) == bool(sizes):
                raise TraceError("has a size where others have none, or none where others have one.", line)
            times.append(time_ns)
            if size is not None:
                sizes.append(size)
    if len(times) < 2 or times[-1] == times[0]:
        raise TraceError(f"holds {_count(times)}. Expected at least two arrivals, at different times.")
    moments = np.array(times, dtype=np.int64)
    return Replay(moments - moments[0], np.array(sizes, dtype=np.int64) if sizes else None, speed)


def _count(times: list[int]) -> str:
    return "no arrival" if not times else "1 arrival" if len(times) == 1 else f"{len(times)} arrivals at one time"


def _csv(file: Iterator[str]) -> Iterator[tuple[int, int, int | None]]:
    """(line, ns, size) of each row below the header."""
    reader = csv.reader(file, strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        columns = [name.lower() for name in header]
        if not any(columns):
            raise TraceError(f"is empty. Expected {FORMS}.", 1)
        if columns[0] == "timestamp" and columns[1:2] in ([], ["contexttokens"]):
            when = _timestamp_ns
        elif columns[0] == "seconds" and columns[1:] in ([], ["size"]):
            when = _seconds_ns
        else:
            raise TraceError(f'"{",".join(header)[:80]}" is no header of a trace. Expected {FORMS}.', 1)
        for row in reader:
            if not row or row == [""]:
                continue
            if len(row) != len(header):
                raise TraceError(f"has {len(row)} fields. Expected {len(header)}, as in the header.", reader.line_num)
            time_ns = when(row[0].strip(), reader.line_num)
            size = _size(row[1].strip(), reader.line_num) if len(row) > 1 else None
            yield reader.line_num, time_ns, size
    except csv.Error as error:
        raise TraceError(f"is not CSV: {error}.", reader.line_num) from None


def _json_lines(file: Iterator[str]) -> Iterator[tuple[int, int, int | None]]:
    for line, text in enumerate(file, start=1):
        if not text.strip():
            continue
        try:
            row = json.loads(text)
        except ValueError as error:
            raise TraceError(f"is not JSON: {error}.", line) from None
        if not isinstance(row, dict) or "seconds" not in row or row.keys() - {"seconds", "size"}:
            raise TraceError('Expected an object with "seconds" and perhaps "size".', line)
        size = row.get("size")
        yield line, _seconds_ns(row["seconds"], line), None if size is None else _size(size, line)


def _timestamp_ns(value: object, line: int) -> int:
    text = str(value)
    match = _TIMESTAMP.fullmatch(text)
    try:
        if match is not None:
            return int(np.datetime64(f"{match[1]}T{match[2]}", "ns").astype(np.int64))
    except ValueError:
        pass
    raise TraceError(f'"{text[:40]}" is no time. Expected one in UTC as 2023-11-16 18:17:03.9799600.', line)


def _seconds_ns(value: object, line: int) -> int:
    try:
        seconds = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else math.nan
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= _LONGEST_S:
        raise TraceError(f'"{str(value)[:40]}" is no time. Expected seconds, from 0 on, as 12.34.', line)
    return round(seconds * 1e9)


def _size(value: object, line: int) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**62:
        return value
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,18}", value):
        return int(value)
    raise TraceError(f'"{str(value)[:40]}" is no size. Expected a whole number, from 0 on.', line)
