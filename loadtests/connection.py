"""One TCP connection of a greenlet, with as few system calls as will do."""

from __future__ import annotations

import errno
import os
import select
import socket
from collections.abc import Callable
from typing import Any

import gevent
from gevent import monkey

# The unpatched ones: the waiting is done here. gevent's own socket asks the kernel for an answer before it waits for
# one, and for the socket's error before it connects; its poll() goes through the hub even when it need not wait.
_socket = monkey.get_original("socket", "socket")
_poll = monkey.get_original("select", "poll")

_READ, _WRITE = 1, 2


def _nothing() -> None:
    """There is nothing more urgent than an answer."""


# The hub calls this whenever an answer is there, before the answer is looked at: what is more urgent goes first.
before_answers: Callable[[], None] = _nothing
_BLOCK = 65536
# Filled and copied from without a switch in between, so that one is enough for all.
_buffer = bytearray(_BLOCK)
_view = memoryview(_buffer)


class Connection:
    """Opened, connected, used by one greenlet at a time, closed."""

    __slots__ = ("_hub", "_poll", "_readable", "_socket", "_writable", "local_port")

    def __init__(self, family: int, source_address: str | None) -> None:
        self.local_port: int | None = None
        self._poll: Any = None
        self._readable: Any = None
        self._writable: Any = None
        self._hub = gevent.get_hub()
        self._socket = _socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if source_address is not None:
            self._socket.bind((source_address, 0))

    def connect(self, address: Any) -> None:
        """Raises OSError; `local_port` is known after that too, where the connection had one."""
        try:
            failed = self._socket.connect_ex(address)
            if failed == errno.EINPROGRESS:
                if not self._polled(select.POLLOUT).poll(0):  # to this machine a connection is there at once
                    self._wait_writable()
                failed = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if failed:
                raise OSError(failed, os.strerror(failed))
        finally:
            self.local_port = self._socket.getsockname()[1] or None

    def send(self, data: bytes) -> None:
        """All of it is with the kernel. Raises OSError."""
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            sent = 0
        while sent < len(data):
            self._wait_writable()
            try:
                sent += self._socket.send(memoryview(data)[sent:])
            except BlockingIOError:
                continue

    def receive(self) -> bytes:
        """What comes next, up to 64 KiB; nothing when the other side has closed. Raises OSError."""
        if self._readable is None:
            self._readable = self._hub.loop.io(self._socket.fileno(), _READ)
        while True:
            # An answer takes longer than the way here: asking before waiting would be in vain.
            self._readable.start(self._answered, gevent.getcurrent())
            try:
                self._hub.switch()
            finally:
                self._readable.stop()
            try:
                return bytes(_view[: self._socket.recv_into(_buffer)])
            except BlockingIOError:
                continue

    @staticmethod
    def _answered(user: Any) -> None:
        before_answers()
        user.switch()

    def idle(self) -> bool:
        """True while nothing has come, not even the connection's end: it can carry a request."""
        if self._poll is None:
            self._poll = self._polled(select.POLLIN)
        return not self._poll.poll(0)

    def close(self) -> None:
        """Closing twice is fine."""
        for watcher in (self._readable, self._writable):
            if watcher is not None:
                watcher.close()
        self._readable = self._writable = None
        self._socket.close()

    def _polled(self, event: int) -> Any:
        poll = _poll()
        poll.register(self._socket.fileno(), event)
        return poll

    def _wait_writable(self) -> None:
        if self._writable is None:
            self._writable = self._hub.loop.io(self._socket.fileno(), _WRITE)
        self._hub.wait(self._writable)
