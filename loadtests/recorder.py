"""Every request ends as one row of requests-<worker>.arrows, at most 100 ms after it ended.

The file is an Arrow IPC stream (harness.history.requests has the columns). Rows are collected for at most
FLUSH_EVERY_S and written as one record batch by one write(2): a killed process leaves all batches but perhaps the
last, and the page cache survives it. There is no fsync: it would hold up the load by milliseconds, and a machine that
loses power takes the run with it anyway.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from harness.history import requests

FLUSH_EVERY_S = 0.1

# Signatures of errors come from servers; a server that invents a new one for every request must not fill the memory.
_NAMES_LIMIT = 1000
_MORE = "(more kinds than are told apart)"


class Row(NamedTuple):
    """One request, in the order of the columns of harness.history.requests.schema()."""

    arrival: int
    scheduled_ns: int
    sent_ns: int | None
    first_byte_ns: int | None
    end_ns: int | None
    outcome: str
    error: str | None
    pod: str | None
    version: str | None
    connection: str
    local_port: int | None
    attempts: int
    user: int  # -1: no user took it
    protocol: str
    tries: Sequence[tuple[Any, ...]] | None = None


_TIMES = [name for name in Row._fields if name.endswith("_ns")]


def moved(row: Row, by_ns: int) -> Row:
    """The same request on a clock that is so far ahead."""
    held = {name: getattr(row, name) for name in _TIMES}
    times = {name: time + by_ns for name, time in held.items() if time is not None}
    tries = row.tries and [(sent + by_ns, end + by_ns, *rest) for sent, end, *rest in row.tries]
    return row._replace(**times, tries=tries)


def file_of(folder: Path, worker: int) -> Path:
    """Where the requests of a worker are."""
    return folder / f"requests-{worker}.arrows"


def open_file(path: Path) -> int:
    """A descriptor that appends to a file that was not there."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o644)


class _Names:
    """The dictionary of one text column. It only grows, so that a name keeps its code for the whole file."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}
        self._array = pa.array([], pa.string())

    def encode(self, values: tuple[str | None, ...]) -> Any:
        codes = self._codes
        for value in dict.fromkeys(values):
            if value is not None and value not in codes:
                self._learn(value)
        if len(self._array) != len(codes):
            self._array = pa.array(list(codes), pa.string())
        more = codes.get(_MORE)
        indices = [None if value is None else codes.get(value, more) for value in values]
        return pa.DictionaryArray.from_arrays(pa.array(indices, pa.int32()), self._array)

    def _learn(self, value: str) -> None:
        if len(self._codes) >= _NAMES_LIMIT:
            value = _MORE
        self._codes.setdefault(value, len(self._codes))


class _Chunk:
    """Collects what the Arrow writer writes in pieces, so that the file gets whole messages."""

    closed = False

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, data: Any) -> int:
        self._pieces.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing to do: `take` is what empties it."""

    def take(self) -> bytes:
        data = b"".join(self._pieces)
        self._pieces.clear()
        return data


class Recorder:
    """Appends rows to a file that is readable at any time. Raises OSError when the disk does not take them.

    write: as os.write; the load gives one that blocks the calling greenlet only. Without a path there is no file here,
    and `write` takes what would be in it elsewhere (its descriptor is -1).
    """

    def __init__(self, path: Path | None, write: Callable[[int, memoryview], int] = os.write) -> None:
        self._write_some = write
        self._fd = -1 if path is None else open_file(path)
        self.shift_ns = 0  # added to all times: the file's clock is the harness', which may be another machine's
        self._schema = requests.schema()
        self._chunk = _Chunk()
        self._writer = pa.ipc.new_stream(pa.PythonFile(self._chunk, mode="w"), self._schema)
        self._names = [_Names() if pa.types.is_dictionary(field.type) else None for field in self._schema]
        self._rows: list[Row] = []
        self.written = 0  # rows in the file
        self._write_batch(
            [()] * len(self._schema)
        )  # makes the writer write the schema: the file is readable from now on

    def add(self, row: Row) -> None:
        """The row is in the file after the next flush."""
        self._rows.append(row)

    def flush(self) -> None:
        """All rows so far are in the file (20 rows take about 0.3 ms)."""
        if not self._rows:
            return
        rows, self._rows = self._rows, []
        if self.shift_ns:
            rows = [moved(row, self.shift_ns) for row in rows]
        self._write_batch(list(zip(*rows, strict=True)))
        self.written += len(rows)

    def close(self) -> None:
        """All rows and the stream's end mark are in the file."""
        self.flush()
        self._writer.close()
        self._write()
        if self._fd >= 0:
            os.close(self._fd)

    def _write_batch(self, columns: list[tuple[Any, ...]]) -> None:
        arrays = [
            pa.array(values, field.type) if names is None else names.encode(values)
            for field, names, values in zip(self._schema, self._names, columns, strict=True)
        ]
        self._writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=self._schema))
        self._write()

    def _write(self) -> None:
        data = memoryview(self._chunk.take())
        while data:
            data = data[self._write_some(self._fd, data) :]
