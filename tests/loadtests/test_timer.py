"""A greenlet wakes when it should."""

import time

import gevent
import pytest

from loadtests.timer import Timer

MS = 1_000_000


def test_it_wakes_at_the_moment_and_never_before():
    """Fifty moments 2 ms apart: none early; half of them soon, even on a busy machine."""
    lags = []
    with Timer() as timer:
        due = time.monotonic_ns()
        for _ in range(50):
            due = max(due + 2 * MS, time.monotonic_ns() + MS)
            timer.wait_until(due)
            lags.append(time.monotonic_ns() - due)

    assert min(lags) >= 0
    assert sorted(lags)[25] < 20 * MS


def test_others_run_while_it_waits():
    """The hub is free."""
    ran = []
    with Timer() as timer:
        gevent.spawn(lambda: ran.append(time.monotonic_ns()))
        due = time.monotonic_ns() + 20 * MS
        timer.wait_until(due)

    assert ran
    assert ran[0] < due


def test_a_moment_in_the_past_does_not_wait():
    """At once, without a switch."""
    with Timer() as timer:
        begin = time.monotonic_ns()
        timer.wait_until(begin - 1)
        timer.wait_until(0)

        assert time.monotonic_ns() - begin < 1000 * MS


def test_it_can_be_woken_early():
    """A stop does not wait for the next arrival, which may be minutes away."""
    woken = []
    with Timer() as timer:

        def wake():
            gevent.sleep(0.01)
            woken.append(time.monotonic_ns())
            timer.wake()

        gevent.spawn(wake)
        with gevent.Timeout(5):
            timer.wait_until(time.monotonic_ns() + 60_000 * MS)

        assert time.monotonic_ns() >= woken[0]


def test_the_descriptor_is_given_back():
    """Closing twice is an error, so once was enough."""
    timer = Timer()
    timer.close()

    with pytest.raises(OSError, match="Bad file descriptor"):
        timer.close()
