"""What a client does when an attempt fails or takes long: it tries again, or sends a second copy beside the first.

A request is one request however many attempts it takes: one row, one outcome, one deadline that counts from its first
sending. The rules:

- An attempt is retried when its outcome is one of `retry_on`, at most `retries` times. Before the k-th retry the client
  waits retry_backoff x 2^(k-1), times a factor from 0.5 to 1.5 that follows from the seed and the arrival's number. A
  retry that would begin at the deadline or after it is not made: the request ends as its last attempt did.
- A copy goes out on a new connection when an attempt has not ended after `hedge_after`. The first answer decides, and
  the other attempt is cancelled; when one fails, the other decides. A wrong answer is an answer: a client does not know
  the golden one, so neither a retry nor a copy may hide it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from operator import itemgetter
from typing import NamedTuple

import gevent

from harness.history import requests
from loadtests.config import LoadConfig
from loadtests.outcome import Attempt

# Of a cancelled attempt: its connection is closed well before. A client that does not let go is a fault of ours.
_CANCEL_LIMIT_S = 1.0
_ANSWERS = (requests.OK, requests.WRONG_ANSWER)


class Try(NamedTuple):
    """One attempt, in the order of the fields of the column `tries`."""

    sent_ns: int
    end_ns: int
    outcome: str
    connection: str
    local_port: int | None


class Retrying:
    """Sends the requests of one user.

    send: fills in the attempt, within its `limit_ns`. drop: the kept connection is in an unknown state.
    """

    def __init__(
        self, config: LoadConfig, send: Callable[[int, bool, Attempt], Attempt], drop: Callable[[], None]
    ) -> None:
        self._config = config
        self._send = send
        self._drop = drop
        self._retry_on = frozenset(config.retry_on)

    def send(self, number: int, case: int, kept: bool) -> Attempt:
        """The attempt that decided; `tries` has all of them in the order of their sending, where there were more."""
        config, tries = self._config, list[Try]()
        deadline_ns = time.monotonic_ns() + config.timeout_ns
        attempt = self._round(case, kept, deadline_ns, tries)
        for retry in range(config.retries):
            wait_ns = self._wait_ns(number, retry)
            if attempt.outcome not in self._retry_on or time.monotonic_ns() + wait_ns >= deadline_ns:
                break
            gevent.sleep(wait_ns / 1e9)
            attempt = self._round(case, kept and config.retry_connection == "same", deadline_ns, tries)
        if len(tries) > 1:
            attempt.tries = sorted(tries, key=itemgetter(0))
        return attempt

    def _wait_ns(self, number: int, retry: int) -> int:
        jitter = random.Random(f"{self._config.seed}/{number}/{retry}").uniform(0.5, 1.5)
        return round(self._config.retry_backoff_ns * jitter * (1 << retry))

    def _round(self, case: int, kept: bool, deadline_ns: int, tries: list[Try]) -> Attempt:
        """One attempt, and its copy when it takes long. The attempt of the two that decides."""
        if self._config.hedge_after_ns is None:
            return self._one(case, kept, deadline_ns, tries)
        first = gevent.spawn(self._one, case, kept, deadline_ns, tries)
        first.join(self._config.hedge_after_ns / 1e9)
        if first.ready():
            return _result(first)
        second = gevent.spawn(self._one, case, False, deadline_ns, tries)
        ended, other = gevent.wait([first, second], count=1)[0], second
        if ended is second:
            other = first
        attempt = _result(ended)
        if attempt.outcome not in _ANSWERS:
            other.join()
            return _result(other)
        other.kill(timeout=_CANCEL_LIMIT_S)
        return attempt

    def _one(self, case: int, kept: bool, deadline_ns: int, tries: list[Try]) -> Attempt:
        sent_ns = time.monotonic_ns()
        limit_ns = max(deadline_ns - sent_ns, 1)
        if self._config.attempt_timeout_ns is not None:
            limit_ns = min(limit_ns, self._config.attempt_timeout_ns)
        attempt = Attempt(limit_ns=limit_ns)
        try:
            self._send(case, kept, attempt)
        except gevent.GreenletExit:
            attempt.outcome = requests.CANCELLED
            if kept:
                self._drop()
            raise
        finally:
            attempt.end_ns = time.monotonic_ns()
            connection = requests.KEPT if kept else requests.NEW
            tries.append(Try(sent_ns, attempt.end_ns, attempt.outcome, connection, attempt.local_port))
        return attempt


def _result(ended: gevent.Greenlet) -> Attempt:
    attempt: Attempt = ended.get()
    return attempt
