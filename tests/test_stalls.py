"""The control of the load's lateness: what it calls the machine's, and that it speaks at all."""

import os
import signal
import subprocess
import time

import numpy as np
import pytest

from benchmarks import stalls


@pytest.mark.parametrize(
    ("scheduled", "sent", "the_machines"),
    [
        (10, 19, False),
        (10, 20, True),
        (25, 26, True),
        (30, 30, True),
        (31, 39, False),
        (10, 90, True),
        (31, 45, True),
        (55, 56, True),
        (61, 90, False),
        (25, None, True),
        (10, None, False),
    ],
)
def test_a_request_is_the_machines_where_its_wait_overlaps_a_stall(scheduled, sent, the_machines):
    """Stalls of two cores from 20 to 30 and from 40 to 60; one that was never sent must have been due in one."""
    found = [(50, 60), (20, 30), (40, 52)]

    held = stalls.standing(found, np.array([scheduled]), np.array([np.nan if sent is None else sent], dtype=float))

    assert held.tolist() == [the_machines]


def test_a_machine_that_never_stood_still_excuses_nothing():
    """Without a stall every request is the load's."""
    assert not stalls.standing([], np.array([1, 2]), np.array([9.0, np.nan])).any()


def test_a_control_that_did_not_run_says_so(monkeypatch):
    """Each is stopped for 50 ms: the machine stood still then, as far as it can tell."""
    started = []
    popen = subprocess.Popen
    monkeypatch.setattr(
        subprocess, "Popen", lambda *args, **kwargs: started.append(popen(*args, **kwargs)) or started[-1]
    )

    with stalls.watched() as control:
        for process in started:
            os.kill(process.pid, signal.SIGSTOP)
        begin = time.monotonic_ns()
        time.sleep(0.05)
        end = time.monotonic_ns()
        for process in started:
            os.kill(process.pid, signal.SIGCONT)
        time.sleep(0.05)

    if control.stalls is None:
        pytest.skip("real-time scheduling is not permitted here")
    over = [
        stall for stall in control.stalls if stall[0] <= begin + stalls.EVERY_NS + stalls.LATE_NS and stall[1] >= end
    ]
    assert len(over) == len(started)
