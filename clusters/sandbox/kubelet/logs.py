"""Container logs in the CRI's format: `TIME stream F line`, one file a container and restart."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from pathlib import Path
from typing import IO

_LINE_LIMIT = 16 * 1024  # longer lines are cut into parts marked P, as containerd does
_FILE_LIMIT = 10 * 1024 * 1024  # then the file is renamed and begun anew (kubelet's containerLogMaxSize)


class LogFile:
    """Takes what a container writes and puts it, with times, into its log."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._file = path.open("ab", buffering=0)
        self._size = self._file.tell()
        self._rests: dict[str, bytes] = {}
        self._pipes: dict[str, IO[bytes]] = {}

    def follow(self, stream: str, pipe: IO[bytes]) -> None:
        """Everything that arrives on `pipe` is logged as `stream` (stdout or stderr)."""
        os.set_blocking(pipe.fileno(), False)
        self._pipes[stream] = pipe
        self._rests[stream] = b""
        asyncio.get_running_loop().add_reader(pipe.fileno(), self._readable, stream)

    def finish(self) -> None:
        """Takes what is still in the pipes and closes the file."""
        for stream in tuple(self._pipes):
            while stream in self._pipes and self._readable(stream):
                pass
            self._end(stream)
        self.close()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _readable(self, stream: str) -> bool:
        """Takes one piece; False when there is none now."""
        try:
            piece = os.read(self._pipes[stream].fileno(), 64 * 1024)
        except BlockingIOError:
            return False
        if not piece:
            self._end(stream)
            return False
        self._write(stream, self._rests[stream] + piece)
        return True

    def _write(self, stream: str, data: bytes) -> None:
        *lines, rest = data.split(b"\n")
        stamp = _timestamp()
        out = [entry for line in lines for entry in _entries(stamp, stream, line)]
        while len(rest) >= _LINE_LIMIT:
            out.append(b"%s %s P %s\n" % (stamp, stream.encode(), rest[:_LINE_LIMIT]))
            rest = rest[_LINE_LIMIT:]
        self._rests[stream] = rest
        if out:
            self._append(b"".join(out))

    def _append(self, data: bytes) -> None:
        if self._size + len(data) > _FILE_LIMIT and self._size:
            self._file.close()
            self._path.replace(self._path.with_suffix(".log.old"))
            self._file = self._path.open("ab", buffering=0)
            self._size = 0
        self._file.write(data)
        self._size += len(data)

    def _end(self, stream: str) -> None:
        pipe = self._pipes.pop(stream, None)
        if pipe is None:
            return
        asyncio.get_running_loop().remove_reader(pipe.fileno())
        rest = self._rests.pop(stream, b"")
        if rest:
            self._append(b"".join(_entries(_timestamp(), stream, rest)))
        with contextlib.suppress(OSError):
            pipe.close()


def _entries(stamp: bytes, stream: str, line: bytes) -> list[bytes]:
    """A line as log entries: whole (F), or in parts (P) with a last one (F)."""
    name, entries = stream.encode(), []
    while len(line) > _LINE_LIMIT:
        entries.append(b"%s %s P %s\n" % (stamp, name, line[:_LINE_LIMIT]))
        line = line[_LINE_LIMIT:]
    entries.append(b"%s %s F %s\n" % (stamp, name, line))
    return entries


def _timestamp() -> bytes:
    """RFC 3339 with nanoseconds, UTC."""
    whole, rest = divmod(time.time_ns(), 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole))}.{rest:09d}Z".encode()
