"""Carries TCP connections to one upstream: bytes, ends (FIN) and breaks (RST), in their order, each way on its own.

A client's connection is accepted before the upstream answers, so an upstream that refuses is seen as a reset.
"""

from __future__ import annotations

import asyncio
import itertools
import select
import socket
import struct
import time
from collections import deque
from typing import Any

from clusters.platform.proxy.delay import Line, Switch

HELD_LIMIT_BYTES = 1 << 20  # held back for one connection; beyond it the client is not read any further
LEAVING_AT_ONCE = 4
LINGER_S = 4.0
QUIET_NS = 20_000_000  # answered for so long: nothing is under way
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)

# What travels from client to upstream beside bytes.
_END = b""
_BREAK = None


class Relay:
    """All connections of one proxy."""

    def __init__(self, upstream: str, switch: Switch) -> None:
        self.upstream = upstream
        self.switch = switch
        self.accepted = 0
        self._numbers = itertools.count()
        self._clients: set[_Client] = set()

    async def listen(self, host: str, port: int) -> asyncio.Server:
        """Connections to host:port go to the same port of the upstream."""
        loop = asyncio.get_running_loop()
        return await loop.create_server(lambda: _Client(self, port, next(self._numbers)), host, port, backlog=1024)

    def opened(self, client: _Client) -> None:
        """A client is here."""
        self._clients.add(client)
        self.accepted += 1

    def closed(self, client: _Client) -> None:
        """It is gone, and its upstream connection too."""
        self._clients.discard(client)

    @property
    def open_connections(self) -> int:
        """Clients that are connected now."""
        return len(self._clients)

    @property
    def held_bytes(self) -> int:
        """What waits for its time now."""
        return sum(client.held_bytes for client in self._clients)

    async def drain(self, least_s: float, most_s: float) -> None:
        """Every connection has ended: by itself, or by us in a moment when nothing was under way on it.

        New connections are still carried: the Service may take a second to hear that we leave. A client that was sent
        a FIN gets time to answer it, because connection tracking on the way keeps a half-closed connection for a minute
        and leads whoever comes next from the same port to a pod that is gone.
        """
        begin = time.monotonic()
        told_last = begin
        while (now := time.monotonic()) - begin < most_s:
            staying = [client for client in self._clients if not client.leaving]
            told = 0
            for client in staying:
                # A few at a time: a burst keeps this loop from reading what came in the meantime.
                if told < LEAVING_AT_ONCE and client.leave_if_quiet():
                    told += 1
            if told or staying:
                told_last = now
            if now - begin >= least_s and (not self._clients or now - told_last > LINGER_S):
                return
            await asyncio.sleep(0.01)


