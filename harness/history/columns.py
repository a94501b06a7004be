"""Every request of a run as numpy columns, read from what the load workers wrote, as far as it can be read.

One row is one request, sorted by its scheduled time. Nothing here judges; what cannot be read is told as `Damage`.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.history.requests import FORMAT, schema

if TYPE_CHECKING:
    import pyarrow as pa

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]

# Comparing codes is ten times as fast as looking each up; of texts that are asked for there are mostly one or two.
_FEW = 4
_END_OF_STREAM = b"\xff\xff\xff\xff\x00\x00\x00\x00"


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

    codes: NDArray[np.int16] | NDArray[np.int32]
    names: list[str]

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
        numbers = np.bincount(self.codes.astype(np.int64) + 1, minlength=len(self.names) + 1)[1:]
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


def read_requests(run_dir: Path) -> tuple[Requests, list[Damage]]:
    """All rows of all workers' files. Unreadable parts are left out and told; no file at all gives no rows."""
    damage: list[Damage] = []
    files = sorted(run_dir.glob("requests-*.arrows"))
    if not files:
        damage.append(Damage(where="requests-*.arrows", kind="missing", what="there is no file of requests"))
    columns = _Columns(sum(file.stat().st_size for file in files) // _BYTES_A_ROW)
    for file in files:
        damage += _read_file(file, columns)
    return columns.requests(), damage


class _Columns:
    """Fills numpy columns from chunks, a hundred thousand rows at a time.

    `rows` is about how many there will be. The kernel gives memory when it is written to: room for too many costs
    nothing, and joining pieces afterwards would cost as much as everything else.
    """

    PART_ROWS = 100_000

    def __init__(self, rows: int) -> None:
        self._schema = _wanted()
        self._batches: list[Any] = []
        self._waiting = 0
        self._filled = 0
        self._columns: dict[str, NDArray[Any]] = {
            name: np.empty(rows, dtype=_NUMBERS.get(name, np.int16)) for name in (*_NUMBERS, *_TEXTS)
        }
        self._names: dict[str, dict[str, int]] = {name: {} for name in _TEXTS}

    def add(self, batch: pa.RecordBatch) -> bool:
        """One chunk of the known columns; whether it and those before it are in the columns already."""
        self._batches.append(batch)
        self._waiting += batch.num_rows
        if self._waiting < self.PART_ROWS:
            return False
        self.convert()
        return True

    def convert(self) -> None:
        """The chunks so far are in the columns, and nothing refers to them any more."""
        import pyarrow as pa

        if self._waiting:
            table = pa.Table.from_batches(self._batches, schema=self._schema).unify_dictionaries()
            begin, self._filled = self._filled, self._filled + self._waiting

            def fill(name: str) -> None:
                column = table.column(name).combine_chunks()
                self._fill(name, begin, self._recode(name, column) if name in _TEXTS else _or_null(column))

            with ThreadPoolExecutor(_THREADS) as threads:  # Arrow and numpy copy without Python's lock
                list(threads.map(fill, self._columns))
        self._batches, self._waiting = [], 0

    def _fill(self, name: str, begin: int, values: NDArray[Any]) -> None:
        column = self._columns[name]
        kind = np.int32 if name in _TEXTS and len(self._names[name]) > np.iinfo(np.int16).max else column.dtype
        if self._filled > len(column) or kind != column.dtype:
            larger = np.empty(max(len(column), 2 * self._filled), dtype=kind)
            larger[:begin] = column[:begin]
            column = self._columns[name] = larger
        column[begin : self._filled] = values

    def _recode(self, name: str, column: pa.DictionaryArray) -> NDArray[Any]:
        """The column's codes among all names seen so far; equal names have equal codes."""
        known = self._names[name]
        here = [known.setdefault(str(text), len(known)) for text in column.dictionary.to_pylist()]
        codes = _or_null(column.indices)
        if here == list(range(len(here))):
            return codes
        # Code -1 takes the last.
        return np.take(np.array([*here, -1], dtype=np.int32), codes, mode="wrap")

    def requests(self) -> Requests:
        """Everything that was added, sorted. To be called once."""
        columns = {name: values[: self._filled] for name, values in self._columns.items()}
        scheduled = columns["scheduled_ns"]
        order = None
        if not (scheduled[1:] > scheduled[:-1]).all():
            order = np.lexsort((columns["arrival"], scheduled))
        fields: dict[str, Any] = {name: _ordered(values, order) for name, values in columns.items()}
        for name in _TEXTS:
            fields[name] = Coded(fields[name], list(self._names[name]))
        return Requests(**fields)


# Copying is bound by memory: more of them do not help.
_THREADS = 2
# A row of the file, at least, as the recorder writes it: five numbers of 8 bytes, two of 4, one of 2, six codes of 4.
_BYTES_A_ROW = 74

_NUMBERS: dict[str, Any] = {
    "arrival": np.int64,
    "scheduled_ns": np.int64,
    "sent_ns": np.int64,
    "first_byte_ns": np.int64,
    "end_ns": np.int64,
    "local_port": np.int32,
    "attempts": np.int16,
    "user": np.int32,
}
_TEXTS = ("outcome", "error", "pod", "version", "connection", "protocol")


def _wanted() -> pa.Schema:
    """The columns that are judged; what else there is (`tries`) is for people."""
    import pyarrow as pa

    return pa.schema([field for field in schema() if field.name in _NUMBERS or field.name in _TEXTS])


def _read_file(file: Path, columns: _Columns) -> list[Damage]:
    """Adds the chunks up to the first one that cannot be read."""

    def wrong(kind: str, what: str) -> list[Damage]:
        return [Damage(where=file.name, kind=kind, what=what)]

    size = file.stat().st_size
    if not size:
        return wrong("unreadable", "is empty")
    with file.open("rb") as raw:
        # Not closed by hand: Arrow's threads may let go of a buffer a moment late, and closing would raise BufferError.
        mapped = mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_READ)
    try:
        problem, end = _read_chunks(mapped, columns)
    finally:
        columns.convert()
    whole = mapped[-len(_END_OF_STREAM) :] == _END_OF_STREAM
    if problem is not None:
        return wrong(*problem)
    if end < size:
        return wrong("unreadable", f"has {size - end} bytes after the end of its stream")
    return [] if whole else wrong("cut", "was not closed: its writer died")


