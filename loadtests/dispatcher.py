"""Requests are handed out on schedule, whether or not earlier answers came: an open loop.

The rules that make the load trustworthy:

- Every arrival due in [start, stop) gives exactly one record, whatever happens.
- An arrival that no user can take within HANDOVER_LIMIT_NS (100 ms) of its schedule is recorded as `not_sent`: all
  users were busy, or this process was held up. It is never sent later. So after a stall of any length at most the
  arrivals of the last 100 ms go out late, each with its lateness on record, and there is no catch-up burst beyond that.
- Users take turns (the one that waited longest is next): all kept connections, and all pods behind them, are used.
- What is due goes out before the next answer is looked at. Under a high rate many answers are ready at a time, and each
  costs as much as a request: an arrival that waited until all were checked would be late by all of them.
"""

from __future__ import annotations

import gc
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import gevent.event

from loadtests.arrivals import Arrival
from loadtests.timer import Timer

HANDOVER_LIMIT_NS = 100_000_000

# One that is behind sends so many, then the next answer gets its turn.
_BURST = 16
# The collector runs in gaps between arrivals. Young objects, often: tritonclient defines a class for each HTTP answer,
# which only the collector frees; nothing else of a request needs it. All objects, rarely, so that memory stays bounded
# whatever a client leaves behind: during a hang of 1500 requests in flight that takes 20 ms, young ones 0.2 ms.
_YOUNG_EVERY_NS, _YOUNG_GAP_NS = 100_000_000, 1_000_000
_ALL_EVERY_NS, _ALL_GAP_NS = 60_000_000_000, 5_000_000
# At high rates no gap is long enough: after so many times the interval it runs all the same.
_OVERDUE = 5


class Handover:
    """Where arrivals wait for users and users for arrivals; one of the two sides is always empty."""

    def __init__(self, start_ns: int, not_sent: Callable[[Arrival], None]) -> None:
        self._start_ns = start_ns
        self._not_sent = not_sent
        self._waiting: deque[Arrival] = deque()
        self._idle: deque[Any] = deque()  # greenlets
        self._hub = gevent.get_hub()
        self.due: Callable[[], Arrival | None] = lambda: None  # the next arrival that is due; the dispatcher's

    def give(self, arrival: Arrival) -> None:
        """The user that waited longest has sent the arrival; when none waits, the next that is free in time will.

        To be called by the hub: the user runs until it waits for its answer, which brings it back here.
        """
        if self._idle:
            self._idle.popleft().switch(arrival)
        else:
            self._waiting.append(arrival)

    def take(self) -> Arrival:
        """The next arrival for the calling user; blocks until there is one."""
        if self._waiting:
            self.expire()
            if self._waiting:
                return self._waiting.popleft()
        user = gevent.getcurrent()
        self._idle.append(user)
        arrival = self.due()
        taken: Arrival
        if arrival is None:
            taken = self._hub.switch()
        elif (first := self._idle.popleft()) is user:
            taken = arrival
        else:  # it sends, and waits in the hub; whoever hands this user an arrival comes back here
            taken = first.switch(arrival)
        return taken

    def expire(self) -> None:
        """Arrivals that no user took in time are `not_sent` from now on."""
        limit_ns = time.monotonic_ns() - self._start_ns - HANDOVER_LIMIT_NS
        while self._waiting and self._waiting[0].offset_ns < limit_ns:
            self._not_sent(self._waiting.popleft())

    def give_up(self) -> None:
        """Every arrival that still waits is `not_sent`."""
        while self._waiting:
            self._not_sent(self._waiting.popleft())

    @property
    def waiting(self) -> int:
        """Arrivals that no user has taken yet."""
        return len(self._waiting)


class Dispatcher:
    """Walks the schedule. `arrivals` counts those that were due; each went to a user or became `not_sent`."""

    def __init__(
        self,
        schedule: Iterator[Arrival],
        start_ns: int,
        stop_ns: int,
        handover: Handover,
        not_sent: Callable[[Arrival], None],
    ) -> None:
        self._schedule = schedule
        self._handover = handover
        self._not_sent = not_sent
        self._timer = Timer(self._turn)
        self._paused = gevent.event.Event()  # the greenlet of `run` has something to do
        self._error: Exception | None = None
        self._young_ns = self._all_ns = start_ns  # when they were last collected
        self._last_ns = start_ns - 1  # scheduled time of the last arrival that was due
        self.start_ns = start_ns
        self.stop_ns = stop_ns
        self.arrivals = 0
        self._next = next(schedule, None)

    def stop(self, stop_ns: int) -> None:
        """No arrival scheduled at or after `stop_ns` is sent; what was already handed out moves the stop behind it."""
        self.stop_ns = max(min(stop_ns, self.stop_ns), self._last_ns + 1)
        self._timer.set(0)

    def run(self) -> None:
        """Returns when every arrival before the stop has been handed out or is `not_sent`."""
        self._handover.due = self.due
        with self._timer:
            self._timer.set(0)
            while self._error is None and self._next_ns is not None:
                self._paused.wait()
                self._paused.clear()
                self._tidy()
        if self._error is not None:
            raise self._error

    def due(self) -> Arrival | None:
        """The next arrival, once it is due; it is handed out with this. Those that are too late are `not_sent`."""
        while (due_ns := self._next_ns) is not None and (late_ns := time.monotonic_ns() - due_ns) >= 0:
            arrival = self._next
            assert arrival is not None
            self._next = next(self._schedule, None)
            self._last_ns = due_ns
            self.arrivals += 1
            if late_ns <= HANDOVER_LIMIT_NS:
                return arrival
            self._not_sent(arrival)
        return None

    @property
    def _next_ns(self) -> int | None:
        """When the next arrival is due; None when there is none before the stop."""
        if self._next is None:
            return None
        due_ns = self.start_ns + self._next.offset_ns
        return due_ns if due_ns < self.stop_ns else None

    def hand_out(self) -> None:
        """What is due goes out; to be called by the hub."""
        try:
            for _ in range(_BURST):
                arrival = self.due()
                if arrival is None:
                    break
                self._handover.give(arrival)
        except Exception as error:  # noqa: BLE001  the hub would print it and go on
            self._error = error
            self._paused.set()

    def _turn(self) -> None:
        self.hand_out()
        next_ns = self._next_ns
        if next_ns is None:
            self._paused.set()
            return
        self._timer.set(next_ns)
        if time.monotonic_ns() - self._young_ns > _YOUNG_EVERY_NS:
            self._paused.set()

    def _tidy(self) -> None:
        now, next_ns = time.monotonic_ns(), self._next_ns
        if next_ns is None:
            return
        if _may(now - self._all_ns, next_ns - now, _ALL_EVERY_NS, _ALL_GAP_NS):
            gc.collect()
            self._all_ns = self._young_ns = now
        elif _may(now - self._young_ns, next_ns - now, _YOUNG_EVERY_NS, _YOUNG_GAP_NS):
            gc.collect(0)
            self._young_ns = now


def _may(since_ns: int, gap_ns: int, every_ns: int, least_gap_ns: int) -> bool:
    return since_ns > every_ns and (gap_ns > least_gap_ns or since_ns > _OVERDUE * every_ns)
