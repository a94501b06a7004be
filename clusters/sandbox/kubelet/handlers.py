"""The ways of asking a container something: http, tcp, grpc and exec, as probes and lifecycle hooks use them."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import struct
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Exec = Callable[[Sequence[str], float], Awaitable[tuple[int, bytes]]]  # (argv, timeout s) -> (exit code, output)

_BODY_LIMIT = 10 * 1024
_REDIRECTS = 10


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of asking; `detail` is in the words of a kubelet."""

    ok: bool
    detail: str = ""


async def ask(
    handler: Mapping[str, Any], container: Mapping[str, Any], pod_ip: str, timeout_s: float, run: Exec
) -> Answer:
    """Asks once. Whatever goes wrong is an Answer."""
    try:
        if "httpGet" in handler:
            wanted = handler["httpGet"]
            host, port = wanted.get("host") or pod_ip, port_of(wanted["port"], container)
            doing = f'Get "{str(wanted.get("scheme", "HTTP")).lower()}://{host}:{port}{wanted.get("path") or "/"}"'
            return await _within(timeout_s, _http(wanted, host, port), doing)
        if "tcpSocket" in handler:
            wanted = handler["tcpSocket"]
            address = wanted.get("host") or pod_ip, port_of(wanted["port"], container)
            return await _within(timeout_s, _tcp(*address), f"dial tcp {address[0]}:{address[1]}")
        if "grpc" in handler:
            wanted = handler["grpc"]
            doing = f"failed to connect service {pod_ip}:{wanted['port']} within {timeout_s:g}s"
            return await _within(timeout_s, _grpc(pod_ip, int(wanted["port"]), wanted.get("service") or ""), doing)
        if "exec" in handler:
            try:
                code, output = await run(handler["exec"].get("command") or (), timeout_s)
            except TimeoutError:
                command = " ".join(handler["exec"].get("command") or ())
                return Answer(False, f'command "{command}" timed out after {timeout_s:g}s')
            return Answer(code == 0, output.decode(errors="replace").strip())
    except (OSError, ValueError, EOFError) as error:
        return Answer(False, str(error) or type(error).__name__)
    return Answer(False, f"unsupported handler: {sorted(handler)}")


def port_of(wanted: object, container: Mapping[str, Any]) -> int:
    """A port number, or the number behind a container port's name. ValueError when nobody has it."""
    if isinstance(wanted, int):
        return wanted
    for port in container.get("ports") or ():
        if port.get("name") == wanted:
            return int(port["containerPort"])
    if str(wanted).isdigit():
        return int(str(wanted))
    raise ValueError(f"couldn't find port: {wanted}")


async def _within(timeout_s: float, asking: Awaitable[Answer], doing: str) -> Answer:
    """Timeouts and refusals in words as a kubelet has them."""
    try:
        return await asyncio.wait_for(asking, timeout_s)
    except TimeoutError:
        return Answer(False, f"{doing}: context deadline exceeded (Client.Timeout exceeded while awaiting headers)")
    except ConnectionRefusedError:
        return Answer(False, f"{doing}: connect: connection refused")
    except ConnectionResetError:
        return Answer(False, f"{doing}: read: connection reset by peer")
    except (EOFError, asyncio.IncompleteReadError):
        return Answer(False, f"{doing}: EOF")


async def _tcp(host: str, port: int) -> Answer:
    _, writer = await asyncio.open_connection(host, port)
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return Answer(True)


async def _http(wanted: Mapping[str, Any], host: str, port: int) -> Answer:
    path = wanted.get("path") or "/"
    headers = {h["name"]: h["value"] for h in wanted.get("httpHeaders") or ()}
    secure = str(wanted.get("scheme", "HTTP")).upper() == "HTTPS"
    for _ in range(_REDIRECTS):
        code, location = await _get(host, port, path if path.startswith("/") else f"/{path}", headers, secure)
        if 300 <= code < 400 and location.startswith("/"):
            path = location
            continue
        if 200 <= code < 400:
            return Answer(True)
        return Answer(False, f"HTTP probe failed with statuscode: {code}")
    return Answer(False, f'Get "{path}": stopped after {_REDIRECTS} redirects')


async def _get(host: str, port: int, path: str, headers: Mapping[str, str], secure: bool) -> tuple[int, str]:
    """One GET on a connection of its own: (status, Location). The body is not waited for."""
    context = None
    if secure:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    reader, writer = await asyncio.open_connection(host, port, ssl=context, limit=64 * 1024)
    try:
        lines = {"Host": f"{host}:{port}", "User-Agent": "kube-probe/1.36", "Accept": "*/*"} | dict(headers)
        lines["Connection"] = "close"
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        writer.write(f"GET {path} HTTP/1.1\r\n{head}\r\n".encode())
        first = await reader.readline()
        if not first:
            raise EOFError
        parts = first.split(None, 2)
        if len(parts) < 2 or not parts[0].startswith(b"HTTP/") or not parts[1].isdigit():
            raise ValueError(f"malformed HTTP response {first[:40]!r}")
        location = ""
        while (line := await reader.readline()) not in (b"\r\n", b"\n", b""):
            name, _, value = line.partition(b":")
            if name.lower() == b"location":
                location = value.strip().decode(errors="replace")
        return int(parts[1]), location
    finally:
        writer.close()


# gRPC's health check in as much HTTP/2 as it takes: a grpc library would cost the sandbox 20 MB and threads.
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _GOAWAY = 0, 1, 3, 4, 6, 7
_ACK, _END_STREAM, _END_HEADERS = 1, 1, 4
_STATES = {0: "UNKNOWN", 1: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}


async def _grpc(host: str, port: int, service: str) -> Answer:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        request = b"\x0a" + bytes([len(service.encode())]) + service.encode() if service else b""
        writer.write(
            _PREFACE
            + _frame(_SETTINGS, 0, 0, b"")
            + _frame(_HEADERS, _END_HEADERS, 1, _request_headers(f"{host}:{port}"))
            + _frame(_DATA, _END_STREAM, 1, b"\0" + struct.pack(">I", len(request)) + request)
        )
        body = b""
        while True:
            head = await reader.readexactly(9)
            length, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
            payload = await reader.readexactly(length)
            if kind == _SETTINGS and not flags & _ACK:
                writer.write(_frame(_SETTINGS, _ACK, 0, b""))
            elif kind == _PING and not flags & _ACK:
                writer.write(_frame(_PING, _ACK, 0, payload))
            elif kind == _DATA:
                body += payload
            elif kind in (_RESET, _GOAWAY):
                return Answer(False, "health rpc probe failed: the server closed the stream")
            if kind in (_DATA, _HEADERS) and flags & _END_STREAM:
                break
    finally:
        writer.close()
    if len(body) < 5:
        return Answer(False, f'service "{service}" is not known or the server has no grpc.health.v1.Health')
    state = body[6] if len(body) >= 7 and body[5] == 8 else 0
    if state == 1:
        return Answer(True, "service healthy")
    return Answer(False, f'service unhealthy (responded with "{_STATES.get(state, str(state))}")')


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def _request_headers(authority: str) -> bytes:
    """HPACK without indexing or compression: every header a plain literal."""
    headers = [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", b"/grpc.health.v1.Health/Check"),
        (b":authority", authority.encode()),
        (b"content-type", b"application/grpc"),
        (b"te", b"trailers"),
        (b"user-agent", b"kube-probe/1.36"),
    ]
    return b"".join(b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value for name, value in headers)
