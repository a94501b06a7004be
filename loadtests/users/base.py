"""A Locust user that takes arrivals from the schedule, one at a time, and records what became of each."""

from __future__ import annotations

import time
import traceback
from abc import abstractmethod
from collections.abc import Callable
from typing import Protocol

import gevent
import gevent.event
import gevent.lock
from locust import User, constant
from locust.env import Environment
from locust.event import EventHook

from harness.history import requests
from loadtests.arrivals import Arrival
from loadtests.config import LoadConfig
from loadtests.deadlines import DeadlineError, Deadlines
from loadtests.dispatcher import Handover
from loadtests.live import Counts
from loadtests.outcome import Attempt, classify
from loadtests.recorder import Recorder, Row
from loadtests.retrying import Retrying


class Client(Protocol):
    """Speaks one protocol for one user: over a connection of its own that it keeps, or over a new one."""

    @abstractmethod
    def infer(self, case: int, kept: bool, attempt: Attempt) -> None:
        """Sends the golden case and checks the answer; fills in `attempt`. Any exception ends the request as bad."""

    @abstractmethod
    def drop(self) -> None:
        """The kept connection is in an unknown state after an exception: the next kept request opens another."""

    @abstractmethod
    def close(self) -> None:
        """All connections are closed."""


class Desk:
    """What the users of one process share: the schedule's outlet and the books."""

    def __init__(
        self, config: LoadConfig, recorder: Recorder, client: Callable[[], Client], request_event: EventHook
    ) -> None:
        self.config = config
        self.recorder = recorder
        self.client = client
        self.request_event = request_event
        self.deadlines = Deadlines(config.timeout_ns)
        self.counts = Counts()
        self.start_ns = 0
        self.handover: Handover | None = None
        self.opened = gevent.event.Event()  # set when there is a handover
        self.expected = config.users  # that will connect
        self.connected = 0
        self.all_connected = gevent.event.Event()
        self.users = 0
        self.last_failure: Attempt | None = None  # to connect
        # A listen queue is short: 400 connections at once would lose SYNs and wait a second for their repetition.
        self.connecting = gevent.lock.BoundedSemaphore(16)

    def open(self, start_ns: int) -> Handover:
        """The schedule's zero is known: users may take arrivals from now on."""
        self.start_ns = start_ns
        self.handover = Handover(start_ns, self.not_sent)
        self.opened.set()
        return self.handover

    def number(self) -> int:
        """A number for a new user, from 0."""
        self.users += 1
        return self.users - 1

    def user_connected(self) -> None:
        """One more user is ready."""
        self.connected += 1
        if self.connected == self.expected:
            self.all_connected.set()

    def tell_locust(self, kept: bool, outcome: str, response_ms: float | None, wall_s: float) -> None:
        """Locust's statistics and listeners hear of a request; its time counts from the schedule, as in the history."""
        self.request_event.fire(
            request_type=self.config.protocol,
            name=self.config.model,
            response_time=response_ms,
            response_length=0,
            response=None,
            context={"connection": requests.KEPT if kept else requests.NEW},
            exception=None if outcome == requests.OK else BadRequestError(outcome),
            start_time=wall_s,
            url=None,
        )

    def not_sent(self, arrival: Arrival) -> None:
        """Nobody took the arrival in time."""
        self.counts.end(ok=False, sent=False)
        self.tell_locust(arrival.kept, requests.NOT_SENT, None, time.time())
        self.recorder.add(
            Row(
                arrival=arrival.number,
                scheduled_ns=self.start_ns + arrival.offset_ns,
                sent_ns=None,
                first_byte_ns=None,
                end_ns=None,
                outcome=requests.NOT_SENT,
                error=None,
                pod=None,
                version=None,
                connection=requests.KEPT if arrival.kept else requests.NEW,
                local_port=None,
                attempts=0,
                user=-1,
                protocol=self.config.protocol,
            )
        )


