"""The scripted server's listening socket and its connections: closed, reset, ended, frozen, at exact moments."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

from tests.truth.courses import acts
from tests.truth.courses.acts import Act
from tests.truth.courses.speech import Talk

BACKLOG = 4096
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Connection:
    """One client's socket, and what is said on it."""

    __slots__ = ("backend", "busy", "ordinal", "over", "port", "sock", "talk")

    def __init__(self, sock: socket.socket, port: int, backend: int, talk: Talk) -> None:
        self.sock = sock
        self.port = port
        self.backend = backend
        self.talk = talk
        self.ordinal = 0  # of the next request
        self.busy = False  # a request is not answered yet
        self.over = False  # the client has been told the end of it


class Listener:
    """One address, three backends: each connection belongs to one of them, drawn when it is accepted.

    talk: what a new connection of a backend says. heard: called with what a connection brought, and when.
    """

    def __init__(self, host: str, talk: Callable[[int], Talk], heard: Callable[[Connection, int, bytes], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._talk = talk
        self._heard = heard
        self._random = random.Random(1)
        self._connections: set[Connection] = set()
        self._socket: socket.socket | None = None
        self._address = (host, 0)
        self.marks: list[dict[str, Any]] = []  # when what was done
        self._listen()

    @property
    def port(self) -> int:
        """That is listened on."""
        return self._address[1]

    # -- one connection -----

    def say(self, connection: Connection, data: bytes) -> bool:
        """Whether the kernel took all of it."""
        if connection not in self._connections or not data:
            return False
        try:
            connection.sock.send(data)
        except OSError:
            self.end(connection, reset=False)
            return False
        return True

    def end(self, connection: Connection, *, reset: bool) -> None:
        """The connection is closed, with a RST or a FIN."""
        if connection not in self._connections:
            return
        self._connections.discard(connection)
        self._loop.remove_reader(connection.sock.fileno())
        if reset:
            connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        connection.sock.close()

    # -- all of them -----

    def follow(self, act: Act, at: Callable[[int, Callable[[], None]], None]) -> None:
        """Does at the right moments what the act asks of listener and connections."""
        if act.kind in acts.LISTENER:
            at(act.begin_ns, lambda: self._mark("closed", lambda: self._die(act)))
            at(act.end_ns, lambda: self._mark("listening", self._listen))
        if act.kind == acts.FREEZE:
            at(act.begin_ns, lambda: self._mark("frozen", self._freeze))
            at(act.end_ns, lambda: self._mark("thawed", self._thaw))
        if act.kind == acts.IDLE_CLOSE:
            at(act.begin_ns, lambda: self._mark("idle closed", self._close_idle))

    def close(self) -> None:
        """Every connection is reset."""
        for connection in list(self._connections):
            self.end(connection, reset=True)

    def _mark(self, what: str, do: Callable[[], None]) -> None:
        before_ns = time.monotonic_ns()
        do()
        self.marks.append({"what": what, "before_ns": before_ns, "after_ns": time.monotonic_ns()})

    def _listen(self) -> None:
        listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setblocking(False)
        listening.bind(self._address)
        listening.listen(BACKLOG)
        self._address = listening.getsockname()
        self._socket = listening
        self._loop.add_reader(listening.fileno(), self._accept)

    def _accept(self) -> None:
        while self._socket is not None:
            try:
                sock, (_, port) = self._socket.accept()
            except (BlockingIOError, ConnectionError):
                return
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            backend = self._random.randrange(len(acts.BACKENDS))
            connection = Connection(sock, port, backend, self._talk(backend))
            self._connections.add(connection)
            self._loop.add_reader(sock.fileno(), self._readable, connection)
            self.say(connection, connection.talk.greeting())

    def _readable(self, connection: Connection) -> None:
        now_ns = time.monotonic_ns()
        try:
            data = connection.sock.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.end(connection, reset=False)
        elif not connection.over:  # else it was sent to a connection that had ended, and nobody reads it
            self._heard(connection, now_ns, data)

    def _die(self, act: Act) -> None:
        assert self._socket is not None
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()
        self._socket = None
        if act.kind != acts.DEAF:
            for connection in list(self._connections):
                self.end(connection, reset=act.kind == acts.DEAD)

    def _freeze(self) -> None:
        assert self._socket is not None
        self._loop.remove_reader(self._socket.fileno())
        for connection in self._connections:
            self._loop.remove_reader(connection.sock.fileno())

    def _thaw(self) -> None:
        assert self._socket is not None
        for connection in self._connections:
            self._loop.add_reader(connection.sock.fileno(), self._readable, connection)
        self._loop.add_reader(self._socket.fileno(), self._accept)

    def _close_idle(self) -> None:
        for connection in list(self._connections):
            if goodbye := connection.talk.goodbye():
                self.say(connection, goodbye)
            elif not connection.busy and not connection.talk.half_heard():
                self._tell_the_end(connection)

    def _tell_the_end(self, connection: Connection) -> None:
        """A FIN, the moment that nothing has come: a socket that is closed over a request resets its connection."""
        if _waiting(connection.sock):
            return
        connection.sock.shutdown(socket.SHUT_WR)
        connection.over = True


def _waiting(sock: socket.socket) -> bool:
    """Whether something has come that was not read yet."""
    try:
        return bool(sock.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return False
    except OSError:
        return True