def _read_chunks(mapped: mmap.mmap, columns: _Columns) -> tuple[tuple[str, str] | None, int]:
    """What is wrong with the stream, and how far it was read."""
    import pyarrow as pa

    wanted = _wanted()
    source = pa.BufferReader(pa.py_buffer(mapped))
    try:
        reader = pa.ipc.open_stream(source)
        if (shape := _shape_error(reader.schema, wanted)) is not None:
            return ("unreadable", shape), 0
        known = [at for at, name in enumerate(reader.schema.names) if name in wanted.names]
        source.seek(0)  # what is not judged is not even decoded
        reader = pa.ipc.open_stream(source, options=pa.ipc.IpcReadOptions(included_fields=known))
    except (pa.ArrowException, OSError) as error:
        return ("unreadable", f"is no Arrow stream: {_first_line(error)}"), 0
    count = given_back = 0
    while True:
        try:
            batch = reader.read_next_batch()
            # Without the full look an index beyond its dictionary reads foreign memory.
            batch.validate(full=True)
        except StopIteration:
            return None, source.tell()
        except (pa.ArrowException, OSError) as error:
            return ("cut", f"ends in the middle of chunk {count + 1}: {_first_line(error)}"), source.tell()
        count += 1
        if columns.add(_in_shape(batch, wanted)):
            # What has been copied need not stay in memory: else the whole file would stand beside its columns.
            batch = None
            upto = source.tell() // mmap.PAGESIZE * mmap.PAGESIZE
            mapped.madvise(mmap.MADV_DONTNEED, given_back, upto - given_back)
            given_back = upto


def _shape_error(found: pa.Schema, wanted: pa.Schema) -> str | None:
    """What keeps the file from being read as requests of a format that is known here."""
    import pyarrow as pa

    version = (found.metadata or {}).get(b"bulletproof.format", b"").decode(errors="replace")
    if version != str(FORMAT):
        return f"has format {version or 'unknown'}; this Bulletproof reads format {FORMAT}"
    for field in wanted:
        if field.name not in found.names:
            return f"has no column {field.name}"
        kind = found.field(field.name).type
        text = pa.types.is_dictionary(kind) and pa.types.is_string(kind.value_type)
        if pa.types.is_dictionary(field.type) != text or (not text and not pa.types.is_integer(kind)):
            return f"has column {field.name} as {kind} instead of {field.type}"
    return None


def _in_shape(batch: pa.RecordBatch, wanted: pa.Schema) -> pa.RecordBatch:
    """The known columns in their order; columns that a later format adds are left out."""
    import pyarrow as pa

    if batch.schema.equals(wanted):
        return batch
    columns = [batch.column(field.name).cast(field.type) for field in wanted]
    return pa.RecordBatch.from_arrays(columns, schema=wanted)


def _ordered(values: NDArray[Any], order: NDArray[np.intp] | None) -> NDArray[Any]:
    ordered = values if order is None else values[order]
    ordered.flags.writeable = False
    return ordered


def _or_null(column: pa.Array) -> NDArray[Any]:
    """The column's numbers, -1 for null. Not fill_null: it imports pyarrow.compute."""
    kind = column.type.to_pandas_dtype()
    if column.null_count == len(column):
        return np.full(len(column), -1, dtype=kind)
    validity, values = column.buffers()
    rows = slice(column.offset, column.offset + len(column))
    numbers: NDArray[Any] = np.frombuffer(values, dtype=kind)[rows]
    if column.null_count:
        valid = np.unpackbits(np.frombuffer(validity, dtype=np.uint8), bitorder="little")[rows]
        numbers = np.where(valid.view(np.bool_), numbers, -1)
    return numbers


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0] or type(error).__name__
