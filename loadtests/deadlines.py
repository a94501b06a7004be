"""A request that takes longer than it may is ended from outside, whatever its client waits for.

All requests of a process may take equally long, so they end in the order in which they began: one timer for the first
of them does. A timer for each, started and cancelled, costs more than the answer's whole check; only attempts of a
request that is retried have one, because each may take another time.
"""

from __future__ import annotations

import time
from collections import deque
from typing import Any

import gevent


class DeadlineError(BaseException):
    """Raised in the greenlet whose time is over. Not an Exception: no client may take it for an accident of its own."""


class Deadline:
    """One request's."""

    __slots__ = ("_greenlet", "error", "moment_ns", "timer")

    def __init__(self, greenlet: Any, moment_ns: int) -> None:
        self._greenlet = greenlet
        self.moment_ns = moment_ns
        self.timer: Any = None  # of its own, where it has one
        self.error: DeadlineError | None = None  # that was raised for this deadline

    @property
    def running(self) -> bool:
        """Not over, one way or the other."""
        return self._greenlet is not None

    def close(self) -> None:
        """The request is over: nothing is raised after this."""
        self._greenlet = None
        if self.timer is not None:
            self.timer.close()
            self.timer = None

    def expire(self) -> None:
        """To be called by the hub: the greenlet goes on at once, with the error."""
        greenlet, self._greenlet = self._greenlet, None
        self.error = DeadlineError()
        greenlet.throw(self.error)


class Deadlines:
    """The deadlines of one process."""

    def __init__(self, limit_ns: int) -> None:
        self._limit_ns = limit_ns
        self._begun: deque[Deadline] = deque()
        self._loop = gevent.get_hub().loop
        self._timer: Any = None  # runs while there are deadlines

    def begin(self, limit_ns: int | None = None) -> Deadline:
        """For the calling greenlet: DeadlineError is raised in it when the time is over, unless closed before.

        limit_ns: another limit than that of the process.
        """
        if limit_ns is not None:
            deadline = Deadline(gevent.getcurrent(), time.monotonic_ns() + limit_ns)
            deadline.timer = self._loop.timer(limit_ns / 1e9)
            deadline.timer.start(deadline.expire)
            return deadline
        deadline = Deadline(gevent.getcurrent(), time.monotonic_ns() + self._limit_ns)
        self._begun.append(deadline)
        if self._timer is None:
            self._wait_until(deadline.moment_ns)
        return deadline

    def _wait_until(self, moment_ns: int) -> None:
        self._timer = self._loop.timer(max(0.0, (moment_ns - time.monotonic_ns()) / 1e9))
        self._timer.start(self._due)

    def _due(self) -> None:
        """The first one's time is over; most are closed long before."""
        self._timer.close()
        begun = self._begun
        while begun:
            first = begun[0]
            if first.running:
                if first.moment_ns > time.monotonic_ns():
                    self._wait_until(first.moment_ns)
                    return
                begun.popleft()
                first.expire()
            else:
                begun.popleft()
        self._timer = None
