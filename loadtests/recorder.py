"""Every request ends as one row of requests-<worker>.arrows, at most 100 ms after it ended.

The file is an Arrow IPC stream (harness.history.requests has the columns). Rows are packed as they come, collected for
at most FLUSH_EVERY_S, and written as one record batch by one write(2): a killed process leaves all batches but perhaps
the last, and the page cache survives it. There is no fsync: it would hold up the load by milliseconds, and a machine
that loses power takes the run with it anyway.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from harness.history import requests

FLUSH_EVERY_S = 0.1

# Signatures of errors come from servers; a server that invents a new one for every request must not fill the memory.
_NAMES_LIMIT = 1000
_MORE = "(more kinds than are told apart)"
_NULL = -1  # of a packed row; no time, port or code is negative


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


def file_of(folder: Path, worker: int) -> Path:
    """Where the requests of a worker are."""
    return folder / f"requests-{worker}.arrows"


def open_file(path: Path) -> int:
    """A descriptor that appends to a file that was not there."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o644)


class _Names(dict[str | None, int]):
    """The codes of one text column. It only grows, so that a name keeps its code for the whole file."""

    def __init__(self) -> None:
        super().__init__({None: _NULL})
        self._array = pa.array([], pa.string())

    def __missing__(self, name: str) -> int:
        if len(self) > _NAMES_LIMIT:
            return self.setdefault(_MORE, len(self) - 1)
        return self.setdefault(name, len(self) - 1)

    def array(self) -> Any:
        """The names in the order of their codes."""
        if len(self._array) != len(self) - 1:
            self._array = pa.array(list(self)[1:], pa.string())
        return self._array


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


_LETTERS = {8: "q", 4: "i", 2: "h"}  # of struct, by size


def _is_text(field: pa.Field) -> bool:
    return bool(pa.types.is_dictionary(field.type))


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
        packed = [field for field in self._schema if field.name != "tries"]
        kinds = [np.dtype("i4" if _is_text(field) else field.type.to_pandas_dtype()) for field in packed]
        self._layout = np.dtype([(field.name, kind) for field, kind in zip(packed, kinds, strict=True)])
        self._pack = struct.Struct("=" + "".join(_LETTERS[kind.itemsize] for kind in kinds)).pack
        self._names = {field.name: _Names() for field in packed if _is_text(field)}
        self._texts = tuple(self._names.values())
        self._packed = bytearray()
        self._tries: list[Sequence[tuple[Any, ...]] | None] = []
        self.written = 0  # rows in the file
        self._write_batch()  # makes the writer write the schema: the file is readable from now on

    def add(self, row: Row) -> None:
        """The row is in the file after the next flush."""
        (
            arrival, scheduled_ns, sent_ns, first_byte_ns, end_ns, outcome, error, pod, version, connection, local_port,
            attempts, user, protocol, tries,
        ) = row  # fmt: skip
        outcomes, errors, pods, versions, connections, protocols = self._texts
        self._packed += self._pack(
            arrival,
            scheduled_ns,
            _NULL if sent_ns is None else sent_ns,
            _NULL if first_byte_ns is None else first_byte_ns,
            _NULL if end_ns is None else end_ns,
            outcomes[outcome],
            errors[error],
            pods[pod],
            versions[version],
            connections[connection],
            _NULL if local_port is None else local_port,
            attempts,
            user,
            protocols[protocol],
        )
        self._tries.append(tries)

    def flush(self) -> None:
        """All rows so far are in the file (0.2 ms, however many they are)."""
        if self._tries:
            count = len(self._tries)
            self._write_batch()
            self.written += count

    def close(self) -> None:
        """All rows and the stream's end mark are in the file."""
        self.flush()
        self._writer.close()
        self._write()
        if self._fd >= 0:
            os.close(self._fd)

    def _write_batch(self) -> None:
        rows = np.frombuffer(self._packed, dtype=self._layout)
        tries, self._packed, self._tries = self._tries, bytearray(), []
        arrays = [
            self._attempts(tries, field.type)
            if field.name == "tries"
            else self._array(field, np.ascontiguousarray(rows[field.name]))
            for field in self._schema
        ]
        self._writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=self._schema))
        self._write()

    def _array(self, field: pa.Field, values: NDArray[Any]) -> Any:
        null = values == _NULL if field.nullable else None
        if field.name.endswith("_ns") and self.shift_ns:
            values = values + self.shift_ns
        array = pa.array(values, mask=null)
        if field.name in self._names:
            return pa.DictionaryArray.from_arrays(array, self._names[field.name].array())
        return array

    def _attempts(self, tries: list[Sequence[tuple[Any, ...]] | None], kind: pa.DataType) -> Any:
        if not any(tries):
            return pa.nulls(len(tries), kind)
        by = self.shift_ns
        moved = [one and [(sent + by, end + by, *rest) for sent, end, *rest in one] for one in tries]
        return pa.array(moved, kind)

    def _write(self) -> None:
        data = memoryview(self._chunk.take())
        while data:
            data = data[self._write_some(self._fd, data) :]
