"""What the load workers wrote becomes `Requests`, as far as it can be read.

Nothing here judges; what cannot be read is told as `Damage`.
"""

from __future__ import annotations

import mmap
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.history.columns import Coded, Damage, Requests
from harness.history.requests import FORMAT, schema

if TYPE_CHECKING:
    import pyarrow as pa

_END_OF_STREAM = b"\xff\xff\xff\xff\x00\x00\x00\x00"


def read_requests(run_dir: Path) -> tuple[Requests, list[Damage]]:
    """All rows of all workers' files. Unreadable parts are left out and told; no file at all gives no rows."""
    damage: list[Damage] = []
    files = sorted(run_dir.glob("requests-*.arrows"))
    if not files:
        damage.append(Damage(where="requests-*.arrows", kind="missing", what="there is no file of requests"))
    rows = sum(file.stat().st_size for file in files) // _BYTES_A_ROW
    with ThreadPoolExecutor(_THREADS) as threads:
        columns = _Columns(rows, threads)
        for file in files:
            damage += _read_file(file, columns)
    return columns.requests(), damage


class _Columns:
    """Fills numpy columns from chunks, a hundred thousand rows at a time, while the next ones are read.

    `rows` is about how many there will be. The kernel gives memory when it is written to: room for too many costs
    nothing, and joining pieces afterwards would cost as much as everything else.
    """

    PART_ROWS = 100_000

    def __init__(self, rows: int, threads: ThreadPoolExecutor) -> None:
        self._schema = _wanted()
        self._threads = threads  # Arrow and numpy copy without Python's lock
        self._batches: list[Any] = []
        self._waiting = 0
        self._copying: list[Future[None]] = []
        self._filled = 0
        self._columns: dict[str, NDArray[Any]] = {
            name: np.empty(rows, dtype=_NUMBERS.get(name, np.int8)) for name in (*_NUMBERS, *_TEXTS)
        }
        self._names: dict[str, dict[str, int]] = {name: {} for name in _TEXTS}

    def add(self, batch: pa.RecordBatch) -> bool:
        """One chunk of the known columns; whether all up to the last one that said so are in the columns by now."""
        self._batches.append(batch)
        self._waiting += batch.num_rows
        if self._waiting < self.PART_ROWS:
            return False
        self._convert()
        return True

    def settle(self) -> None:
        """The chunks so far are in the columns, and nothing refers to them any more."""
        self._convert()
        self._copied()

    def _convert(self) -> None:
        """The chunks so far are on their way into the columns, those before them are there."""
        import pyarrow as pa

        self._copied()
        if self._waiting:
            table = pa.Table.from_batches(self._batches, schema=self._schema).unify_dictionaries()
            begin, self._filled = self._filled, self._filled + self._waiting

            def fill(name: str) -> None:
                column = table.column(name).combine_chunks()
                self._fill(name, begin, self._recode(name, column) if name in _TEXTS else _or_null(column))

            self._copying = [self._threads.submit(fill, name) for name in self._columns]
        self._batches, self._waiting = [], 0

    def _copied(self) -> None:
        for one in self._copying:
            one.result()
        self._copying = []

    def _fill(self, name: str, begin: int, values: NDArray[Any]) -> None:
        column = self._columns[name]
        kind = _narrowest(len(self._names[name])) if name in _TEXTS else column.dtype
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


def _narrowest(names: int) -> np.dtype[Any]:
    """What codes of so many names fit into."""
    return np.dtype(next(kind for kind in (np.int8, np.int16, np.int32) if names <= np.iinfo(kind).max))


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
        columns.settle()
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
    count = given_back = copied = 0
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
            mapped.madvise(mmap.MADV_DONTNEED, given_back, copied - given_back)
            given_back, copied = copied, source.tell() // mmap.PAGESIZE * mmap.PAGESIZE


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
