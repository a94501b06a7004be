"""Every request of a run as numpy columns, read from what the load workers wrote, as far as it can be read.

One row is one request, sorted by its scheduled time. Nothing here judges; what cannot be read is told as `Damage`.
"""

from __future__ import annotations

from collections.abc import Callable
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

    codes: NDArray[np.int32]
    names: list[str]

    def where(self, wanted: Callable[[str], bool]) -> Mask:
        """The rows whose text is wanted; null never is."""
        table = np.array([*(wanted(name) for name in self.names), False], dtype=np.bool_)
        return table[self.codes]  # code -1 takes the last

    def is_(self, *names: str) -> Mask:
        """The rows whose text is one of these."""
        return self.where(lambda name: name in names)

    def known(self) -> Mask:
        """The rows that have a text."""
        return self.codes >= 0

    def counts(self) -> dict[str, int]:
        """How often each text occurs, most frequent first, then by name; texts that don't occur are left out."""
        numbers = np.bincount(self.codes + 1, minlength=len(self.names) + 1)[1:]
        found: dict[str, int] = {}
        for name, number in zip(self.names, numbers.tolist(), strict=True):
            if number:
                found[name] = found.get(name, 0) + number
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))

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
    import pyarrow as pa

    batches: list[Any] = []
    damage: list[Damage] = []
    files = sorted(run_dir.glob("requests-*.arrows"))
    if not files:
        damage.append(Damage(where="requests-*.arrows", kind="missing", what="there is no file of requests"))
    for file in files:
        found, wrong = _read_file(file)
        batches += found
        damage += wrong
    table = pa.Table.from_batches(batches, schema=schema())
    return _columns(table), damage


def _read_file(file: Path) -> tuple[list[pa.RecordBatch], list[Damage]]:
    """The batches up to the first one that cannot be read."""
    import pyarrow as pa

    def wrong(kind: str, what: str) -> Damage:
        return Damage(where=file.name, kind=kind, what=what)

    batches: list[pa.RecordBatch] = []
    size = file.stat().st_size
    with pa.OSFile(str(file), "rb") as source:
        try:
            reader = pa.ipc.open_stream(source)
        except (pa.ArrowException, OSError) as error:
            return [], [wrong("unreadable", f"is no Arrow stream: {_first_line(error)}")]
        if (shape := _shape_error(reader.schema)) is not None:
            return [], [wrong("unreadable", shape)]
        while True:
            try:
                batch = reader.read_next_batch()
                # Without this an index beyond its dictionary reads foreign memory.
                batch.validate(full=True)
            except StopIteration:
                break
            except (pa.ArrowException, OSError) as error:
                return batches, [wrong("cut", f"ends in the middle of chunk {len(batches) + 1}: {_first_line(error)}")]
            batches.append(_in_shape(batch))
        if source.tell() < size:
            return batches, [wrong("unreadable", f"has {size - source.tell()} bytes after the end of its stream")]
    with file.open("rb") as raw:
        raw.seek(max(0, size - len(_END_OF_STREAM)))
        if raw.read() != _END_OF_STREAM:
            return batches, [wrong("cut", "was not closed: its writer died")]
    return batches, []


def _shape_error(found: pa.Schema) -> str | None:
    """What keeps the file from being read as requests of a format that is known here."""
    import pyarrow as pa

    version = (found.metadata or {}).get(b"bulletproof.format", b"").decode(errors="replace")
    if version != str(FORMAT):
        return f"has format {version or 'unknown'}; this Bulletproof reads format {FORMAT}"
    for field in schema():
        if field.name not in found.names:
            return f"has no column {field.name}"
        kind = found.field(field.name).type
        text = pa.types.is_dictionary(kind) and pa.types.is_string(kind.value_type)
        if pa.types.is_dictionary(field.type) != text or (not text and not pa.types.is_integer(kind)):
            return f"has column {field.name} as {kind} instead of {field.type}"
    return None


def _in_shape(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The known columns in their order; columns that a later format adds are left out."""
    import pyarrow as pa

    wanted = schema()
    if batch.schema.equals(wanted):
        return batch
    columns = [batch.column(field.name).cast(field.type) for field in wanted]
    return pa.RecordBatch.from_arrays(columns, schema=wanted)


def _columns(table: pa.Table) -> Requests:
    table = table.unify_dictionaries()
    scheduled = _numbers(table, "scheduled_ns", np.int64)
    arrival = _numbers(table, "arrival", np.int64)
    order = None
    if len(scheduled) and not (np.diff(scheduled) > 0).all():
        order = np.lexsort((arrival, scheduled))

    def number(name: str, kind: Any) -> Any:
        return _ordered(_numbers(table, name, kind), order)

    def text(name: str) -> Coded:
        codes, names = _texts(table, name)
        return Coded(_ordered(codes, order), names)

    return Requests(
        arrival=_ordered(arrival, order),
        scheduled_ns=_ordered(scheduled, order),
        sent_ns=number("sent_ns", np.int64),
        first_byte_ns=number("first_byte_ns", np.int64),
        end_ns=number("end_ns", np.int64),
        outcome=text("outcome"),
        error=text("error"),
        pod=text("pod"),
        version=text("version"),
        connection=text("connection"),
        protocol=text("protocol"),
        local_port=number("local_port", np.int32),
        attempts=number("attempts", np.int16),
        user=number("user", np.int32),
    )


def _ordered(values: NDArray[Any], order: NDArray[np.intp] | None) -> NDArray[Any]:
    ordered = values if order is None else values[order]
    ordered.flags.writeable = False
    return ordered


def _numbers(table: pa.Table, name: str, kind: Any) -> NDArray[Any]:
    column = table.column(name)
    if column.null_count:
        column = column.fill_null(-1)
    return np.array(column.to_numpy(), dtype=kind)


def _texts(table: pa.Table, name: str) -> tuple[NDArray[np.int32], list[str]]:
    """Codes with -1 for null, and the names; equal names have equal codes after this."""
    import pyarrow as pa

    column = table.column(name)
    if not column.num_chunks:
        return np.empty(0, dtype=np.int32), []
    indices = pa.chunked_array([chunk.indices for chunk in column.chunks], type=pa.int32())
    if indices.null_count:
        indices = indices.fill_null(-1)
    return np.array(indices.to_numpy(), dtype=np.int32), [str(text) for text in column.chunk(0).dictionary.to_pylist()]


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0] or type(error).__name__
