"""`python -m loadtests --master CONFIG.json`: one load, offered by several workers on this machine or on others.

To the harness it is one load process like any other: the same lines in and out, one `ready` when all workers are, live
counts of all of them, `done` when the last has closed its books. The workers are Locust's: its master lets them spawn
the users, and its statistics are of the whole. Arrivals are divided k::n, so the whole has the arrivals of the seed.
A worker that is lost is said at once (`lost`), and the load then never ends well.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import gevent
from locust.runners import MasterRunner

from harness.history import clock
from loadtests.config import LoadConfig
from loadtests.control import locust_environment, show_web_ui
from loadtests.members import Member, merge_live, merge_ready
from loadtests.recorder import FLUSH_EVERY_S, file_of, open_file
from loadtests.stdio import Commands, LoadError, Told
from loadtests.together import CLOCK, COMMAND, CONFIG, LINE, ROWS, TICK_LIMIT_S, read_files

log = logging.getLogger("loadtests")

# Every worker must have heard of the stop before it is due: what one of them has sent after it would be a hole in the
# schedule of the others.
STOP_LEAD_NS = 500_000_000


class _Runner(MasterRunner):  # type: ignore[misc]  # locust is untyped
    """Locust's master, but only the schedule starts or stops users: no web UI does, and no heartbeat that was late."""

    begun = False

    def start(self, user_count: int, spawn_rate: float, wait: bool = False, user_classes: Any = None) -> None:
        """Once."""
        if self.begun:
            log.warning("Locust would have spread the users anew: not done, the schedule is divided already")
            return
        self.begun = True
        super().start(user_count, spawn_rate, wait, user_classes)

    def stop(self, send_stop_to_client: bool = True) -> None:
        """Only with the master itself."""
        if not send_stop_to_client:
            super().stop(send_stop_to_client=False)


