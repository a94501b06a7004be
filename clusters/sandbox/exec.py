"""A command in a container: `kubectl exec` and the Python client's stream, over websocket or SPDY.

Both carry the same channels: 0 stdin, 1 stdout, 2 stderr, 3 the Status at the end. There are no terminals: `tty`
is taken, but the command's streams stay pipes.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Protocol

from aiohttp import WSMsgType, web

from clusters.sandbox import spdy
from clusters.sandbox.call import Call
from clusters.sandbox.errors import ApiError, BadRequest
from clusters.sandbox.objects import Object
from clusters.sandbox.store import Store
from clusters.sandbox.streams import Kubelet, container_of

_WEBSOCKET_PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")  # the first both sides know is used
_CLOSE = 255  # v5: the client closes the channel whose number follows


class Channels(Protocol):
    """The client's side of a running command."""

    response: web.StreamResponse

    async def open(self) -> None:
        """The client is connected and its channels are there."""
        ...

    async def send(self, channel: int, data: bytes) -> None:
        """Passes output on; ConnectionError when the client has left."""
        ...

    async def receive(self) -> tuple[int, bytes] | None:
        """A channel and its input (empty: that channel is closed); None when the client has left."""
        ...

    async def finish(self) -> None:
        """Everything is sent: ends the connection."""
        ...


class WebsocketChannels:
    """Channels as messages whose first byte is the channel's number."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._socket = web.WebSocketResponse(protocols=_WEBSOCKET_PROTOCOLS)
        self.response: web.StreamResponse = self._socket

    async def open(self) -> None:
        await self._socket.prepare(self._call.request)

    async def send(self, channel: int, data: bytes) -> None:
        await self._socket.send_bytes(bytes([channel]) + data)

    async def receive(self) -> tuple[int, bytes] | None:
        while True:
            message = await self._socket.receive()
            if message.type not in (WSMsgType.BINARY, WSMsgType.TEXT):
                return None
            data = message.data.encode() if isinstance(message.data, str) else message.data
            if len(data) == 2 and data[0] == _CLOSE:
                return data[1], b""
            if len(data) > 1:  # clients open with empty messages
                return data[0], data[1:]

    async def finish(self) -> None:
        await self._socket.close()


async def run_command(call: Call, store: Store, kubelet: Kubelet) -> web.StreamResponse:
    """Runs a command in a container; the answer's body is its streams and how it ended."""
    pod = store.get("pods", call.name or "", call.namespace)
    container = container_of(pod, call.option("container"))
    argv = call.request.query.getall("command", [])
    if not argv:
        raise BadRequest("you must specify at least 1 command for the container")
    states = pod["status"].get("containerStatuses") or ()
    if not any(s["name"] == container and "running" in s.get("state", {}) for s in states):
        where = f"{pod['metadata']['name']}_{pod['metadata']['namespace']}"
        raise ApiError(500, "InternalError", f'container not found ("{container}") in pod {where}')
    upgrade = call.request.headers.get("Upgrade", "").lower()
    if upgrade not in ("websocket", "spdy/3.1"):
        raise BadRequest("Upgrade request required")
    wanted = {name for name in ("stdin", "stdout", "stderr") if call.flag(name)}
    if call.flag("tty"):
        wanted.discard("stderr")
    channels: Channels = WebsocketChannels(call) if upgrade == "websocket" else spdy.Channels(call.request, wanted)
    with contextlib.suppress(ConnectionError):  # the client left; what ran for it has been ended
        await channels.open()
        try:
            process = await kubelet.exec(pod, container, argv)
        except OSError as error:
            said = f'exec: "{argv[0]}": {error.strerror}'
            await channels.send(3, json.dumps(_failure(said, "InternalError", 500)).encode())
        else:
            try:
                await _converse(process, channels, "stdin" in wanted, call.flag("tty"))
            finally:
                if process.returncode is None:
                    process.kill()
        await channels.finish()
    return channels.response


async def _converse(process: asyncio.subprocess.Process, channels: Channels, stdin: bool, tty: bool) -> None:
    """Passes everything both ways until the command has ended, or the client has left."""
    feeding = asyncio.create_task(_feed(channels, process, stdin))
    running = asyncio.create_task(_run(process, channels, tty))
    try:
        await asyncio.wait({feeding, running}, return_when=asyncio.FIRST_COMPLETED)
        if not running.done():  # the client left: so does its command
            process.kill()
        code = await running
        await channels.send(3, json.dumps(_ended_with(128 - code if code < 0 else code)).encode())
    finally:
        feeding.cancel()
        running.cancel()


async def _run(process: asyncio.subprocess.Process, channels: Channels, tty: bool) -> int:
    await asyncio.gather(_pump(process.stdout, channels, 1), _pump(process.stderr, channels, 1 if tty else 2))
    return await process.wait()


async def _pump(pipe: asyncio.StreamReader | None, channels: Channels, channel: int) -> None:
    while pipe is not None and (data := await pipe.read(32768)):
        await channels.send(channel, data)


async def _feed(channels: Channels, process: asyncio.subprocess.Process, stdin: bool) -> None:
    """Returns when the client has left."""
    pipe = process.stdin
    assert pipe is not None
    if not stdin:
        pipe.close()
    while (received := await channels.receive()) is not None:
        channel, data = received
        if channel == 0 and stdin:
            with contextlib.suppress(ConnectionError):  # the command ended without reading it
                if data:
                    pipe.write(data)
                    await pipe.drain()
                else:
                    pipe.close()


def _ended_with(code: int) -> Object:
    if code == 0:
        return {"metadata": {}, "status": "Success"}
    cause = {"reason": "ExitCode", "message": str(code)}
    said = f"command terminated with non-zero exit code: exit status {code}"
    return _failure(said, "NonZeroExitCode") | {"details": {"causes": [cause]}}


def _failure(message: str, reason: str, code: int | None = None) -> Object:
    failed: Object = {"metadata": {}, "status": "Failure", "message": message, "reason": reason}
    return failed | ({"code": code} if code else {})
