"""A KServe v2 server that follows a script to the nanosecond of its clock, and logs what it did to each request.

    python -m tests.truth.courses.server HOST PROTOCOL GOLDEN LOG

prints {"port": N} when it listens. On stdin: the path of a file of acts (absolute CLOCK_MONOTONIC ns) installs them;
the end of stdin writes LOG and ends it. Sockets are raw, in one asyncio loop: it must be able to reset, to fall silent
and to break off exactly where it wants to. What is said on them is speaks_http's and speaks_grpc's, what becomes of
them is listener's.
"""

from __future__ import annotations

import asyncio
import bisect
import gc
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from loadtests.config import GRPC, HTTP
from tests.truth.courses import acts, speaks_grpc, speaks_http
from tests.truth.courses.acts import Act
from tests.truth.courses.listener import Connection, Listener
from tests.truth.courses.speech import Asked, Talk

FORGET_S = 1.0  # a swallowed request's connection is ended so long after: later than every deadline of the load
DRIP_S = 0.02  # between two small pieces of an answer
_SPEAKS: dict[str, tuple[Any, Callable[..., Talk]]] = {
    HTTP: (speaks_http.answers, speaks_http.HttpTalk),
    GRPC: (speaks_grpc.answers, speaks_grpc.GrpcTalk),
}


class Server:
    """The script, and every request."""

    def __init__(self, host: str, protocol: str, golden: Path, log: Path) -> None:
        self._loop = asyncio.get_running_loop()
        answers, talk = _SPEAKS[protocol]
        right_and_wrong = answers(golden)
        self._log_path = log
        self._acts: list[Act] = []
        self._begins: list[int] = []
        self._held: list[tuple[Connection, int, Asked]] = []  # by a pause: connection, log row, request
        self._ignored: dict[int, tuple[int, int]] = {}  # port -> [from, until) in which its connections are ignored
        self._count = 0
        # t_ns, port, backend, ordinal, count, what was done, when the answer was sent (0: none), whose request
        self._log: list[list[Any]] = []
        self._listener = Listener(host, lambda backend: talk(right_and_wrong, backend), self._heard)
        self.port = self._listener.port
        self.done = asyncio.Event()

    # -- the script -----

    def install(self, path: Path) -> None:
        """The acts of the file are followed from now on."""
        self._acts = acts.read(path)
        self._begins = [act.begin_ns for act in self._acts]
        for act in self._acts:
            self._listener.follow(act, self._at)
            if act.kind == acts.PAUSE:
                self._at(act.end_ns, self._release)

    def _at(self, moment_ns: int, call: Callable[[], None]) -> None:
        """epoll rounds up to a millisecond: the last one is waited for here, for the script must be exact."""

        def exactly() -> None:
            while time.monotonic_ns() < moment_ns:
                pass
            call()

        self._loop.call_at((moment_ns - 1_000_000) / 1e9, exactly)

    def _release(self) -> None:
        held, self._held = self._held, []
        for connection, row, asked in held:
            self._send(connection, row, asked.answer(acts.PAUSE))

    def _act(self, now_ns: int) -> Act | None:
        at = bisect.bisect_right(self._begins, now_ns) - 1
        return self._acts[at] if at >= 0 and now_ns < self._acts[at].end_ns else None

    # -- a request -----

    def _heard(self, connection: Connection, now_ns: int, data: bytes) -> None:
        asked, reply = connection.talk.hear(data)
        self._listener.say(connection, reply)
        for one in asked:
            self._serve(connection, now_ns, one)

    def _serve(self, connection: Connection, now_ns: int, asked: Asked) -> None:
        if asked.who == "load":
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
        self._log.append([now_ns, connection.port, connection.backend, ordinal, self._count, kind, 0, asked.who])
        self._misbehave(kind, act, connection, len(self._log) - 1, asked)

    def _misbehave(self, kind: str, act: Act | None, connection: Connection, row: int, asked: Asked) -> None:
        connection.busy = True
        if kind in (acts.SWALLOW, acts.IGNORE):
            if connection.talk.serial:
                self._loop.call_later(FORGET_S, lambda: self._listener.end(connection, reset=False))
        elif kind == acts.PAUSE:
            self._held.append((connection, row, asked))
        elif kind == acts.SLOW:
            assert act is not None
            due = (self._log[row][0] + act.delay_ns) / 1e9
            self._loop.call_at(due, lambda: self._send(connection, row, asked.answer(kind)))
        elif kind in (acts.RESET, acts.CLOSE):
            self._listener.end(connection, reset=kind == acts.RESET)
        elif kind == acts.STATUS:
            self._send(connection, row, asked.unavailable())
        elif kind in (acts.MID_RESET, acts.MID_CLOSE):
            self._send(connection, row, asked.half())
            self._listener.end(connection, reset=kind == acts.MID_RESET)
        elif kind == acts.DRIP:
            self._drip(connection, row, asked.drops())
        else:
            self._send(connection, row, asked.answer(kind))

    def _drip(self, connection: Connection, row: int, drops: Iterator[bytes]) -> None:
        if self._send(connection, row, next(drops, b"")):
            self._loop.call_later(DRIP_S, lambda: self._drip(connection, row, drops))
        elif connection.talk.serial:
            self._listener.end(connection, reset=True)

    def _send(self, connection: Connection, row: int, data: bytes) -> bool:
        """The answer to a request, or a part of it. False: there is none, or nobody wants it any more."""
        said = self._listener.say(connection, data)
        if said:
            connection.busy = False
            self._log[row][6] = time.monotonic_ns()
        return said

    # -- the end -----

    def finish(self) -> None:
        """The log is written."""
        self._listener.close()
        told = {"scheduler": os.sched_getscheduler(0), "marks": self._listener.marks, "requests": self._log}
        self._log_path.write_text(json.dumps(told), encoding="utf-8")
        self.done.set()


async def serve(host: str, protocol: str, golden: Path, log: Path) -> None:
    """From the first line to the log."""
    server = Server(host, protocol, golden, log)
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
    host, protocol, golden, log = sys.argv[1:]
    try:  # the script is exact where it may go first; the log has the moments wherever it may not
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(2))
    except PermissionError as error:
        print(f"normal scheduling: {error}", file=sys.stderr)
    gc.disable()  # a run is short, and its log holds no cycles
    asyncio.run(serve(host, protocol, Path(golden), Path(log)))


if __name__ == "__main__":
    main()
