"""What reaches into pods: their logs, and HTTP passed through to them. (Commands: exec.py.)"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol

import aiohttp
from aiohttp import web

from clusters.sandbox.call import Call
from clusters.sandbox.errors import ApiError, BadRequest, NotFound
from clusters.sandbox.objects import Object, Stored
from clusters.sandbox.store import Store, Watch

_POLL_S = 0.1
_HOP = {"connection", "keep-alive", "transfer-encoding", "upgrade", "host", "authorization", "content-length", "te"}


class Kubelet(Protocol):
    """What this file needs of the nodes."""

    def log_path(self, pod: Object, container: str, previous: bool = False) -> Path | None:
        """Where the container's log is; None when it has never run."""
        ...

    async def exec(self, pod: Object, container: str, argv: list[str]) -> asyncio.subprocess.Process:
        """The command, started with the container's environment; all three streams are pipes."""
        ...


def container_of(pod: Stored, wanted: str) -> str:
    """The name of the container that is meant; a BadRequest lists the choices."""
    names = [c["name"] for c in pod["spec"]["containers"]]
    first = [c["name"] for c in pod["spec"].get("initContainers") or ()]
    name = pod["metadata"]["name"]
    if wanted:
        if wanted not in names + first:
            raise BadRequest(f"container {wanted} is not valid for pod {name}")
        return wanted
    default = (pod["metadata"].get("annotations") or {}).get("kubectl.kubernetes.io/default-container")
    if default in names:
        return str(default)
    if len(names) > 1:
        choices = f"choose one of: [{' '.join(names)}]"
        choices += f" or one of the init containers: [{' '.join(first)}]" if first else ""
        raise BadRequest(f"a container name must be specified for pod {name}, {choices}")
    return str(names[0])


async def log(call: Call, store: Store, kubelet: Kubelet) -> web.StreamResponse:
    """The container's output: tailLines, sinceSeconds, sinceTime, timestamps, limitBytes, previous, follow."""
    pod = store.get("pods", call.name or "", call.namespace)
    container = container_of(pod, call.option("container"))
    if not pod["spec"].get("nodeName"):
        return web.Response(status=204)
    previous = call.flag("previous")
    path = kubelet.log_path(pod, container, previous)
    name = pod["metadata"]["name"]
    if path is None or not path.exists():
        if previous:
            raise BadRequest(f'previous terminated container "{container}" in pod "{name}" not found')
        statuses = [
            *(pod["status"].get("initContainerStatuses") or ()),
            *(pod["status"].get("containerStatuses") or ()),
        ]
        waiting = [
            s["state"]["waiting"] for s in statuses if s["name"] == container and "waiting" in s.get("state", {})
        ]
        why = waiting[0].get("reason", "ContainerCreating") if waiting else "ContainerCreating"
        raise BadRequest(f'container "{container}" in pod "{name}" is waiting to start: {why}')
    response = web.StreamResponse(headers={"Content-Type": "text/plain"})
    response.enable_chunked_encoding()
    limit = int(call.option("limitBytes") or 0) or None
    await response.prepare(call.request)
    with contextlib.suppress(ConnectionError):  # the reader left
        async for piece in _log_lines(call, store, pod, path):
            data = piece if limit is None else piece[:limit]
            if data:
                await response.write(data)
            if limit is not None:
                limit -= len(data)
                if limit <= 0:
                    break
    return response


async def _log_lines(call: Call, store: Store, pod: Stored, path: Path) -> AsyncIterator[bytes]:
    stamps, since = call.flag("timestamps"), _since(call)
    tail = int(call.option("tailLines")) if call.option("tailLines") else None
    watch = Watch(store, "pods") if call.flag("follow") else None
    try:
        with path.open("rb") as file:
            data = file.read()
            end = data.rfind(b"\n") + 1
            rest, lines = data[end:], data[:end].splitlines(keepends=True)
            if since:
                lines = [line for line in lines if line.partition(b" ")[0] >= since]
            if tail is not None:
                lines = lines[len(lines) - tail :] if 0 < tail <= len(lines) else lines if tail else []
            yield b"".join(_plain(line, stamps) for line in lines)
            ended = False
            while watch is not None:
                if more := file.read():
                    rest += more
                    end = rest.rfind(b"\n") + 1
                    yield b"".join(_plain(line, stamps) for line in rest[:end].splitlines(keepends=True))
                    rest = rest[end:]
                elif ended:
                    break
                else:
                    ended = _ended(store, pod, path)
                    await asyncio.sleep(_POLL_S)
    finally:
        if watch is not None:
            watch.close()


