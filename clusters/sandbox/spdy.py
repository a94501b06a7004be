"""SPDY/3.1, as much as `kubectl exec` before 1.31 speaks of it: streams the client opens, data both ways, pings."""

from __future__ import annotations

import asyncio
import struct
import zlib

from aiohttp import web

_SYN_STREAM, _SYN_REPLY, _RST_STREAM, _PING, _GOAWAY = 1, 2, 3, 6, 7
_FIN = 1
_VERSION = 0x8003
_PROTOCOL = "v4.channel.k8s.io"
_CHANNELS = {"stdin": 0, "stdout": 1, "stderr": 2, "error": 3, "resize": 4}
_OPEN_S, _LEAVE_S = 30.0, 2.0

# The dictionary that both sides' header compression begins with (SPDY protocol draft 3.1, section 2.6.10.1).
_WORDS = (
    "options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age allow "
    "authorization cache-control connection content-base content-encoding content-language content-length "
    "content-location content-md5 content-range content-type date etag expect expires from host if-match "
    "if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma "
    "proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade "
    "user-agent vary via warning www-authenticate method get status 200_OK version HTTP/1.1 url public set-cookie "
    "keep-alive origin"
)
_TAIL = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203 Non-Authoritative "
    "Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden404 Not Found500 "
    "Internal Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec "
    "00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,application/xml,"
    "application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8"
    "charset=iso-8859-1,utf-,*,enq=0."
)


def _text(value: bytes) -> bytes:
    return struct.pack(">I", len(value)) + value


DICTIONARY = b"".join(_text(word.replace("_", " ").encode()) for word in _WORDS.split()) + _TAIL.encode()


class Channels:
    """The client's streams by channel number. Also the parser that the HTTP connection hands its bytes to."""

    def __init__(self, request: web.BaseRequest, wanted: set[str]) -> None:
        self._request = request
        self._missing = {"error", *wanted}
        self._opened = asyncio.Event()
        self._streams: dict[int, int] = {}  # channel -> stream id
        self._received: asyncio.Queue[tuple[int, bytes] | None] = asyncio.Queue()
        self._rest = b""
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)
        self._deflate = zlib.compressobj(zdict=DICTIONARY)
        headers = {"Connection": "Upgrade", "Upgrade": "SPDY/3.1", "X-Stream-Protocol-Version": _PROTOCOL}
        self.response = web.StreamResponse(status=101, headers=headers)

    async def open(self) -> None:
        """Answers the upgrade and waits for the streams that the request's options promise."""
        offered = self._request.headers.getall("X-Stream-Protocol-Version", [])
        if not any(_PROTOCOL in each for each in offered):
            raise ConnectionError(f"the client does not speak {_PROTOCOL}")
        self.response.force_close()
        self._request.protocol.set_parser(self)  # type: ignore[arg-type]  # any object with these two methods will do
        await self.response.prepare(self._request)
        try:
            await asyncio.wait_for(self._opened.wait(), _OPEN_S)
        except TimeoutError:
            raise ConnectionError(f"the client opened no stream for {sorted(self._missing)}") from None

    async def send(self, channel: int, data: bytes) -> None:
        """One data frame on the channel's stream; nothing where the client opened none."""
        if channel in self._streams:
            self._write(struct.pack(">II", self._streams[channel], len(data)) + data)
            await self._request.protocol._drain_helper()

    async def receive(self) -> tuple[int, bytes] | None:
        """Channel and data, empty data at its end; None when the client has left."""
        return await self._received.get()

    async def finish(self) -> None:
        """Closes every stream and gives the client a moment to read and leave."""
        for stream in self._streams.values():
            self._write(struct.pack(">II", stream, _FIN << 24))
        try:
            async with asyncio.timeout(_LEAVE_S):
                while await self.receive() is not None:
                    continue
        except TimeoutError:
            self._write(struct.pack(">HHIII", _VERSION, _GOAWAY, 8, 0, 0))

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Called with what arrives on the connection: takes whole frames, keeps the rest."""
        self._rest += data
        while len(self._rest) >= 8:
            first, second = struct.unpack_from(">II", self._rest)
            flags, length = second >> 24, second & 0xFFFFFF
            if len(self._rest) < 8 + length:
                break
            payload, self._rest = self._rest[8 : 8 + length], self._rest[8 + length :]
            if first >> 31:
                self._control(first & 0xFFFF, payload)
            else:
                self._data(first, flags, payload)
        return False, b""

    def feed_eof(self) -> None:
        """Called when the connection is gone."""
        self._received.put_nowait(None)
        self._opened.set()

    def _data(self, stream: int, flags: int, payload: bytes) -> None:
        channel = next((c for c, s in self._streams.items() if s == stream), None)
        if channel is not None and payload:
            self._received.put_nowait((channel, payload))
        if channel is not None and flags & _FIN:
            self._received.put_nowait((channel, b""))

    def _control(self, kind: int, payload: bytes) -> None:
        if kind == _SYN_STREAM:
            (stream,) = struct.unpack_from(">I", payload)
            name = self._headers(payload[10:]).get("streamtype", "")
            if name in _CHANNELS:
                self._streams[_CHANNELS[name]] = stream
                self._missing.discard(name)
            nothing = self._deflate.compress(struct.pack(">I", 0)) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
            self._write(struct.pack(">HHII", _VERSION, _SYN_REPLY, 4 + len(nothing), stream) + nothing)
            if not self._missing:
                self._opened.set()
        elif kind == _PING:
            self._write(struct.pack(">HHI", _VERSION, _PING, len(payload)) + payload)
        elif kind == _RST_STREAM:
            self._data(struct.unpack_from(">I", payload)[0], _FIN, b"")
        elif kind == _GOAWAY:
            self._received.put_nowait(None)

    def _headers(self, block: bytes) -> dict[str, str]:
        plain = self._inflate.decompress(block)
        (count,), at, words = struct.unpack_from(">I", plain), 4, []
        for _ in range(2 * count):
            (length,) = struct.unpack_from(">I", plain, at)
            words.append(plain[at + 4 : at + 4 + length].decode())
            at += 4 + length
        return dict(zip(words[::2], words[1::2], strict=True))

    def _write(self, frame: bytes) -> None:
        transport = self._request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client is gone")
        transport.write(frame)
