"""How a load process and the harness speak with each other: JSON lines.

`start_ns` and `stop_ns` come in on stdin; `ready`, `start`, `live` (every 100 ms), `done` and `error` go out on stdout.
The end of stdin means that the harness is gone: no more arrivals, what is in flight ends by its own deadline.
"""

from __future__ import annotations

import json
import logging
import os
import stat
import sys
import time
from collections.abc import Callable
from typing import Any, Protocol

import gevent.os
from gevent.event import Event

log = logging.getLogger("loadtests")


class LoadError(Exception):
    """The load cannot be offered, or its books do not balance."""


class Told(Protocol):
    """Who hears what a load does."""

    def say(self, line: dict[str, Any]) -> None:
        """The line is with the reader, or on its way, after this."""

    def live(self, line: dict[str, Any]) -> None:
        """The same where there is room; else the line is dropped."""


class Lines:
    """JSON lines out on stdout. A reader that does not read never stops the load: live lines are dropped instead."""

    def __init__(self) -> None:
        self._fd = sys.stdout.fileno()
        mode = os.fstat(self._fd).st_mode
        self._pipe = stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
        if self._pipe:
            os.set_blocking(self._fd, False)

    def say(self, line: dict[str, Any]) -> None:
        """The line is with the reader, or in the pipe, after this."""
        data = json.dumps(line).encode() + b"\n"
        try:
            while data:
                data = data[gevent.os.nb_write(self._fd, data) if self._pipe else os.write(self._fd, data) :]
        except BrokenPipeError:
            log.warning("nobody reads stdout any more")

    def live(self, line: dict[str, Any]) -> None:
        """Says the line if there is room for it. Lines are shorter than PIPE_BUF: whole or not at all."""
        try:
            os.write(self._fd, json.dumps(line).encode() + b"\n")
        except (BlockingIOError, BrokenPipeError):
            return


class Commands:
    """What a load is told to do, by whatever way it comes."""

    def __init__(self) -> None:
        self.start_ns: int | None = None
        self.started = Event()  # set by a start, and by the end of stdin
        self.gone = False
        self._stop_ns: int | None = None
        self._on_stop: Callable[[int], None] | None = None

    def listen(self) -> None:
        """Obeys the lines on stdin; returns when stdin ends, which means `leave`."""
        rest = b""
        fd = sys.stdin.fileno()
        os.set_blocking(fd, False)
        while data := gevent.os.nb_read(fd, 4096):
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                if line.strip():
                    self.obey(line)
        self.leave()

    def start(self, start_ns: int) -> None:
        """The schedule's zero."""
        self.start_ns = start_ns
        self.started.set()

    def leave(self) -> None:
        """Nobody wants the load any more."""
        self.gone = True
        self.stop(time.monotonic_ns())
        self.started.set()

    def when_stopped(self, call: Callable[[int], None]) -> None:
        """`call` gets every stop moment, an earlier one at once."""
        self._on_stop = call
        if self._stop_ns is not None:
            call(self._stop_ns)

    def stop(self, stop_ns: int) -> None:
        """No arrival from then on."""
        self._stop_ns = stop_ns
        if self._on_stop is not None:
            self._on_stop(stop_ns)

    def obey(self, line: bytes) -> None:
        """Does what a line says: {"start_ns": …} or {"stop_ns": …}."""
        try:
            command = json.loads(line)
            name, moment_ns = next(iter(command.items()))
            moment_ns = int(moment_ns)
        except (ValueError, TypeError, AttributeError, StopIteration):
            raise LoadError(f"not understood on stdin: {line[:100]!r}") from None
        if name == "start_ns" and self.start_ns in (None, moment_ns):  # it may have been said again
            self.start(moment_ns)
        elif name == "stop_ns":
            self.stop(moment_ns)
        else:
            raise LoadError(f"not understood on stdin: {line[:100]!r}")
