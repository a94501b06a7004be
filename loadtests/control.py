"""One load process from its first line to its last: connect, wait for the start, offer, stop, close the books.

The protocol (JSON lines) is the harness' side of it: `start_ns` and `stop_ns` come in on stdin; `ready`, `start`,
`live` (every 100 ms), `done` and `error` go out on stdout. The end of stdin means that the harness is gone: no more
arrivals, what is in flight ends by its own deadline, the file is closed. SIGTERM means the same. SIGINT is the
harness' business: the load must go on while it undoes the fault.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import resource
import signal
import stat
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
import gevent.os
from gevent.event import Event
from gevent.threadpool import ThreadPool
from locust.env import Environment
from locust.event import Events

from loadtests import golden, timer
from loadtests.arrivals import arrivals
from loadtests.config import GRPC, LoadConfig
from loadtests.dispatcher import Dispatcher, Handover
from loadtests.recorder import FLUSH_EVERY_S, Recorder
from loadtests.users.base import Client, Desk, OpenLoopUser

log = logging.getLogger("loadtests")

CONNECT_LIMIT_S = 5.0  # without another user being connected
# In-flight requests end by their own deadline; one that does not is a fault of ours, found by the count at the end.
DRAIN_MARGIN_S = 2.0
_OTHER_DESCRIPTORS = 64


class LoadError(Exception):
    """The load cannot be offered, or its books do not balance."""


class Lines:
    """JSON lines out on stdout. A reader that does not read never stops the load: live lines are dropped instead."""

    def __init__(self) -> None:
        self._fd = sys.stdout.fileno()
        mode = os.fstat(self._fd).st_mode
        self._pipe = stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
        if self._pipe:
            os.set_blocking(self._fd, False)

    def say(self, line: dict[str, Any]) -> None:
        """The line is with the reader, or in the pipe, after this."""
        data = json.dumps(line).encode() + b"\n"
        try:
            while data:
                data = data[gevent.os.nb_write(self._fd, data) if self._pipe else os.write(self._fd, data) :]
        except BrokenPipeError:
            log.warning("nobody reads stdout any more")

    def live(self, line: dict[str, Any]) -> None:
        """Says the line if there is room for it. Lines are shorter than PIPE_BUF: whole or not at all."""
        try:
            os.write(self._fd, json.dumps(line).encode() + b"\n")
        except (BlockingIOError, BrokenPipeError):
            return


class Commands:
    """What the harness says on stdin, heard by a greenlet."""

    def __init__(self) -> None:
        self.start_ns: int | None = None
        self.started = Event()  # set by a start, and by the end of stdin
        self.gone = False
        self._stop_ns: int | None = None
        self._on_stop: Callable[[int], None] | None = None

    def listen(self) -> None:
        """Returns when stdin ends."""
        rest = b""
        fd = sys.stdin.fileno()
        os.set_blocking(fd, False)
        while data := gevent.os.nb_read(fd, 4096):
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                if line.strip():
                    self._obey(line)
        self.leave()

    def leave(self) -> None:
        """Nobody wants the load any more."""
        self.gone = True
        self.stop(time.monotonic_ns())
        self.started.set()

    def when_stopped(self, call: Callable[[int], None]) -> None:
        """`call` gets every stop moment, an earlier one at once."""
        self._on_stop = call
        if self._stop_ns is not None:
            call(self._stop_ns)

    def stop(self, stop_ns: int) -> None:
        """No arrival from then on."""
        self._stop_ns = stop_ns
        if self._on_stop is not None:
            self._on_stop(stop_ns)

    def _obey(self, line: bytes) -> None:
        try:
            command = json.loads(line)
            name, moment_ns = next(iter(command.items()))
            moment_ns = int(moment_ns)
        except (ValueError, TypeError, AttributeError, StopIteration):
            raise LoadError(f"not understood on stdin: {line[:100]!r}") from None
        if name == "start_ns" and self.start_ns is None:
            self.start_ns = moment_ns
            self.started.set()
        elif name == "stop_ns":
            self.stop(moment_ns)
        else:
            raise LoadError(f"not understood on stdin: {line[:100]!r}")


class Load:
    """The parts of one load process, and the first error that ends it."""

    def __init__(self, config: LoadConfig, lines: Lines) -> None:
        self.config = config
        self.lines = lines
        self.cases = golden.read(Path(config.golden))
        self.commands = Commands()
        self.failure: BaseException | None = None
        self._ticking = True
        self._main = gevent.getcurrent()
        # A write can take as long as the disk likes (a journal commit of others is enough): it has a thread of its own.
        self._writing = ThreadPool(1)
        path = Path(config.out) / f"requests-{config.worker}.arrows"
        recorder = Recorder(path, lambda fd, data: int(self._writing.apply(os.write, (fd, data))))
        events = Events()
        self.desk = Desk(config, recorder, client_factory(config, self.cases), events.request)
        user = type("KServeUser", (OpenLoopUser,), {"desk": self.desk, "host": f"http://{config.target}"})
        self.environment = Environment(user_classes=[user], events=events, reset_stats=False)
        self.environment.events.user_error.add_listener(self._user_failed)
        self.runner = self.environment.create_local_runner()

    def connect(self) -> None:
        """Every user is connected. Raises LoadError when none more is within CONNECT_LIMIT_S."""
        self.guard(self.commands.listen)
        gevent.signal_handler(signal.SIGTERM, self.commands.leave)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self.runner.start(self.config.users, spawn_rate=self.config.users)
        connected, since = 0, time.monotonic()
        while not self.desk.all_connected.wait(0.1):
            if self.commands.gone:
                return
            if self.desk.connected > connected:
                connected, since = self.desk.connected, time.monotonic()
            if time.monotonic() - since > CONNECT_LIMIT_S:
                why = self.desk.last_failure
                seen = f": {why.outcome} ({why.error})" if why is not None else ""
                raise LoadError(
                    f"{connected} of {self.config.users} users connected to {self.config.target}, "
                    f"and none more in {CONNECT_LIMIT_S:.0f} s{seen}"
                )

    def keep_time(self) -> str:
        """This thread wakes exactly, and first where that is permitted; returns the scheduler's name."""
        timer.exact_timers()
        # The writing thread too: were it put off by others while it holds Python's lock, so were the load.
        self._writing.apply(timer.real_time)
        return timer.real_time()

    def offer(self) -> None:
        """From the start command to the last record."""
        self.commands.started.wait()
        if self.commands.start_ns is None:
            log.warning("stdin ended before a start: nothing was sent")
            self.desk.recorder.close()
            return
        start_ns = self.commands.start_ns
        schedule = arrivals(
            kind=self.config.arrivals,
            rate_per_s=self.config.rate_per_s,
            curve=self.config.curve,
            seed=self.config.seed,
            kept_share=self.config.kept_share,
            cases=len(self.cases),
            worker=self.config.worker,
            workers=self.config.workers,
        )
        handover = self.desk.open(start_ns)
        dispatcher = Dispatcher(
            schedule, start_ns, start_ns + self.config.max_duration_ns, handover, self.desk.not_sent
        )
        self.lines.say({"state": "start", "t_ns": time.monotonic_ns(), "start_ns": start_ns})
        ticker = self.guard(lambda: self._tick(dispatcher, handover))
        self.commands.when_stopped(dispatcher.stop)
        dispatcher.run()
        self._drain(handover, dispatcher.arrivals)
        self._ticking = False
        ticker.join()
        self.desk.recorder.close()
        records = self.desk.recorder.written
        if records != dispatcher.arrivals:
            raise LoadError(f"{dispatcher.arrivals} arrivals were due, but {records} are on record")
        total = self.environment.stats.total
        log.info("Locust counted %d requests, %d of them failed", total.num_requests, total.num_failures)
        self.lines.say(
            {
                "state": "done",
                "t_ns": time.monotonic_ns(),
                "start_ns": start_ns,
                "stop_ns": dispatcher.stop_ns,
                "arrivals": dispatcher.arrivals,
                "records": records,
            }
        )

    def guard(self, work: Callable[[], None]) -> gevent.Greenlet:
        """Runs `work` beside; an exception in it ends the load."""
        greenlet = gevent.spawn(work)
        greenlet.link_exception(lambda failed: self._fail(failed.exception))
        return greenlet

    def _drain(self, handover: Handover, arrivals: int) -> None:
        deadline = time.monotonic() + self.config.timeout_ns / 1e9 + DRAIN_MARGIN_S
        while self.desk.counts.records < arrivals and time.monotonic() < deadline:
            gevent.sleep(0.01)
            handover.expire()
        handover.give_up()

    def _tick(self, dispatcher: Dispatcher, handover: Handover) -> None:
        """Every 100 ms, without drift: rows to the file, late arrivals to `not_sent`, a live line."""
        due = time.monotonic()
        while self._ticking:
            due += FLUSH_EVERY_S
            gevent.sleep(max(0.0, due - time.monotonic()))
            handover.expire()
            line = {"state": "live", "t_ns": time.monotonic_ns(), "scheduled": dispatcher.arrivals}
            self.lines.live(line | self.desk.counts.look())
            self.desk.recorder.flush()

    def _user_failed(self, user_instance: Any, exception: BaseException, tb: Any) -> None:
        log.error("a user failed: %s", "".join(traceback.format_exception(exception)))
        self._fail(exception)

    def _fail(self, error: BaseException) -> None:
        if self.failure is None:
            self.failure = error
            gevent.get_hub().loop.run_callback(self._main.throw, LoadError(f"{type(error).__name__}: {error}"))


