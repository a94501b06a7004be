"""Carries connections to Services: a process of its own, as kube-proxy's rules are the kernel's and not the API's.

Run as `python -m clusters.sandbox.service_proxy`; reads the wished state as JSON lines on stdin, each complete:
`{"services": [{"ip": "127.9.8.2", "port": 8000, "endpoints": [["127.9.17.3", 8000], …]}]}`. Ends when stdin does.

A listener for every port that has endpoints, none for one that has not (so connections are refused). Each connection
goes to an endpoint chosen by chance and stays there, whatever happens to the endpoint list: as with conntrack, only
the end of its pod ends it. FIN is passed on as FIN, RST as RST; the pod sees the client's own address.

A plain epoll loop: 0.1 ms for a whole connection (asyncio: 0.35 ms), because what it costs is in every measurement.
"""

from __future__ import annotations

import errno
import gc
import json
import logging
import os
import random
import resource
import select
import socket
import struct
import sys
from collections.abc import Callable
from typing import Any

log = logging.getLogger(__name__)

_IP_BIND_ADDRESS_NO_PORT = 24
_RESET = struct.pack("ii", 1, 0)
_CHUNK = 256 * 1024
_READ, _WRITE = select.EPOLLIN, select.EPOLLOUT
_BROKEN = select.EPOLLERR | select.EPOLLHUP
_ACCEPTS = 64  # connections taken from one listener before others get their turn


