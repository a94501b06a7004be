"""A callback comes when it should."""

import os
import time

import gevent
import gevent.event
import pytest

from loadtests.timer import Timer

MS = 1_000_000
DEADLINE_S = 30.0


class Alarm:
    """A timer, and when it called."""

    def __init__(self):
        self.rang = gevent.event.Event()
        self.timer = Timer(self._ring)
        self.moments = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.timer.close()

    def _ring(self):
        self.moments.append(time.monotonic_ns())
        self.rang.set()

    def wait(self):
        """Until it calls."""
        assert self.rang.wait(DEADLINE_S)
        self.rang.clear()
        return self.moments[-1]


def test_it_calls_at_the_moment_and_never_before():
    """Fifty moments 2 ms apart: none early; half of them soon, even on a busy machine."""
    lags = []
    with Alarm() as alarm:
        due = time.monotonic_ns()
        for _ in range(50):
            due = max(due + 2 * MS, time.monotonic_ns() + MS)
            alarm.timer.set(due)
            lags.append(alarm.wait() - due)

    assert min(lags) >= 0
    assert sorted(lags)[25] < 20 * MS


def test_it_calls_once():
    """What expired and was not set again is quiet: the hub does not spin."""
    with Alarm() as alarm:
        alarm.timer.set(0)
        alarm.wait()
        gevent.sleep(0.01)

        assert len(alarm.moments) == 1


def test_a_moment_in_the_past_is_now():
    """So is zero, which the kernel would take for never."""
    with Alarm() as alarm:
        for moment in (time.monotonic_ns() - 1, 0):
            alarm.timer.set(moment)
            alarm.wait()


def test_it_can_be_set_again_to_an_earlier_moment():
    """A stop does not wait for the next arrival, which may be minutes away."""
    with Alarm() as alarm:
        alarm.timer.set(time.monotonic_ns() + 600_000 * MS)
        alarm.timer.set(0)

        alarm.wait()


def test_it_comes_before_all_else_that_is_ready():
    """However many answers came at the same time."""
    order = []
    pipes = [os.pipe() for _ in range(20)]
    loop = gevent.get_hub().loop
    answers = [loop.io(reader, 1) for reader, _ in pipes]
    timer = Timer(lambda: order.append("timer"))
    for answer in answers:
        answer.start(order.append, "answer")

    for _, writer in pipes:
        os.write(writer, b"!")
    timer.set(0)
    with gevent.Timeout(DEADLINE_S):
        while len(order) <= len(pipes):
            gevent.sleep(0.001)

    for watcher in answers:
        watcher.close()
    timer.close()
    for pipe in pipes:
        for end in pipe:
            os.close(end)
    assert order[0] == "timer"


def test_the_descriptor_is_given_back():
    """Closing twice is an error, so once was enough."""
    timer = Timer(lambda: None)
    timer.close()

    with pytest.raises(OSError, match="Bad file descriptor"):
        timer.close()