def _ended(store: Store, pod: Stored, path: Path) -> bool:
    """Whether nothing more will be written: the pod is gone or done, or the log belongs to a past run."""
    present = store.find("pods", pod["metadata"]["name"], pod["metadata"]["namespace"])
    if present is None or present["metadata"]["uid"] != pod["metadata"]["uid"] or not path.exists():
        return True
    statuses = present["status"].get("containerStatuses") or ()
    before = {s["name"]: s.get("restartCount", 0) for s in pod["status"].get("containerStatuses") or ()}
    restarted = any(s.get("restartCount", 0) > before.get(s["name"], 0) for s in statuses)
    return restarted or present["status"].get("phase") in ("Succeeded", "Failed")


def _plain(line: bytes, stamps: bool) -> bytes:
    """A line of the CRI log (`TIME stream F text`) as the user sees it; parts (P) are joined."""
    time, _, rest = line.partition(b" ")
    _, _, rest = rest.partition(b" ")
    tag, _, text = rest.partition(b" ")
    text = text.removesuffix(b"\n") if tag == b"P" else text
    return time + b" " + text if stamps else text


def _since(call: Call) -> bytes:
    """The earliest time wanted, as text that compares like the log's."""
    if seconds := call.option("sinceSeconds"):
        at = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=int(seconds))
        return at.strftime("%Y-%m-%dT%H:%M:%S.%f").encode()
    return call.option("sinceTime").removesuffix("Z").encode()


_TARGET = re.compile(r"(?:(https?):)?([^:]+)(?::([\w-]+))?")


async def proxy(call: Call, store: Store, session: aiohttp.ClientSession) -> web.StreamResponse:
    """Passes the request to a pod's (or a Service's) port and the answer back, both unread."""
    match = _TARGET.fullmatch(call.name or "")
    if match is None:
        raise BadRequest(f'invalid {call.kind.singular} request "{call.name}"')
    scheme, name, port = match.groups()
    if call.kind.key == "services":
        address, number = _service_target(call, store, name, port)
    else:
        pod = store.get("pods", name, call.namespace)
        address = pod["status"].get("podIP")
        first = [p["containerPort"] for c in pod["spec"]["containers"] for p in c.get("ports") or ()]
        number = int(port) if port and port.isdigit() else _named_port(pod, port) or (first[0] if first else 80)
    if not address:
        raise BadRequest("address not allowed")
    rest = call.rest if call.rest.startswith("/") else f"/{call.rest}"
    query = f"?{call.request.query_string}" if call.request.query_string else ""
    url = f"{scheme or 'http'}://{address}:{number}{rest}{query}"
    headers = {k: v for k, v in call.request.headers.items() if k.lower() not in _HOP}
    body = await call.request.read() if call.request.body_exists else None
    try:
        upstream = await session.request(
            call.request.method, url, headers=headers, data=body, allow_redirects=False, ssl=False
        )
    except aiohttp.ClientError as error:
        said = f"error trying to reach service: dial tcp {address}:{number}: {error}"
        raise ApiError(503, "ServiceUnavailable", said) from error
    async with upstream:
        response = web.StreamResponse(status=upstream.status, reason=upstream.reason)
        for key, value in upstream.headers.items():
            if key.lower() not in _HOP - {"content-length"}:
                response.headers.add(key, value)
        await response.prepare(call.request)
        async for piece in upstream.content.iter_any():
            await response.write(piece)
    return response


def _named_port(pod: Stored, name: str | None) -> int | None:
    ports = [p for c in pod["spec"]["containers"] for p in c.get("ports") or ()]
    return next((p["containerPort"] for p in ports if name and p.get("name") == name), None)


def _service_target(call: Call, store: Store, name: str, port: str | None) -> tuple[str, int]:
    """A ready endpoint of the Service's port."""
    service = store.get("services", name, call.namespace)
    ports = service["spec"].get("ports") or ()
    chosen = next((p for p in ports if port in (None, p.get("name"), str(p["port"]))), None)
    if chosen is None:
        raise NotFound("services", name)
    for piece in store.list("endpointslices", call.namespace, {"kubernetes.io/service-name": name}):
        number = next(
            (p["port"] for p in piece.get("ports") or () if p.get("name", "") == chosen.get("name", "")), None
        )
        for endpoint in piece.get("endpoints") or ():
            if number and (endpoint.get("conditions") or {}).get("ready", True):
                return endpoint["addresses"][0], number
    raise ApiError(503, "ServiceUnavailable", f'no endpoints available for service "{name}"')