class Half:
    """One socket of a pair, and what waits to be sent on it."""

    __slots__ = ("connecting", "ended", "events", "fd", "other", "pending", "shut", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock, self.fd = sock, sock.fileno()
        self.other: Half = self
        self.pending = bytearray()  # read from `other`, to be sent here
        self.ended = False  # its peer sent FIN
        self.shut = False  # we sent FIN here
        self.connecting = False
        self.events = 0


class Listener:
    """One Service port."""

    def __init__(self, sock: socket.socket, endpoints: list[tuple[str, int]]) -> None:
        self.sock, self.endpoints = sock, endpoints


class Proxy:
    """The epoll loop, its listeners and its connections."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._handlers: dict[int, Callable[[int], None]] = {}
        self._halves: dict[int, Half] = {}
        self._listeners: dict[tuple[str, int], Listener] = {}
        self._stdin = sys.stdin.fileno()
        self._rest = b""
        self._running = True

    def run(self) -> None:
        """Works until stdin ends."""
        os.set_blocking(self._stdin, False)
        self._watch(self._stdin, self._read_state)
        halves, handlers = self._halves, self._handlers
        while self._running:
            for fd, events in self._poll.poll():
                half = halves.get(fd)
                if half is not None:
                    self._serve(half, events)
                elif fd in handlers:
                    handlers[fd](events)

    def _watch(self, fd: int, handler: Callable[[int], None]) -> None:
        self._handlers[fd] = handler
        self._poll.register(fd, _READ)

    # The wished state

    def _read_state(self, events: int) -> None:
        while True:
            try:
                piece = os.read(self._stdin, _CHUNK)
            except BlockingIOError:
                break
            if not piece:
                self._running = False
                return
            self._rest += piece
        *lines, self._rest = self._rest.split(b"\n")
        if lines:
            self._apply(json.loads(lines[-1]))

    def _apply(self, state: dict[str, Any]) -> None:
        wanted: dict[tuple[str, int], list[tuple[str, int]]] = {}
        for service in state["services"]:
            endpoints = [(ip, port) for ip, port in service["endpoints"]]
            if endpoints:
                wanted[service["ip"], service["port"]] = endpoints
        for address in self._listeners.keys() - wanted.keys():
            listener = self._listeners.pop(address)
            self._accept(listener)  # who was let in before the change is carried as before it
            self._handlers.pop(listener.sock.fileno())
            self._poll.unregister(listener.sock)
            listener.sock.close()
        for address, endpoints in wanted.items():
            if address in self._listeners:
                self._listeners[address].endpoints = endpoints
            else:
                self._listen(address, endpoints)
        print(json.dumps({"applied": state.get("number")}), flush=True)  # noqa: T201 - the protocol

    def _listen(self, address: tuple[str, int], endpoints: list[tuple[str, int]]) -> None:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(address)
        except OSError as error:  # a port below 1024 without the right to it
            log.warning("Service %s:%s is not served: %s", *address, error)
            sock.close()
            return
        sock.listen(4096)
        self._listeners[address] = listener = Listener(sock, endpoints)
        self._watch(sock.fileno(), lambda _: self._accept(listener))

    # Connections

    def _accept(self, listener: Listener) -> None:
        for _ in range(_ACCEPTS):
            try:
                sock, client = listener.sock.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in (errno.ECONNABORTED, errno.EINTR):
                    continue
                log.error("connection not taken: %s", error)
                return
            self._connect(sock, client[0], random.choice(listener.endpoints))

    def _connect(self, sock: socket.socket, client: str, endpoint: tuple[str, int]) -> None:
        sock.setblocking(False)
        front, back = Half(sock), Half(socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK))
        front.other, back.other = back, front
        front.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        back.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            if client.startswith("127."):
                back.sock.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
                back.sock.bind((client, 0))
            code = back.sock.connect_ex(endpoint)
        except OSError as error:
            code = error.errno or errno.EIO
        if code not in (0, errno.EINPROGRESS):
            back.sock.close()
            _close(sock, reset=True)
            return
        self._halves[front.fd], self._halves[back.fd] = front, back
        back.connecting = code != 0
        back.events = _WRITE if back.connecting else _READ
        front.events = _READ
        self._poll.register(front.fd, _READ)
        self._poll.register(back.fd, back.events)

    def _serve(self, half: Half, events: int) -> None:
        if half.connecting:
            code = half.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                self._end(half, reset=True)
                return
            half.connecting = False
        if events & _WRITE and not self._flush(half):
            return
        if events & (_READ | _BROKEN) and not half.ended and not self._relay(half):
            return
        if events & _BROKEN and half.ended and half.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._end(half, reset=True)
            return
        self._finish_or_wait(half)

    def _relay(self, half: Half) -> bool:
        """Takes what there is and gives it to the other side; False when the pair is gone."""
        other = half.other
        if other.pending:
            return True  # the other side is slow: what is not read here slows this side down
        try:
            data = half.sock.recv(_CHUNK)
        except BlockingIOError:
            return True
        except OSError:
            self._end(half, reset=True)
            return False
        if not data:
            half.ended = True
            return self._pass_end(other)
        if other.connecting:
            other.pending += data
            return True
        try:
            sent = other.sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._end(other, reset=True)
            return False
        if sent < len(data):
            other.pending += data[sent:]
        return True

    def _flush(self, half: Half) -> bool:
        """Sends what waits; False when the pair is gone."""
        if half.pending:
            try:
                sent = half.sock.send(half.pending)
            except BlockingIOError:
                return True
            except OSError:
                self._end(half, reset=True)
                return False
            del half.pending[:sent]
        return self._pass_end(half) if half.other.ended else True

    def _pass_end(self, half: Half) -> bool:
        """FIN, once everything before it is sent; False when both ways have ended and the pair is gone."""
        if half.pending or half.connecting or half.shut:
            return True
        half.shut = True
        if half.ended:
            self._end(half, reset=False)
            return False
        try:
            half.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._end(half, reset=True)
            return False
        return True

    def _finish_or_wait(self, half: Half) -> None:
        for one in (half, half.other):
            events = 0
            if one.connecting or one.pending:
                events |= _WRITE
            if not one.ended and not one.other.pending and not one.connecting:
                events |= _READ
            if events != one.events:
                one.events = events
                self._poll.modify(one.fd, events)

    def _end(self, half: Half, *, reset: bool) -> None:
        for one in (half, half.other):
            del self._halves[one.fd]
            _close(one.sock, reset=reset)


def _close(sock: socket.socket, *, reset: bool) -> None:
    if reset:
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        except OSError:
            log.debug("socket already dead")
    sock.close()


def main() -> None:
    """Runs until stdin ends."""
    logging.basicConfig(level=logging.INFO, format="service proxy: %(message)s", stream=sys.stderr)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    gc.freeze()
    Proxy().run()


if __name__ == "__main__":
    main()