def client_factory(config: LoadConfig, cases: tuple[golden.Case, ...]) -> Callable[[], Client]:
    """Makes clients of the chosen protocol; only that one is imported."""
    if config.protocol == GRPC:
        from loadtests.users import kserve_grpc

        return kserve_grpc.client_factory(config, cases)
    if config.user == "raw":
        from loadtests.users import raw_http

        return raw_http.client_factory(config, cases)
    from loadtests.users import kserve_http

    return kserve_http.client_factory(config, cases)


def run(config: LoadConfig, lines: Lines) -> int:
    """The exit code of the process: 0, or 1 after an error line."""
    try:
        _more_descriptors(config.users, 2 if config.hedge_after_ns is None else 3)
        load = Load(config, lines)
        load.connect()
        scheduler = load.keep_time()
        # What exists now stays: never look at it again. What comes is collected by the dispatcher, in gaps.
        gc.collect()
        gc.freeze()
        gc.disable()
        lines.say(
            {
                "state": "ready",
                "t_ns": time.monotonic_ns(),
                "users": config.users,
                "scheduler": scheduler,
                "gc": "frozen; collected in gaps between arrivals",
            }
        )
        load.offer()
    except (LoadError, golden.GoldenError, OSError) as error:
        log.exception("the load failed")
        lines.say({"state": "error", "detail": str(error)})
        return 1
    load.runner.quit()
    return 0


def _more_descriptors(users: int, each: int) -> None:
    """So many connections of each user must not meet the soft limit, which is 1024 on most systems."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = each * users + _OTHER_DESCRIPTORS
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise LoadError(f"{users} users need {needed} file descriptors, but the hard limit is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