class _Side(asyncio.Protocol):
    """What both ends have in common: backpressure and an orderly or a broken end."""

    transport: asyncio.Transport | None = None
    other: _Side | None = None
    _ended_reading = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def pause_writing(self) -> None:
        if self.other is not None:
            self.other.hold(True)

    def resume_writing(self) -> None:
        if self.other is not None:
            self.other.hold(False)

    def hold(self, held: bool) -> None:
        """Stop or go on reading from this side."""
        transport = self.transport
        if transport is None or transport.is_closing() or self._ended_reading:
            return  # asyncio would read (and report) the end a second time
        if held:
            transport.pause_reading()
        else:
            transport.resume_reading()

    def finish(self) -> None:
        """Send FIN; the other direction stays open."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write_eof()

    def reset(self) -> None:
        """Send RST, and drop what was not sent yet, as the network would."""
        if self.transport is None:
            return
        sock: Any = self.transport.get_extra_info("socket")
        if sock is not None and sock.fileno() != -1:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.transport.abort()


class _Client(_Side):
    """A client's end. What it sends is held back as the switch says."""

    def __init__(self, relay: Relay, port: int, number: int) -> None:
        self._relay = relay
        self._port = port
        self._loop = asyncio.get_running_loop()
        self._line = Line(relay.switch, number)
        self._held: deque[tuple[int, bytes | None]] = deque()
        self.held_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._upstream: _Upstream | None = None
        self._ended = False  # both directions, or broken
        self.leaving = False
        self._sent_end = False
        self._got_end = False
        self._from_client_ns = 0
        self._from_upstream_ns = 0

    # -- from the client --

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._relay.opened(self)
        self._connecting = self._loop.create_task(self._connect())

    def data_received(self, data: bytes) -> None:
        if self.leaving:
            self.reset()  # it was on its way when we left: no answer can come, and the client shall know
        else:
            self._take(data)

    def eof_received(self) -> bool:
        self._ended_reading = True
        if self.leaving and self.transport is not None:
            self.transport.close()
        else:
            self._take(_END)
        return True  # keep the way back open

    def connection_lost(self, error: Exception | None) -> None:
        if not self._ended:
            # The client broke off. The network would deliver what it sent before, then the break.
            self._take(_BREAK)
        self._relay.closed(self)

    # -- to the upstream --

    async def _connect(self) -> None:
        try:
            _, upstream = await self._loop.create_connection(lambda: _Upstream(self), self._relay.upstream, self._port)
        except OSError:
            self.upstream_broke()
            return
        self._upstream = self.other = upstream
        if self._ended:
            upstream.reset()
            return
        self._flush()

    def _take(self, item: bytes | None) -> None:
        self._from_client_ns = now_ns = time.monotonic_ns()
        release_ns = self._line.release_ns(now_ns)
        if release_ns <= now_ns and not self._held and self._upstream is not None:
            self._forward(item)
            return
        self._held.append((release_ns, item))
        if item:
            self.held_bytes += len(item)
            if self.held_bytes > HELD_LIMIT_BYTES:
                self.hold(True)
        if self._timer is None and self._upstream is not None:
            self._flush()

    def _flush(self) -> None:
        """Everything whose time has come goes on; the timer is set for the rest."""
        self._timer = None
        was_full = self.held_bytes > HELD_LIMIT_BYTES
        while self._held and not self._ended:
            release_ns, item = self._held[0]
            wait_ns = release_ns - time.monotonic_ns()
            if wait_ns > 0:
                self._timer = self._loop.call_later(wait_ns / 1e9, self._flush)
                break
            self._held.popleft()
            if item:
                self.held_bytes -= len(item)
            self._forward(item)
        if was_full and self.held_bytes <= HELD_LIMIT_BYTES:
            self.hold(False)

    def _forward(self, item: bytes | None) -> None:
        upstream = self._upstream
        assert upstream is not None
        if item is _BREAK:
            self._ended = True
            upstream.reset()
        elif item:
            if upstream.transport is not None and not upstream.transport.is_closing():
                upstream.transport.write(item)
        else:
            self._sent_end = True
            upstream.finish()
            self._close_when_both_ended()

    # -- from the upstream --

    def upstream_sent(self, data: bytes) -> None:
        """Bytes for the client: at once."""
        self._from_upstream_ns = time.monotonic_ns()
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(data)

    def upstream_ended(self) -> None:
        """The upstream sent FIN: so do we."""
        self._got_end = True
        self.finish()
        self._close_when_both_ended()

    def upstream_broke(self) -> None:
        """The upstream is gone, or never was there."""
        if not self._ended:
            self._ended = True
            self.reset()

    def _close_when_both_ended(self) -> None:
        if self._sent_end and self._got_end and not self._ended:
            self._ended = True
            for side in (self, self._upstream):
                if side is not None and side.transport is not None:
                    side.transport.close()

    # -- at the end of the proxy --

    def leave_if_quiet(self) -> bool:
        """Sends FIN to both ends when nothing is under way on the connection, as far as bytes show."""
        if self._ended or self._held or self._from_upstream_ns < self._from_client_ns:
            return False
        if time.monotonic_ns() - self._from_upstream_ns < QUIET_NS or self._has_unread():
            return False
        self._ended = self.leaving = True
        self.finish()
        if self._upstream is not None and self._upstream.transport is not None:
            self._upstream.transport.close()
        return True

    def _has_unread(self) -> bool:
        """Whether the client has sent something that this loop did not get to yet."""
        if self.transport is None or self.transport.is_closing():
            return False
        poll = select.poll()
        poll.register(self.transport.get_extra_info("socket").fileno(), select.POLLIN)
        return bool(poll.poll(0))


class _Upstream(_Side):
    """The pod's end."""

    def __init__(self, client: _Client) -> None:
        self._client = client
        self.other = client

    def data_received(self, data: bytes) -> None:
        self._client.upstream_sent(data)

    def eof_received(self) -> bool:
        self._ended_reading = True
        self._client.upstream_ended()
        return True

    def connection_lost(self, error: Exception | None) -> None:
        self._client.upstream_broke()
