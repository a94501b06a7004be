"""One worker's load from its first line to its last: connect, wait for the start, offer, stop, close the books.

It works alone, told by the harness on stdin (`run` below), or as one of several, told by a master (`worker.py`).
SIGTERM means that the load is not wanted any more. SIGINT is the harness' business: the load must go on while it undoes
the fault.
"""

from __future__ import annotations

import gc
import importlib
import logging
import os
import resource
import signal
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import gevent
from gevent.threadpool import ThreadPool
from locust.env import Environment
from locust.event import Events

from harness.history import trace
from loadtests import connection, golden, timer
from loadtests.arrivals import arrivals
from loadtests.config import GRPC, LoadConfig
from loadtests.dispatcher import Dispatcher, Handover
from loadtests.recorder import FLUSH_EVERY_S, Recorder, file_of
from loadtests.stdio import Commands, Lines, LoadError, Told
from loadtests.users.base import Client, Desk, OpenLoopUser

log = logging.getLogger("loadtests")

CONNECT_LIMIT_S = 5.0  # without another user being connected
# In-flight requests end by their own deadline; one that does not is a fault of ours, found by the count at the end.
DRAIN_MARGIN_S = 2.0
_OTHER_DESCRIPTORS = 64


def locust_environment() -> Environment:
    """Locust's, with the one class of users; `Load` gives it its desk."""
    users = type("KServeUser", (OpenLoopUser,), {})
    return Environment(user_classes=[users], events=Events(), reset_stats=False)


class Load:
    """The parts of one load process, and the first error that ends it."""

    def __init__(
        self, config: LoadConfig, told: Told, commands: Commands, environment: Environment, recorder: Recorder
    ) -> None:
        self.config = config
        self.told = told
        self.commands = commands
        self.environment = environment
        self.cases = golden.read(Path(config.golden))
        self.replay = _replay(config)
        self.failure: BaseException | None = None
        self._ticking = True
        self._main = gevent.getcurrent()
        _more_descriptors(config)
        self.desk = Desk(config, recorder, client_factory(config, self.cases), environment.events.request)
        (user,) = environment.user_classes
        user.desk, user.host = self.desk, f"http://{config.target}"
        environment.events.user_error.add_listener(self._user_failed)

    def connect(self, spawn: Callable[[], None]) -> None:
        """Every user is connected, once `spawn` has made them. Raises LoadError when none more is for some seconds."""
        gevent.signal_handler(signal.SIGTERM, self.commands.leave)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        spawn()
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
                    f"{connected} of {self.desk.expected} users connected to {self.config.target}, "
                    f"and none more in {CONNECT_LIMIT_S:.0f} s{seen}"
                )

    def keep_time(self) -> dict[str, Any]:
        """This thread wakes exactly, and first where that is permitted; returns what the ready line says of that."""
        timer.exact_timers()
        scheduler = timer.real_time()
        # What exists now stays: never look at it again. What comes is collected by the dispatcher, in gaps.
        gc.collect()
        gc.freeze()
        gc.disable()
        return {
            "users": self.desk.connected,
            "scheduler": scheduler,
            "gc": "frozen; collected in gaps between arrivals",
        }

    def offer(self) -> None:
        """From the start command to the last record."""
        self.commands.started.wait()
        if self.commands.start_ns is None:
            log.warning("not wanted any more before the start: nothing was sent")
            self.desk.recorder.close()
            return
        start_ns = self.commands.start_ns
        schedule = arrivals(
            kind=self.config.arrivals,
            rate_per_s=self.config.rate_per_s,
            curve=self.config.curve,
            replay=self.replay,
            by_size=golden.by_size(self.cases),
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
        self.told.say({"state": "start", "t_ns": time.monotonic_ns(), "start_ns": start_ns})
        ticker = self.guard(lambda: self._tick(dispatcher, handover))
        self.commands.when_stopped(dispatcher.stop)
        connection.before_answers = dispatcher.hand_out
        dispatcher.run()
        self.commands.when_stopped(lambda _: None)
        self._drain(handover, dispatcher.arrivals)
        self._ticking = False
        ticker.join()
        self.desk.recorder.close()
        records = self.desk.recorder.written
        if records != dispatcher.arrivals:
            raise LoadError(f"{dispatcher.arrivals} arrivals were due, but {records} are on record")
        total = self.environment.stats.total
        log.info("Locust counted %d requests, %d of them failed", total.num_requests, total.num_failures)
        self.told.say(
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
            self.told.live(line | self.desk.counts.look())
            self.desk.recorder.flush()

    def _user_failed(self, user_instance: Any, exception: BaseException, tb: Any) -> None:
        log.error("a user failed: %s", "".join(traceback.format_exception(exception)))
        self._fail(exception)

    def _fail(self, error: BaseException) -> None:
        if self.failure is None:
            self.failure = error
            gevent.get_hub().loop.run_callback(self._main.throw, LoadError(f"{type(error).__name__}: {error}"))


def _replay(config: LoadConfig) -> trace.Replay | None:
    if config.trace is None:
        return None
    try:
        return trace.replay(Path(config.trace), config.trace_speed)
    except trace.TraceError as error:
        raise LoadError(f"{config.trace}: {error}") from error


def client_factory(config: LoadConfig, cases: tuple[golden.Case, ...]) -> Callable[[], Client]:
    """Makes clients of the chosen protocol."""
    factory: Callable[[], Client] = users_module(config.protocol, config.user).client_factory(config, cases)
    return factory


def users_module(protocol: str, user: str) -> ModuleType:
    """The clients of a protocol; only they are imported."""
    name = "kserve_grpc" if protocol == GRPC else "raw_http" if user == "raw" else "kserve_http"
    return importlib.import_module(f"loadtests.users.{name}")


def show_web_ui(config: LoadConfig, environment: Environment, told: Told) -> None:
    """Locust's own pages are there, where they were asked for; `told` says at which address."""
    if config.web_ui is not None:
        from loadtests.web_ui import show

        told.say({"state": "web_ui", "address": show(environment, config.web_ui)})


def run(config: LoadConfig, lines: Lines) -> int:
    """The whole load from this process, told on stdin. The exit code: 0, or 1 after an error line."""
    try:
        # A write can take as long as the disk likes (a journal commit of others is enough): it has a thread of its own.
        writing = ThreadPool(1)
        recorder = Recorder(
            file_of(Path(config.out), config.worker), lambda fd, data: int(writing.apply(os.write, (fd, data)))
        )
        commands = Commands()
        environment = locust_environment()
        runner = environment.create_local_runner()
        load = Load(config, lines, commands, environment, recorder)
        load.guard(commands.listen)
        show_web_ui(config, environment, lines)
        load.connect(lambda: runner.start(config.users, spawn_rate=config.users))
        # The writing thread too: were it put off by others while it holds Python's lock, so were the load.
        writing.apply(timer.real_time)
        ready = load.keep_time()
        lines.say({"state": "ready", "t_ns": time.monotonic_ns(), **ready})
        load.offer()
    except (LoadError, golden.GoldenError, OSError) as error:
        log.exception("the load failed")
        lines.say({"state": "error", "detail": str(error)})
        return 1
    runner.quit()
    return 0


def _more_descriptors(config: LoadConfig) -> None:
    """The connections of each user must not meet the soft limit, which is 1024 on most systems."""
    each = 2 if config.hedge_after_ns is None else 3
    users = -(-config.users // config.workers)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = each * users + _OTHER_DESCRIPTORS
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise LoadError(f"{users} users need {needed} file descriptors, but the hard limit is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