class OpenLoopUser(User):  # type: ignore[misc]  # locust is untyped
    """Keeps one connection, opens others when the schedule says so, and never sends on its own account."""

    abstract = True
    wait_time = constant(0)
    desk: Desk

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self.number = self.desk.number()
        self.client = self.desk.client()
        config = self.desk.config
        self.retrying = Retrying(config, self._send, self.client.drop) if config.insists else None

    def on_start(self) -> None:
        """The kept connection is open, and has carried a request (which is not recorded)."""
        with self.desk.connecting:
            self._connect()
        self.desk.user_connected()
        self.desk.opened.wait()

    def on_stop(self) -> None:
        """Every connection is closed."""
        self.client.close()

    def _connect(self) -> None:
        """Any answer will do, a wrong one too: whether the platform is well is for the baseline to say."""
        while True:
            attempts = [self._send(0, kept=True)]
            if self.number < 4:  # what is imported or resolved late is the same for all users
                attempts.append(self._send(0, kept=False))
            if all(attempt.outcome not in _NO_CONNECTION for attempt in attempts):
                return
            self.desk.last_failure = attempts[-1]
            gevent.sleep(0.05)

    def _send(self, case: int, kept: bool, attempt: Attempt | None = None) -> Attempt:
        attempt = attempt or Attempt()
        deadline = self.desk.deadlines.begin(attempt.limit_ns)
        try:
            self.client.infer(case, kept, attempt)
            attempt.outcome = requests.OK
        except DeadlineError as timeout:
            if timeout is not deadline.error:
                raise
            attempt.outcome, attempt.error = requests.TIMEOUT, "deadline"
            if kept:
                self.client.drop()
            _forget(timeout)
        except Exception as error:  # noqa: BLE001  whatever a client raises is an outcome; classify() loses none
            classify(error, attempt)
            fine = attempt.outcome in _CONNECTION_IS_FINE or attempt.outcome.startswith("http_")
            if kept and not fine:  # what happens to a new connection says nothing of the kept one
                self.client.drop()
            _forget(error)
        finally:
            deadline.close()
        return attempt

    def serve(self) -> None:
        """One task for as long as the user lives: Locust's own way from task to task costs more than a request."""
        desk = self.desk
        assert desk.handover is not None  # on_start waits for it
        take, begin, end = desk.handover.take, desk.counts.begin, desk.counts.end
        start_ns, protocol = desk.start_ns, desk.config.protocol
        user = self.number * desk.config.workers + desk.config.worker  # no two of the whole load
        while True:
            number, offset_ns, kept, case = take()
            scheduled_ns = start_ns + offset_ns
            wall = time.time()
            sent_ns = time.monotonic_ns()
            begin(sent_ns - scheduled_ns)
            attempt = self._send(case, kept) if self.retrying is None else self.retrying.send(number, case, kept)
            end_ns = attempt.end_ns or time.monotonic_ns()
            outcome = attempt.outcome
            end(ok=outcome == requests.OK, sent=True)
            # In the order of the columns: names would cost as much as writing the row.
            desk.recorder.add(
                Row._make((
                    number, scheduled_ns, sent_ns, attempt.first_byte_ns, end_ns,
                    outcome, attempt.error, attempt.pod, attempt.version,
                    requests.KEPT if kept else requests.NEW, attempt.local_port,
                    1 if attempt.tries is None else len(attempt.tries), user, protocol, attempt.tries,
                ))
            )  # fmt: skip
            desk.tell_locust(kept, outcome, (end_ns - scheduled_ns) / 1e6, wall)
            if outcome != requests.OK:
                gevent.sleep(0)  # what fails at once must not keep the others from their turn

    tasks = [serve]  # noqa: RUF012  as Locust has it


def _forget(error: BaseException) -> None:
    """Breaks the cycle of exception, traceback and frames: 75 objects a timeout that only the collector would free."""
    traceback.clear_frames(error.__traceback__)
    error.__traceback__ = error.__context__ = None


class BadRequestError(Exception):
    """What Locust's statistics show of a bad request."""


_NO_CONNECTION = {requests.TIMEOUT, requests.REFUSED, requests.RESET, requests.UNREACHABLE, requests.ERROR}
_CONNECTION_IS_FINE = {requests.WRONG_ANSWER}
