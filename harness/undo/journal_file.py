"""The journal in the run's folder: one JSON object a line, synced to disk before the act that it undoes.

Lines: {"type": "open", "holder": …}, {"type": "plan", "entry": …} (again when an entry is amended),
{"type": "verified", "entry_id": …}, {"type": "failed", "entry_id": …, "detail": …}, {"type": "close"}.
A line that a crash cut off was never acted on, so it is dropped.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.undo.entry import FORMAT

NAME = "journal.jsonl"


class JournalFile:
    """Appends lines; each is on the disk when `write` returns."""

    def __init__(self, run_dir: Path) -> None:
        self._path = run_dir / NAME
        fresh = not self._path.exists()
        self._file = self._path.open("ab")
        if fresh:
            _sync_folder(run_dir)
        else:
            self._end_cut_line()

    def write(self, kind: str, **values: Any) -> None:
        """Append and sync one line."""
        line = {"format": FORMAT, "type": kind, "t_ns": time.monotonic_ns(), "wall_ns": time.time_ns(), **values}
        self._file.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Nothing is written after this."""
        self._file.close()

    def _end_cut_line(self) -> None:
        """A line that a crash cut off must not swallow the next one."""
        with self._path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    self._file.write(b"\n")


@dataclass(slots=True)
class JournalRead:
    """What a journal file says."""

    run_id: str | None = None  # of its latest holder; None: nobody has opened it
    entries: dict[str, Mapping[str, Any]] = field(default_factory=dict)  # by entry id, as last written
    verified: set[str] = field(default_factory=set)
    closed: bool = False
    problems: list[str] = field(default_factory=list)

    @property
    def pending(self) -> dict[str, Mapping[str, Any]]:
        """Entries that were planned and not verified."""
        return {key: entry for key, entry in self.entries.items() if key not in self.verified}


def read(run_dir: Path) -> JournalRead:
    """As far as the file goes. A line that cannot be read is a problem, told with its number, unless it is the last."""
    found = JournalRead()
    path = run_dir / NAME
    if not path.exists():
        found.problems.append(f"{path} is missing")
        return found
    lines = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            _take(found, json.loads(line))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if number < len(lines):
                found.problems.append(f"{path}:{number} cannot be read: {error}")
    return found


def _take(found: JournalRead, line: Mapping[str, Any]) -> None:
    match line.get("type"):
        case "open":
            found.run_id = line["holder"]["run_id"]
        case "plan":
            found.entries[line["entry"]["entry_id"]] = line["entry"]
        case "verified":
            found.verified.add(line["entry_id"])
        case "close":
            found.closed = True


def _sync_folder(folder: Path) -> None:
    """The file's name must survive a crash too."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
