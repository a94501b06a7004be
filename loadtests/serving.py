"""`python -m loadtests --serve HOST:PORT`: a master that is told over HTTP what stdin and CONFIG.json tell another one.

For a master in a cluster, to which the harness speaks through the API server's pod proxy: short requests that survive a
hiccup of the way, which a stream would not. Whatever the harness has not got it asks for again: lines by their number,
what workers record by its place in the file. A harness that does not ask for a while is gone, and wants no load.

| request | answer |
|---|---|
| `PUT /TOKEN/load` {config, files, join_s} | {}: the load is begun; once |
| `PUT /TOKEN/say` {start_ns, ahead_ns} or {stop_ns} | {}: as on stdin; `ahead_ns` is the harness' clock minus ours |
| `GET /TOKEN/clock` | {told_ns, clock}: this clock's time, and which clock it is |
| `GET /TOKEN/poll?line=N&at=A,B,...` | {lines, live, chunks, ended}: lines from N on, files from A, B, ... on |
| `PUT /TOKEN/leave` | {}: what was to be had was had, this process ends |
"""

from __future__ import annotations

import base64
import json
import logging
import signal
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import gevent
from gevent.event import Event
from gevent.pywsgi import WSGIServer

from harness.history import clock
from loadtests import golden
from loadtests.config import ConfigError, LoadConfig
from loadtests.master import Master
from loadtests.recorder import file_of
from loadtests.stdio import Commands, LoadError
from loadtests.together import write_files

log = logging.getLogger("loadtests")

FIRST_WORD_LIMIT_S = 300.0  # of the harness, from when this process listens
SILENCE_LIMIT_S = 15.0  # of the harness, later
CHUNK_BYTES = 512 * 1024

Start = Callable[[str, list[tuple[str, str]]], Any]


class Kept:
    """What the load says, until the harness asks. Lines are numbered; of live ones only the sum is kept."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []
        self._live: dict[str, Any] | None = None

    def say(self, line: dict[str, Any]) -> None:
        """It is there for the next question."""
        self.lines.append(line)

    def live(self, line: dict[str, Any]) -> None:
        """Takes the place of the last one; what ended since the last question adds up."""
        if self._live is not None:
            before = self._live["recent"]
            line = {**line, "recent": {name: count + before[name] for name, count in line["recent"].items()}}
        self._live = line

    def take_live(self) -> dict[str, Any] | None:
        """The last live line, once."""
        line, self._live = self._live, None
        return line


class Service:
    """One load over HTTP."""

    def __init__(self, token: str, listen: tuple[str, int]) -> None:
        self.token = token
        self.listen = listen
        self.kept = Kept()
        self.commands = Commands()
        self.ended = Event()  # the load has, and all lines are there
        self.left = Event()
        self._folder = Path(tempfile.mkdtemp(prefix="bulletproof-load-"))
        self._config: LoadConfig | None = None
        self._master: Master | None = None
        self._asked_s = time.monotonic() + FIRST_WORD_LIMIT_S - SILENCE_LIMIT_S

    def run(self) -> int:
        """Until the harness has everything, or is gone. The exit code: 0 when the load ended well."""
        gevent.signal_handler(signal.SIGTERM, self._leave)
        while not self.left.wait(0.2):
            if time.monotonic() - self._asked_s > SILENCE_LIMIT_S:
                log.error("nobody has asked for %.0f s: the load ends", SILENCE_LIMIT_S)
                break
        self.commands.leave()
        if self._config is not None:
            self.ended.wait(self._config.timeout_ns / 1e9 + 10)
        return 0 if any(line["state"] == "done" for line in self.kept.lines) else 1

    def _leave(self) -> None:
        self.left.set()

    def __call__(self, environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        """WSGI."""
        told = environ["REQUEST_METHOD"], environ["PATH_INFO"].removeprefix(f"/{self.token}")
        answer = self._answers.get(told) if environ["PATH_INFO"].startswith(f"/{self.token}/") else None
        status, body = "404 Not Found", {"error": "not here"}
        if answer is not None:
            self._asked_s = time.monotonic()
            try:
                status, body = "200 OK", answer(self, environ)
            except (LoadError, ConfigError, OSError, ValueError, KeyError) as error:
                status, body = "400 Bad Request", {"error": f"{type(error).__name__}: {error}"}
        data = json.dumps(body).encode()
        start(status, [("Content-Type", "application/json"), ("Content-Length", str(len(data)))])
        return [data]

    def _load(self, environ: dict[str, Any]) -> dict[str, Any]:
        if self._config is not None:
            raise LoadError("a load was begun already")
        asked = json.loads(environ["wsgi.input"].read())
        files = write_files(asked["files"], self._folder)
        self._config = replace(LoadConfig.parse({**asked["config"], **files}), out=str(self._folder))
        gevent.spawn(self._lead, self._config, float(asked["join_s"]))
        return {}

    def _lead(self, config: LoadConfig, join_s: float) -> None:
        try:
            self._master = Master(config, self.kept, self.commands, self.listen)
            try:
                self._master.run(join_s)
            finally:
                self._master.close()
        except (LoadError, golden.GoldenError, OSError) as error:
            log.exception("the load failed")
            self.kept.say({"state": "error", "detail": str(error)})
        except (Exception, SystemExit) as error:
            log.exception("the load failed")
            self.kept.say({"state": "error", "detail": f"{type(error).__name__}: {error}"})
        finally:
            self.ended.set()

    def _say(self, environ: dict[str, Any]) -> dict[str, Any]:
        command = json.loads(environ["wsgi.input"].read())
        if "ahead_ns" in command and self._master is not None:
            self._master.ahead_ns = int(command.pop("ahead_ns"))
        self.commands.obey(json.dumps(command).encode())
        return {}

    def _clock(self, environ: dict[str, Any]) -> dict[str, Any]:
        return {"told_ns": time.monotonic_ns(), "clock": clock.identity()}

    def _poll(self, environ: dict[str, Any]) -> dict[str, Any]:
        asked = parse_qs(environ["QUERY_STRING"])
        # Looked at first: once it ended, what follows is all that there is.
        ended = self.ended.is_set()
        lines = self.kept.lines[int(asked["line"][0]) :]
        places = [int(place) for place in asked.get("at", [""])[0].split(",") if place]
        chunks = [base64.b64encode(self._chunk(worker, place)).decode() for worker, place in enumerate(places)]
        return {"lines": lines, "live": self.kept.take_live(), "chunks": chunks, "ended": ended}

    def _chunk(self, worker: int, place: int) -> bytes:
        path = file_of(self._folder, worker)
        if not path.exists():
            return b""
        with path.open("rb") as file:
            file.seek(place)
            return file.read(CHUNK_BYTES)

    def _say_leave(self, environ: dict[str, Any]) -> dict[str, Any]:
        self.left.set()
        return {}

    _answers: dict[tuple[str, str], Callable[[Service, dict[str, Any]], dict[str, Any]]] = {  # noqa: RUF012
        ("PUT", "/load"): _load,
        ("PUT", "/say"): _say,
        ("PUT", "/leave"): _say_leave,
        ("GET", "/clock"): _clock,
        ("GET", "/poll"): _poll,
    }


def serve(http: tuple[str, int], listen: tuple[str, int], token: str) -> int:
    """Answers the harness at `http`, and workers at `listen`. The exit code."""
    service = Service(token, listen)
    server = WSGIServer(http, service, log=None, error_log=log)
    server.start()
    try:
        return service.run()
    finally:
        server.stop(timeout=1)
