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

# The mark behind a line that an earlier writer left unfinished: with it, and only with it, a reader forgives the line.
CUT_LINE = "cut_line"


class Recorder:
    """Appends records to a run's folder; any thread may call `record`. Opening it again goes on where it ended."""

    def __init__(self, run_dir: Path) -> None:
        self._lock = threading.Lock()
        self._files = {name: _open(run_dir / name) for name in (ACTIONS, CLUSTER)}

    def record(self, rec: Record) -> None:
        """The record is with the operating system after this. Raises OSError, ValueError once closed."""
        line = to_line(rec)
        with self._lock:
            file = self._files[CLUSTER if isinstance(rec, Watched) else ACTIONS]
            _write_all(file, line)

    def close(self) -> None:
        """Everything is on the disk itself after this. Closing twice is fine."""
        with self._lock:
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


def _write_all(file: int, data: bytes) -> None:
    if file < 0:
        raise ValueError("the recorder is closed")
    written = os.write(file, data)
    while written < len(data):  # a full disk or a signal
        written += os.write(file, data[written:])
