"""What the harness did and saw is on disk, line by line, before the next thing happens.

One line is one `write` to a file opened for appending: a killed harness loses at most the line it was about to write,
and a reader never sees half of one, but for a machine that lost its power or a full disk. Nothing is ever rewritten.
"""

from __future__ import annotations

import json
import os
import threading
import time
from dataclasses import fields
from pathlib import Path
from types import TracebackType
from typing import Any

from harness.history.records import TYPE_NAMES, Note, Record, Watched

ACTIONS = "actions.jsonl"
CLUSTER = "cluster.jsonl"

# The facts of the last line that a recorder writes: how many lines cluster.jsonl has. Without it a tail may be missing.
CLOSED_WITH = "cluster_lines"
# The mark behind a line that an earlier writer left unfinished: with it, and only with it, a reader forgives the line.
CUT_LINE = "cut_line"


class Recorder:
    """Appends records to a run's folder; any thread may call `record`. Opening it again goes on where it ended."""

    def __init__(self, run_dir: Path) -> None:
        self._lock = threading.Lock()
        self._files = {name: _open(run_dir / name) for name in (ACTIONS, CLUSTER)}
        self._cluster_lines = _lines(run_dir / CLUSTER)
        self._last_ns = time.monotonic_ns()

    def record(self, rec: Record) -> None:
        """The record is with the operating system after this. Raises OSError, ValueError once closed."""
        line = to_line(rec)
        with self._lock:
            if isinstance(rec, Watched):
                _write_all(self._files[CLUSTER], line)
                self._cluster_lines += 1
            else:
                _write_all(self._files[ACTIONS], line)
                self._last_ns = rec.t_ns

    def close(self) -> None:
        """The history says that it is whole, and is on the disk itself, after this. Closing twice is fine."""
        with self._lock:
            if self._files[ACTIONS] >= 0:
                facts = {CLOSED_WITH: self._cluster_lines}
                note = Note(t_ns=self._last_ns, text="the history was closed", facts=facts)
                _write_all(self._files[ACTIONS], to_line(note))
            for file in self._files.values():
                if file >= 0:
                    os.fsync(file)
                    os.close(file)
            self._files = dict.fromkeys(self._files, -1)

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def to_line(rec: Record) -> bytes:
    """One record as one line of JSON, `type` and `t_ns` first."""
    body: dict[str, Any] = {"type": TYPE_NAMES[type(rec)], "t_ns": rec.t_ns}
    body.update((field.name, getattr(rec, field.name)) for field in fields(rec))
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False, default=str).encode() + b"\n"


def _open(path: Path) -> int:
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    size = os.fstat(file).st_size
    if size and os.pread(file, 1, size - 1) != b"\n":
        note = Note(
            t_ns=time.monotonic_ns(),
            text=f"the line before this one in {path.name} was cut off when its writer died",
            level="warning",
            facts={CUT_LINE: True},
        )
        _write_all(file, b"\n" + to_line(note))
    return file


def _lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b""))


def _write_all(file: int, data: bytes) -> None:
    if file < 0:
        raise ValueError("the recorder is closed")
    written = os.write(file, data)
    while written < len(data):  # a full disk or a signal
        written += os.write(file, data[written:])