class Master:
    """Gathers the workers, has them start together, writes down what they send, and says what becomes of them."""

    def __init__(self, config: LoadConfig, told: Told, commands: Commands, listen: tuple[str, int]) -> None:
        self.config = config
        self.told = told
        self.commands = commands
        self.ahead_ns = 0  # the harness' clock minus this process'
        self.members: dict[str, Member] = {}
        self._failure = ""
        self._children: list[subprocess.Popen[bytes]] = []
        self._recent = {"ok": 0, "bad": 0}
        self.environment = locust_environment()
        self.runner = _Runner(self.environment, *listen)
        self.environment.runner = self.runner
        self.port = int(self.runner.server.port)
        for kind, hear in ((LINE, self._on_line), (ROWS, self._on_rows), (CLOCK, self._on_clock)):
            self.runner.register_message(kind, self._heard(hear))

    # -- the course --

    def spawn(self, host: str) -> None:
        """All the workers are processes of this machine."""
        command = [sys.executable, "-m", "loadtests", "--worker", f"{host}:{self.port}"]
        for _ in range(self.config.workers):
            self._children.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL))

    def run(self, join_s: float) -> None:
        """From the first worker to the last record. Raises LoadError when a worker was lost, or the books are wrong."""
        if not self._await(lambda: len(self.members) == self.config.workers, join_s, "there"):
            return
        for member in self.members.values():
            self.runner.send_message(CONFIG, self._config_of(member), member.name)
        if not self._await(lambda: self._all("configured"), None, "configured"):
            return
        gevent.spawn(self.runner.start, self.config.users, spawn_rate=self.config.users)
        if not self._await(lambda: self._all("ready"), None, "ready"):
            return
        self.told.say({"state": "ready", "t_ns": self._now_ns(), **merge_ready(self.members.values())})
        while not self.commands.started.wait(0.1):
            self._look_after()
            self._stop_if_lost("before the start")
        start_ns = self.commands.start_ns
        if start_ns is None:
            return
        self._command(do="start", start_ns=start_ns, ahead_ns=self.ahead_ns)
        self.told.say({"state": "start", "t_ns": self._now_ns(), "start_ns": start_ns})
        self.commands.when_stopped(self._stop)
        self._tick()
        self._close_books(start_ns)

    def close(self) -> None:
        """Workers have been sent away, and those of this machine have ended."""
        for member in self.members.values():
            if not member.closed:
                self.runner.send_message(COMMAND, {"do": "leave"}, member.name)
        self.runner.quit()
        deadline = time.monotonic() + self.config.timeout_ns / 1e9 + TICK_LIMIT_S
        for child in self._children:
            while child.poll() is None and time.monotonic() < deadline:
                gevent.sleep(0.02)
            if child.poll() is None:
                child.kill()
        for member in self.members.values():
            os.close(member.file)

    # -- steps --

    def _await(self, holds: Callable[[], bool], within_s: float | None, what: str) -> bool:
        """False: nobody wants the load any more."""
        deadline = None if within_s is None else time.monotonic() + within_s
        while not holds() and not self.commands.gone:
            self._look_after()
            self._stop_if_lost(f"before all workers were {what}")
            if deadline is not None and time.monotonic() > deadline:
                there = len(self.members)
                raise LoadError(f"{there} of {self.config.workers} workers joined port {self.port} in {within_s:.0f} s")
            gevent.sleep(0.02)
        return not self.commands.gone

    def _all(self, state: str) -> bool:
        return all(state in member.states for member in self.members.values())

    def _config_of(self, member: Member) -> dict[str, Any]:
        config = {**asdict(self.config), "worker": member.number, "out": "", "web_ui": None}
        return {"config": config, "files": read_files(config), "clock": clock.identity()}

    def _tick(self) -> None:
        """Every 100 ms a line of all workers' counts, until each has closed its books or is lost."""
        due = time.monotonic()
        while not all(member.closed or member.lost for member in self.members.values()):
            due += FLUSH_EVERY_S
            gevent.sleep(max(0.0, due - time.monotonic()))
            self._look_after()
            recent, self._recent = self._recent, {"ok": 0, "bad": 0}
            lives = [member.states["live"] for member in self.members.values() if "live" in member.states]
            self.told.live({"state": "live", "t_ns": self._now_ns(), **merge_live(lives, recent)})

    def _close_books(self, start_ns: int) -> None:
        members = list(self.members.values())
        self._stop_if_lost("while the load was on")
        for member in members:
            if member.states["closed"]["bytes"] != member.at:
                sent = member.states["closed"]["bytes"]
                raise LoadError(f"{member} sent {sent} bytes of requests, and {member.at} came")
        done = [member.states["done"] for member in members if "done" in member.states]
        if len(done) < len(members):
            raise LoadError("a worker ended without having offered its share")
        if len(stops := {line["stop_ns"] for line in done}) > 1:
            late_ms = (max(stops) - min(stops)) / 1e6
            raise LoadError(f"a worker heard of the stop too late: it sent requests for {late_ms:.0f} ms after it")
        self.told.say(
            {
                "state": "done",
                "t_ns": self._now_ns(),
                "start_ns": start_ns,
                "stop_ns": stops.pop(),
                "arrivals": sum(line["arrivals"] for line in done),
                "records": sum(line["records"] for line in done),
            }
        )

    def _stop(self, stop_ns: int) -> None:
        if self.commands.gone:
            self._command(do="leave")
        else:
            self._command(do="stop", stop_ns=max(stop_ns, self._now_ns() + STOP_LEAD_NS))

    def _command(self, **what: Any) -> None:
        for member in self.members.values():
            self.runner.send_message(COMMAND, what, member.name)

    def _look_after(self) -> None:
        """A worker that ended or fell silent is lost."""
        ended = {child.pid: child.returncode for child in self._children if child.poll() is not None}
        known = {member.pid for member in self.members.values()}
        for member in self.members.values():
            if member.closed or member.lost:
                continue
            if member.pid in ended:
                self._lose(member, f"its process ended ({ended[member.pid]})")
            elif time.monotonic() - member.heard_s > TICK_LIMIT_S:
                self._lose(member, f"nothing was heard of it for {TICK_LIMIT_S:.0f} s")
        if not self._failure and (never := set(ended) - known):
            self._failure = f"worker process {never.pop()} ended before it joined"

    def _lose(self, member: Member, why: str) -> None:
        member.lost = why
        self._failure = f"{member} was lost: {why}"
        log.error("%s", self._failure)
        self.told.say({"state": "lost", "t_ns": self._now_ns(), "worker": member.number, "detail": self._failure})

    def _stop_if_lost(self, when: str) -> None:
        if self._failure:
            raise LoadError(f"{self._failure} ({when})")

    def _now_ns(self) -> int:
        return time.monotonic_ns() + self.ahead_ns

    # -- what comes in --

    def _heard(self, hear: Callable[[Any], None]) -> Callable[..., None]:
        """Locust logs an exception of a listener and goes on; here it ends the load."""

        def listener(msg: Any, **_: Any) -> None:
            try:
                hear(msg)
            except Exception as error:
                log.exception("a worker's message")
                self._failure = f"a message of {msg.node_id} could not be taken: {type(error).__name__}: {error}"

        return listener

    def _on_line(self, msg: Any) -> None:
        line = msg.data
        if line["state"] == "joined":
            self._join(msg.node_id, line)
        member = self.members.get(msg.node_id)
        if member is None:
            return
        member.heard_s = time.monotonic()
        member.states[line["state"]] = line
        if line["state"] == "live":
            for name, count in line["recent"].items():
                self._recent[name] += count
        elif line["state"] == "clock":
            host = {"worker": member.number, "host": member.host}
            self.told.say({**line, **host, "t_ns": self._now_ns()})
        elif line["state"] == "error":
            self._lose(member, line["detail"])

    def _join(self, name: str, line: dict[str, Any]) -> None:
        number = len(self.members)
        if number == self.config.workers:
            log.warning("one more worker than wanted came from %s, and was sent away", line["host"])
            self.runner.send_message(COMMAND, {"do": "leave"}, name)
            return
        file = open_file(file_of(Path(self.config.out), number))
        member = Member(number=number, name=name, host=line["host"], pid=line["pid"], file=file)
        self.members[name] = member
        log.info("%s joined", member)

    def _on_rows(self, msg: Any) -> None:
        member = self.members[msg.node_id]
        member.heard_s = time.monotonic()
        if msg.data["at"] != member.at:
            raise LoadError(f"bytes {member.at} to {msg.data['at']} of its requests never came")
        data = memoryview(msg.data["data"])
        while data:
            written = os.write(member.file, data)
            member.at += written
            data = data[written:]

    def _on_clock(self, msg: Any) -> None:
        self.runner.send_message(CLOCK, {**msg.data, "told_ns": time.monotonic_ns()}, msg.node_id)
        if (member := self.members.get(msg.node_id)) is not None:
            member.heard_s = time.monotonic()


def lead(config: LoadConfig, told: Told, listen: tuple[str, int] | None, join_s: float) -> int:
    """The load of all workers, told on stdin. Without `listen` they are processes of this machine. The exit code."""
    host, port = listen or ("127.0.0.1", 0)
    commands = Commands()
    try:
        master = Master(config, told, commands, (host, port))
    except (Exception, SystemExit) as error:  # Locust's own errors have no common class; it exits where a port is taken
        log.exception("the master cannot listen")
        told.say({"state": "error", "detail": f"cannot listen at {host}:{port}: {error}"})
        return 1
    try:
        gevent.spawn(commands.listen)
        if listen is None:
            master.spawn(host)
        show_web_ui(config, master.environment, told)
        master.run(join_s)
    except (LoadError, OSError) as error:
        log.exception("the load failed")
        told.say({"state": "error", "detail": str(error)})
        return 1
    finally:
        master.close()
    return 0
