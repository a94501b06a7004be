"""A KServe v2 server that follows a script to the nanosecond of its clock, and logs what it did to each request.

    python -m tests.truth.courses.server HOST GOLDEN LOG

prints {"port": N} when it listens. On stdin: the path of a file of acts (absolute CLOCK_MONOTONIC ns) installs them;
the end of stdin writes LOG and ends it. Sockets are raw, in one asyncio loop: it must be able to reset, to fall silent
and to break off exactly where it wants to.

One address, three backends: each connection belongs to one of them, drawn when it is accepted, as a balancer of
connections does it.
"""

from __future__ import annotations

import asyncio
import bisect
import gc
import json
import os
import random
import re
import socket
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.truth.courses import acts
from tests.truth.courses.acts import Act

BACKLOG = 4096
FORGET_S = 1.0  # a swallowed request's connection is ended so long after: later than every deadline of the load
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: 21\r\n\r\n"
_UNAVAILABLE += b'{"error":"by script"}'
_READY = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class Connection:
    """One client's socket, and what has come on it."""

    __slots__ = ("backend", "busy", "data", "ordinal", "port", "sock")

    def __init__(self, sock: socket.socket, port: int, backend: int) -> None:
        self.sock = sock
        self.port = port
        self.backend = backend
        self.data = b""
        self.ordinal = 0  # of the next request
        self.busy = False  # a request is not answered yet


class Answers:
    """The right and the wrong answer to each golden case, put together once."""

    def __init__(self, golden: Path) -> None:
        document = json.loads(golden.read_text(encoding="utf-8"))
        self._size = 0
        self._right: list[dict[bytes, bytes]] = [{} for _ in range(acts.BACKENDS)]
        self._wrong: list[dict[bytes, bytes]] = [{} for _ in range(acts.BACKENDS)]
        self._shape: list[dict[bytes, bytes]] = [{} for _ in range(acts.BACKENDS)]
        for case in document["cases"]:
            key = b"".join(np.array(one["data"], dtype=np.float32).tobytes() for one in case["inputs"])
            self._size = len(key)
            for backend in range(acts.BACKENDS):
                self._right[backend][key] = _response(document, case["outputs"], backend)
                off = [{**one, "data": [one["data"][0] + 0.5, *one["data"][1:]]} for one in case["outputs"]]
                self._wrong[backend][key] = _response(document, off, backend)
                self._shape[backend][key] = _response(document, case["outputs"][1:], backend)

    def of(self, kind: str, backend: int, body: bytes) -> bytes:
        """The whole response. Requests of others than the load (plain JSON) get the first case's."""
        table = {acts.WRONG: self._wrong, acts.SHAPE: self._shape}.get(kind, self._right)[backend]
        found = table.get(body[-self._size :])
        return found if found is not None else next(iter(table.values()))


def _response(document: dict[str, Any], outputs: list[dict[str, Any]], backend: int) -> bytes:
    arrays = [np.array(one["data"], dtype=np.float32).tobytes() for one in outputs]
    told = [
        {
            "name": one["name"],
            "datatype": one["datatype"],
            "shape": one["shape"],
            "parameters": {"binary_data_size": len(data)},
        }
        for one, data in zip(outputs, arrays, strict=True)
    ]
    head = json.dumps(
        {
            "model_name": document["model"],
            "model_version": document["version"],
            "parameters": {"pod": f"backend-{backend}"},
            "outputs": told,
        }
    ).encode()
    body = head + b"".join(arrays)
    return (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n"
        + f"Inference-Header-Content-Length: {len(head)}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        + body
    )


