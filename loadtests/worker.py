"""`python -m loadtests --worker HOST:PORT`: one of several workers of a load, on any machine that reaches the master.

Everything it needs comes from the master over Locust's own RPC: its share of users and arrivals, the golden answers,
the start. Everything that it records goes back the same way; it writes no files. Its times are its own clock's until it
knows how far the harness' is ahead: from the start on, all that leaves it is on the harness' clock.
"""

from __future__ import annotations

import argparse
import logging
import os
import socket
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
from gevent.event import Event
from locust.env import Environment
from locust.runners import WorkerRunner

from harness.history import clock
from loadtests import golden
from loadtests.config import GRPC, ConfigError, LoadConfig
from loadtests.control import Load, locust_environment
from loadtests.recorder import Recorder
from loadtests.stdio import Commands, LoadError
from loadtests.together import CLOCK, COMMAND, CONFIG, LINE, ROWS, TICK_EVERY_S, TICK_LIMIT_S, write_files

log = logging.getLogger("loadtests")

JOIN_LIMIT_S = 300.0  # for the master to listen, and to have all its workers
# Lines that carry moments, on this process' clock when they are made.
_MOMENTS = ("t_ns", "start_ns", "stop_ns")


class _Runner(WorkerRunner):  # type: ignore[misc]  # locust is untyped
    """Locust's worker, which says how many users it was given before they are there."""

    on_share: Callable[[int], None] | None = None

    def start_worker(self, user_classes_count: dict[str, int], **more: Any) -> None:
        """Once: users are never added or taken away while the load is on."""
        if self.on_share is None:
            return
        self.on_share(sum(user_classes_count.values()))
        self.on_share = None
        super().start_worker(user_classes_count, **more)


