"""In which order a process that is behind does its work."""

import os
import time

import gevent
import pytest

from loadtests import dispatcher
from loadtests.arrivals import Arrival
from loadtests.dispatcher import Dispatcher, Handover

MS = 1_000_000
DEADLINE_S = 30.0


@pytest.fixture
def patient(monkeypatch):
    """However long this machine stands still, no arrival is too late."""
    monkeypatch.setattr(dispatcher, "HANDOVER_LIMIT_NS", 600_000 * MS)


class Course:
    """Users that note what they do, and a schedule of arrivals so many milliseconds after the start."""

    def __init__(self, *offsets_ms):
        self.done = []
        self.missed = []
        self.start_ns = time.monotonic_ns()
        self.handover = Handover(self.start_ns, self.missed.append)
        arrivals = (Arrival(number, round(at * MS), True, 0) for number, at in enumerate(offsets_ms))
        self.dispatcher = Dispatcher(
            arrivals, self.start_ns, self.start_ns + 600_000 * MS, self.handover, self.missed.append
        )

    def user(self, name, work):
        """`work` is what it does with an arrival's number."""

        def serve():
            while True:
                arrival = self.handover.take()
                self.done.append((name, arrival.number))
                work(arrival.number)

        greenlet = gevent.spawn(serve)
        gevent.sleep(0)
        return greenlet

    def run(self):
        """To the end of the schedule."""
        with gevent.Timeout(DEADLINE_S):
            self.dispatcher.run()

    def spin_until(self, offset_ms):
        """The process is busy until then."""
        while time.monotonic_ns() < self.start_ns + offset_ms * MS:
            pass


class Clock:
    """Stands still until it is set forward; in place of the module `time`."""

    def __init__(self):
        self.now_ns = time.monotonic_ns()

    def monotonic_ns(self):
        """What `Dispatcher` and `Handover` ask for."""
        return self.now_ns


def test_what_is_due_goes_out_before_the_next_answer_is_looked_at(patient, monkeypatch):
    """Three answers are ready. While the first is looked at, two arrivals are due: one goes before each other."""
    minute_ms = 60_000
    course = Course(0, 0, 0, minute_ms, minute_ms)
    clock = Clock()
    monkeypatch.setattr(dispatcher, "time", clock)
    hub = gevent.get_hub()
    pipes = [os.pipe() for _ in range(3)]

    def ask(number):
        if number < 3:
            answer = hub.loop.io(pipes[number][0], 1)
            if number == 2:
                for _, writer in pipes:
                    os.write(writer, b"!")
            hub.wait(answer)
            answer.close()
            course.done.append("answer")
            clock.now_ns = course.start_ns + (minute_ms + 1) * MS
        else:
            gevent.sleep(0)

    users = [course.user(name, ask) for name in "abcde"]
    running = gevent.spawn(course.dispatcher.run)
    with gevent.Timeout(DEADLINE_S):
        while len(course.done) < 8:
            gevent.sleep(0.001)
        course.dispatcher.stop(0)
        running.get()

    gevent.killall(users)
    for pipe in pipes:
        for end in pipe:
            os.close(end)
    sent = [("a", 0), ("b", 1), ("c", 2)]
    assert course.done == [*sent, "answer", ("d", 3), "answer", ("e", 4), "answer"]
    assert course.dispatcher.arrivals == 5
    assert course.missed == []


def test_a_user_that_is_done_is_the_last_in_the_line(patient):
    """What is due as it ends goes to the user that waited longest."""
    course = Course(0, 1, 2, 3, 4)
    users = [course.user(name, lambda number: course.spin_until(10)) for name in "abc"]

    course.run()

    gevent.killall(users)
    assert course.done == [("a", 0), ("b", 1), ("c", 2), ("a", 3), ("b", 4)]


def test_a_user_that_is_alone_takes_what_is_due_itself(patient):
    """Without a way through the hub."""
    course = Course(0, 1, 2)
    user = course.user("a", lambda number: course.spin_until(10))

    course.run()

    gevent.killall([user])
    assert course.done == [("a", 0), ("a", 1), ("a", 2)]


def test_a_schedule_that_breaks_ends_the_run():
    """An error of the hub's would be printed and forgotten, and the run would wait for ever."""

    def broken():
        yield Arrival(0, 0, True, 0)
        yield Arrival(1, MS, True, 0)
        raise ValueError("a broken trace")

    missed = []
    start_ns = time.monotonic_ns()
    handover = Handover(start_ns, missed.append)
    course = Dispatcher(broken(), start_ns, start_ns + 600_000 * MS, handover, missed.append)

    with gevent.Timeout(DEADLINE_S), pytest.raises(ValueError, match="a broken trace"):
        course.run()