class Server:
    """The listener, its connections and the script."""

    def __init__(self, host: str, golden: Path, log: Path) -> None:
        self._loop = asyncio.get_running_loop()
        self._answers = Answers(golden)
        self._log_path = log
        self._random = random.Random(1)
        self._connections: set[Connection] = set()
        self._acts: list[Act] = []
        self._begins: list[int] = []
        self._held: list[tuple[Connection, int, bytes]] = []  # by a pause: connection, log row, response
        self._ignored: dict[int, tuple[int, int]] = {}  # port -> [from, until) in which its connections are ignored
        self._count = 0
        # t_ns, port, backend, ordinal, count, what was done, when the answer was sent (0: none), whose request
        self._log: list[list[Any]] = []
        self._marks: list[dict[str, Any]] = []
        self._listener: socket.socket | None = None
        self._address = (host, 0)
        self._listen()
        self.done = asyncio.Event()

    @property
    def port(self) -> int:
        """That is listened on."""
        return self._address[1]

    # -- the listening socket -----

    def _listen(self) -> None:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setblocking(False)
        listener.bind(self._address)
        listener.listen(BACKLOG)
        self._address = listener.getsockname()
        self._listener = listener
        self._loop.add_reader(listener.fileno(), self._accept)

    def _accept(self) -> None:
        while self._listener is not None:
            try:
                sock, (_, port) = self._listener.accept()
            except (BlockingIOError, ConnectionError):
                return
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = Connection(sock, port, self._random.randrange(acts.BACKENDS))
            self._connections.add(connection)
            self._loop.add_reader(sock.fileno(), self._readable, connection)

    def _end(self, connection: Connection, *, reset: bool) -> None:
        """The connection is closed, with a RST or a FIN."""
        if connection not in self._connections:
            return
        self._connections.discard(connection)
        self._loop.remove_reader(connection.sock.fileno())
        if reset:
            connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        connection.sock.close()

    # -- the script -----

    def install(self, path: Path) -> None:
        """The acts of the file are followed from now on."""
        self._acts = acts.read(path)
        self._begins = [act.begin_ns for act in self._acts]
        for act in self._acts:
            if act.kind in acts.LISTENER:
                self._at(act.begin_ns, lambda act=act: self._die(act))
                self._at(act.end_ns, lambda act=act: self._live(act))
            if act.kind == acts.PAUSE:
                self._at(act.end_ns, self._release)
            if act.kind == acts.IDLE_CLOSE:
                self._at(act.begin_ns, lambda act=act: self._close_idle(act))

    def _at(self, moment_ns: int, call: Callable[[], None]) -> None:
        """epoll rounds up to a millisecond: the last one is waited for here, for the script must be exact."""

        def exactly() -> None:
            while time.monotonic_ns() < moment_ns:
                pass
            call()

        self._loop.call_at((moment_ns - 1_000_000) / 1e9, exactly)

    def _die(self, act: Act) -> None:
        before = time.monotonic_ns()
        assert self._listener is not None
        self._loop.remove_reader(self._listener.fileno())
        self._listener.close()
        self._listener = None
        ended = 0
        if act.kind != acts.DEAF:
            for connection in list(self._connections):
                self._end(connection, reset=act.kind == acts.DEAD)
                ended += 1
        self._mark("closed", before, ended)

    def _live(self, act: Act) -> None:
        before = time.monotonic_ns()
        self._listen()
        self._mark("listening", before, 0)

    def _mark(self, what: str, before_ns: int, ended: int) -> None:
        self._marks.append({"what": what, "before_ns": before_ns, "after_ns": time.monotonic_ns(), "ended": ended})

    def _release(self) -> None:
        held, self._held = self._held, []
        for connection, row, response in held:
            self._send(connection, row, response)

    def _close_idle(self, act: Act) -> None:
        before = time.monotonic_ns()
        ended = 0
        for connection in list(self._connections):
            if not connection.busy and not connection.data and not _waiting(connection.sock):
                self._end(connection, reset=False)
                ended += 1
        self._mark("idle closed", before, ended)

    def _act(self, now_ns: int) -> Act | None:
        at = bisect.bisect_right(self._begins, now_ns) - 1
        return self._acts[at] if at >= 0 and now_ns < self._acts[at].end_ns else None

    # -- a request -----

    def _readable(self, connection: Connection) -> None:
        now_ns = time.monotonic_ns()
        try:
            data = connection.sock.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._end(connection, reset=False)
            return
        connection.data += data
        while (end := connection.data.find(b"\r\n\r\n")) >= 0:
            length = _LENGTH.search(connection.data, 0, end)
            size = end + 4 + (int(length[1]) if length else 0)
            if len(connection.data) < size:
                return
            request, connection.data = connection.data[:size], connection.data[size:]
            self._serve(connection, now_ns, request, end)

    def _serve(self, connection: Connection, now_ns: int, request: bytes, head_end: int) -> None:
        who = "load"
        if b"\r\nX-Bystander: " in request[: head_end + 2]:
            who = request[:head_end].split(b"\r\nX-Bystander: ")[1].split(b"\r\n")[0].decode()
        else:
            self._count += 1
        act = self._act(now_ns)
        ordinal, connection.ordinal = connection.ordinal, connection.ordinal + 1
        kind = "answer"
        if act is not None and act.kind in acts.REQUEST and act.meets(ordinal, connection.backend, self._count):
            kind = act.kind
            if act.memory_ns:
                self._ignored[connection.port] = (act.end_ns, act.end_ns + act.memory_ns)
        else:
            since_ns, until_ns = self._ignored.get(connection.port, (0, 0))
            if since_ns <= now_ns < until_ns:
                kind = acts.IGNORE
        self._log.append([now_ns, connection.port, connection.backend, ordinal, self._count, kind, 0, who])
        row = len(self._log) - 1
        response = _READY if request.startswith(b"GET ") else self._answers.of(kind, connection.backend, request)
        self._misbehave(kind, act, connection, row, response)

    def _misbehave(self, kind: str, act: Act | None, connection: Connection, row: int, response: bytes) -> None:
        connection.busy = True
        if kind in (acts.SWALLOW, acts.IGNORE):
            self._loop.call_later(FORGET_S, lambda: self._end(connection, reset=False))
        elif kind == acts.PAUSE:
            self._held.append((connection, row, response))
        elif kind == acts.SLOW:
            assert act is not None
            due = (self._log[row][0] + act.delay_ns) / 1e9
            self._loop.call_at(due, lambda: self._send(connection, row, response))
        elif kind in (acts.RESET, acts.CLOSE):
            self._end(connection, reset=kind == acts.RESET)
        elif kind == acts.STATUS:
            self._send(connection, row, _UNAVAILABLE)
        elif kind in (acts.MID_RESET, acts.MID_CLOSE):
            self._send(connection, row, response[: len(response) * 2 // 3])
            self._end(connection, reset=kind == acts.MID_RESET)
        elif kind == acts.DRIP:
            self._drip(connection, row, response, 40)
        else:
            self._send(connection, row, response)

    def _drip(self, connection: Connection, row: int, response: bytes, sent: int) -> None:
        if connection not in self._connections or sent >= len(response) - 1:
            self._end(connection, reset=True)
            return
        self._send(connection, row, response[sent - 1 : sent] if sent > 40 else response[:40])
        self._loop.call_later(0.02, lambda: self._drip(connection, row, response, sent + 1))

    def _send(self, connection: Connection, row: int, data: bytes) -> None:
        if connection not in self._connections:
            return
        connection.busy = False
        try:
            connection.sock.send(data)
        except OSError:
            self._end(connection, reset=False)
            return
        self._log[row][6] = time.monotonic_ns()

    # -- the end -----

    def finish(self) -> None:
        """The log is written."""
        for connection in list(self._connections):
            self._end(connection, reset=True)
        text = json.dumps({"scheduler": os.sched_getscheduler(0), "marks": self._marks, "requests": self._log})
        self._log_path.write_text(text, encoding="utf-8")
        self.done.set()


def _waiting(sock: socket.socket) -> bool:
    """Whether something has come that was not read yet."""
    try:
        return bool(sock.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return False
    except OSError:
        return True


async def serve(host: str, golden: Path, log: Path) -> None:
    """From the first line to the log."""
    server = Server(host, golden, log)
    loop = asyncio.get_running_loop()

    def hear() -> None:
        line = sys.stdin.readline().strip()
        if line:
            server.install(Path(line))
            print(json.dumps({"installed": line}), flush=True)
        else:
            loop.remove_reader(sys.stdin.fileno())
            server.finish()

    loop.add_reader(sys.stdin.fileno(), hear)
    print(json.dumps({"port": server.port}), flush=True)
    await server.done.wait()


def main() -> None:
    """As the module's text says."""
    host, golden, log = sys.argv[1:]
    try:  # the script is exact where it may go first; the log has the moments wherever it may not
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(2))
    except PermissionError as error:
        print(f"normal scheduling: {error}", file=sys.stderr)
    gc.disable()  # a run is short, and its log holds no cycles
    asyncio.run(serve(host, Path(golden), Path(log)))


if __name__ == "__main__":
    main()