class Worker:
    """A load that is told by a master what to do, and tells it everything."""

    def __init__(self, host: str, port: int) -> None:
        self.commands = Commands()
        self.shift_ns = 0  # so far is the harness' clock ahead of ours: 0 until the start tells it
        self._config: dict[str, Any] | None = None
        self._configured = Event()
        self._shared = Event()
        self._exchanges: list[clock.Exchange] = []
        self._heard_s = time.monotonic()
        self._sent = 0  # bytes of rows
        self._master_clock = ""
        self._offset: clock.Offset | None = None
        self.environment: Environment = locust_environment()
        # Locust would read its own configuration files and environment variables for these.
        self.environment.parsed_options = argparse.Namespace(web_base_path="")
        with gevent.Timeout(JOIN_LIMIT_S, LoadError(f"no master at {host}:{port} within {JOIN_LIMIT_S:.0f} s")):
            self.runner = _Runner(self.environment, host, port)
        self.environment.runner = self.runner
        for kind, hear in ((CONFIG, self._on_config), (COMMAND, self._on_command), (CLOCK, self._on_clock)):
            self.runner.register_message(kind, hear)

    # -- what goes out: as `Told` has it --

    def say(self, line: dict[str, Any]) -> None:
        """On the harness' clock, once that is known."""
        shifted = {name: line[name] + self.shift_ns for name in _MOMENTS if line.get(name) is not None}
        self.runner.send_message(LINE, {**line, **shifted})

    live = say

    def _rows(self, _: int, data: memoryview) -> int:
        """A chunk of the Arrow stream is on its way to the master; `at` shows it when one is lost."""
        self.runner.send_message(ROWS, {"at": self._sent, "data": bytes(data)})
        self._sent += len(data)
        return len(data)

    # -- the course --

    def work(self) -> None:
        """From joining to the last record. Raises LoadError and GoldenError."""
        self.runner.send_message(LINE, {"state": "joined", "host": _place(), "pid": os.getpid()})
        self._configured.wait()
        if self._config is None:
            return
        with tempfile.TemporaryDirectory(prefix="bulletproof-load-") as folder:
            self._offer(self._received(self._config, Path(folder)))

    def _offer(self, config: LoadConfig) -> None:
        recorder = Recorder(None, self._rows)
        load = Load(config, self, self.commands, self.environment, recorder)
        load.guard(self._keep_in_touch)
        self.runner.on_share = lambda users: self._take_share(load, users)
        load.connect(self._wait_for_users)
        ready = load.keep_time()
        self._offset = self._measure("before")
        self.say({"state": "ready", "t_ns": time.monotonic_ns(), **ready})
        self.commands.started.wait()
        recorder.shift_ns = self.shift_ns
        load.offer()
        self._measure("after")
        self.say({"state": "closed", "bytes": self._sent})
        gevent.sleep(0.2)  # what was sent leaves before the process does

    def _received(self, sent: dict[str, Any], folder: Path) -> LoadConfig:
        """The configuration, with the files that it names as files of this machine."""
        self._master_clock = sent["clock"]
        config = LoadConfig.parse({**sent["config"], **write_files(sent["files"], folder)})
        if config.protocol == GRPC:
            import grpc.experimental.gevent

            grpc.experimental.gevent.init_gevent()
        return config

    def _wait_for_users(self) -> None:
        """The master lets Locust spawn the users once all workers are configured."""
        self.runner.send_message(LINE, {"state": "configured"})
        while not self._shared.wait(0.1):
            if self.commands.gone:
                return

    def _take_share(self, load: Load, users: int) -> None:
        load.desk.expected = users
        self._shared.set()

    def _measure(self, moment: str) -> clock.Offset:
        """How far the master's clock is ahead of this one, for the record and for the shift."""
        self._exchanges = []
        deadline = time.monotonic() + TICK_LIMIT_S
        while len(self._exchanges) < clock.EXCHANGES:
            if time.monotonic() > deadline or self.commands.gone:
                raise LoadError(
                    f"the master answered {len(self._exchanges)} of {clock.EXCHANGES} questions of its time"
                )
            self.runner.send_message(CLOCK, {"asked_ns": time.monotonic_ns()})
            gevent.sleep(clock.EXCHANGE_EVERY_S)
        same = bool(self._master_clock) and self._master_clock == clock.identity()
        offset = clock.estimate(self._exchanges, same=same)
        line = {"state": "clock", "moment": moment, "ahead_ns": offset.ahead_ns, "bound_ns": offset.bound_ns}
        self.runner.send_message(LINE, line)
        return offset

    def _keep_in_touch(self) -> None:
        """The master hears of us, we of the master; a master that is gone wants no load."""
        while not self.commands.gone:
            gevent.sleep(TICK_EVERY_S)
            self.runner.send_message(CLOCK, {"asked_ns": time.monotonic_ns()})
            if time.monotonic() - self._heard_s > TICK_LIMIT_S:
                log.error("the master has not answered for %.0f s: the load ends", TICK_LIMIT_S)
                self.commands.leave()

    # -- what comes in; Locust logs an exception here and goes on, so there must be none --

    def _on_config(self, msg: Any, **_: Any) -> None:
        self._config = msg.data
        self._configured.set()

    def _on_command(self, msg: Any, **_: Any) -> None:
        """start, stop or leave; moments are on the harness' clock."""
        if msg.data["do"] == "leave":
            self.commands.leave()
            self._configured.set()
        elif msg.data["do"] == "stop":
            self.commands.stop(msg.data["stop_ns"] - self.shift_ns)
        elif self._offset is not None:
            # Here, not where the start is waited for: a stop may come in the same breath, and is on the same clock.
            self.shift_ns = self._offset.ahead_ns + int(msg.data["ahead_ns"])
            self.commands.start(msg.data["start_ns"] - self.shift_ns)

    def _on_clock(self, msg: Any, **_: Any) -> None:
        heard_ns = time.monotonic_ns()
        self._heard_s = time.monotonic()
        self._exchanges.append(clock.Exchange(msg.data["asked_ns"], msg.data["told_ns"], heard_ns))


def _place() -> str:
    """The machine's name; of a pod its own and its node's, where its manifest tells it."""
    pod, node = os.environ.get("POD_NAME"), os.environ.get("NODE_NAME")
    return f"{pod} on {node}" if pod and node else socket.gethostname()


def work(host: str, port: int) -> int:
    """The exit code: 0 when every arrival of its share is with the master, 1 when not."""
    try:
        worker = Worker(host, port)
    except (LoadError, ConnectionError) as error:
        log.error("%s", error)
        return 1
    try:
        worker.work()
    except (LoadError, ConfigError, golden.GoldenError, OSError) as error:
        log.exception("the load failed")
        worker.say({"state": "error", "detail": str(error)})
        gevent.sleep(0.2)
        return 1
    return 0
