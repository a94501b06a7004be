"""A request whose time is over ends, and no other."""

import time

import gevent
import pytest

from loadtests.deadlines import DeadlineError, Deadlines

MS = 1_000_000


def test_what_waits_too_long_is_ended_and_never_early():
    """Whatever it waits for; `error` tells whose deadline it was."""
    deadlines = Deadlines(20 * MS)
    begin = time.monotonic_ns()
    deadline = deadlines.begin()

    with pytest.raises(DeadlineError) as raised:
        gevent.sleep(60)

    assert raised.value is deadline.error
    assert time.monotonic_ns() - begin >= 20 * MS


def test_a_request_that_ended_in_time_is_left_alone():
    """The next one of the same user has its own deadline, although the first one's moment comes in the middle of it."""
    deadlines = Deadlines(50 * MS)
    first = deadlines.begin()
    gevent.sleep(0.03)
    first.close()

    second = deadlines.begin()
    moment_ns = time.monotonic_ns()
    with pytest.raises(DeadlineError) as raised:
        gevent.sleep(60)

    assert first.error is None
    assert raised.value is second.error
    assert time.monotonic_ns() - moment_ns >= 45 * MS


def test_many_deadlines_end_each_greenlet_once():
    """Those in between that ended in time do not hide the ones behind them; afterwards it starts anew."""
    deadlines = Deadlines(30 * MS)
    ended = []

    def request(number):
        deadline = deadlines.begin()
        try:
            gevent.sleep(0 if number % 3 == 0 else 60)
        except DeadlineError as error:
            assert error is deadline.error
            ended.append(number)
        finally:
            deadline.close()

    for _ in range(2):
        ended.clear()
        gevent.joinall([gevent.spawn(request, number) for number in range(30)], timeout=30)
        assert ended == [number for number in range(30) if number % 3]


def test_an_attempt_may_have_a_shorter_limit_than_the_others():
    """It ends first, and the request that began before it goes on to its own end."""
    deadlines = Deadlines(200 * MS)
    ended = []

    def request(name, limit_ns):
        deadline = deadlines.begin(limit_ns)
        try:
            gevent.sleep(60)
        except DeadlineError as error:
            assert error is deadline.error
            ended.append(name)
        finally:
            deadline.close()

    gevent.joinall([gevent.spawn(request, "long", None), gevent.spawn(request, "short", 10 * MS)], timeout=30)

    assert ended == ["short", "long"]
