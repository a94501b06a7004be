"""How kept connections end that carry no request, without meeting one that is just being sent."""

from __future__ import annotations

import asyncio
import select
import socket
from typing import Any

from aiohttp import web

from clusters.platform.server.gate import Gate

# What has been read by then is being answered, and counted by the gate.
SETTLE_S = 0.01


async def end_idle_connections(server: web.Server, gate: Gate, most_s: float) -> None:
    """Every client of an idle connection hears the end of it (FIN) the moment that nothing has come on it.

    Closing them all and forgetting takes this process a turn of its loop, in which a request that comes is lost. What
    has come is answered first, and that answer closes its connection. Returns when no other is left, or after `most_s`.
    """
    told: set[web.RequestHandler] = set()
    deadline = asyncio.get_running_loop().time() + most_s
    while left := [one for one in server.connections if one not in told]:
        if asyncio.get_running_loop().time() > deadline:
            return
        for one in left:
            if one.transport is not None:
                one.transport.pause_reading()
        await asyncio.sleep(SETTLE_S)
        if not gate.in_flight:
            told.update(one for one in left if _told(one.transport))
        for one in left:
            if one.transport is not None:
                one.transport.resume_reading()
        await asyncio.sleep(SETTLE_S)


def _told(transport: Any) -> bool:
    """Whether the other side has been told just now; not where it has sent something, or an answer is still leaving."""
    if transport is None or transport.is_closing() or transport.get_write_buffer_size():
        return False
    connection = transport.get_extra_info("socket")
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    if poll.poll(0):
        return False
    try:
        connection.shutdown(socket.SHUT_WR)
    except OSError:  # the client was first
        return False
    return True
