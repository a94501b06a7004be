"""A load process that starts ahead of its configuration is the same load, and never outlives its harness."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from harness.experiment.model import Extension
from harness.run.load_process import LoadProcess
from harness.run.load_standby import Standby
from tests.loadtests.conftest import SECOND, config_for

WITHIN_S = 60.0


def block(protocol="kserve-v2-http", **load):
    workload = {"namespace": "inference", "service": "detector", "selector": "app=detector", "model": "detector"}
    return Extension.model_validate(
        {
            "name": "bulletproof",
            "workload": {**workload, "protocol": protocol},
            "load": {"rate": "100/s", **load},
            "slos": ["slos/detector.yaml"],
        }
    )


def children():
    """Processes that this one has started and not yet buried."""
    return {int(pid) for path in Path("/proc/self/task").glob("*/children") for pid in path.read_text().split()}


def started(make):
    """What `make` gives, and the processes that it started."""
    before = children()
    made = make()
    return made, children() - before


def config(server, out, **changes):
    return {**config_for(server, out), "timeout_ns": 2 * SECOND, "users": 20, "workers": 1, **changes}


@pytest.mark.parametrize(
    ("protocol", "user"),
    [("kserve-v2-http", "tritonclient"), ("kserve-v2-http", "raw"), ("kserve-v2-grpc", "tritonclient")],
)
def test_the_process_that_waited_offers_the_load(tmp_path, server, protocol, user):
    """It is the same process, it hears the commands that follow, and its books balance."""
    standby, pids = started(lambda: Standby(block(protocol, user=user), tmp_path))

    told = config(server, tmp_path, protocol=protocol, user=user)
    load, more = started(lambda: LoadProcess(told, tmp_path, lambda line: None, standby=standby))
    try:
        load.wait_ready(threading.Event())
        start_ns = time.monotonic_ns() + SECOND // 10
        load.start(start_ns)
        done = load.stop(start_ns + SECOND // 2)
    finally:
        load.close()
        standby.close()

    assert len(pids) == 1
    assert not more
    assert (tmp_path / "load.pid").read_text() == f"{pids.pop()}\n"
    assert done["records"] == done["arrivals"] > 20


def test_one_that_has_ended_is_not_waited_for(tmp_path, server):
    """Another process offers the load."""
    standby, pids = started(lambda: Standby(block(), tmp_path))
    (pid,) = pids
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)

    load = LoadProcess(config(server, tmp_path), tmp_path, lambda line: None, standby=standby)
    try:
        assert load.wait_ready(threading.Event())["users"] == 20
        assert int((tmp_path / "load.pid").read_text()) != pid
    finally:
        load.close()


@pytest.mark.parametrize("load", [{"from": "inside"}, {"workers": 2}, {"join": "127.0.0.1:5557"}])
def test_nothing_waits_for_a_load_that_starts_elsewhere(tmp_path, load):
    """In pods, or as workers of a master."""
    standby, pids = started(lambda: Standby(block(**load), tmp_path))

    assert not pids
    assert standby.take(tmp_path / "load.json") is None


def test_closed_it_has_ended(tmp_path):
    """A run that ends before its load began."""
    standby, pids = started(lambda: Standby(block(), tmp_path))

    standby.close()

    assert len(pids) == 1
    assert not children() & pids


def runs(process):
    """Its folder in /proc says that it is there, and no zombie."""
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


HARNESS = """
import sys, time
from pathlib import Path
from harness.run.load_standby import Standby
from tests.loadtests.test_standby import block, children
Standby(block(), Path(sys.argv[1]))
print(*children(), flush=True)
time.sleep(600)
"""


def test_it_ends_with_the_harness(tmp_path):
    """Killed, the harness cannot close anything: the process sees its standard input end."""
    harness = subprocess.Popen([sys.executable, "-c", HARNESS, tmp_path], stdout=subprocess.PIPE, text=True)
    load = Path(f"/proc/{int(harness.stdout.readline())}")
    assert runs(load)

    harness.kill()
    harness.communicate()

    deadline = time.monotonic() + WITHIN_S
    while runs(load):
        assert time.monotonic() < deadline, "the load process is left"
        time.sleep(0.05)
    assert "Traceback" not in (tmp_path / "load.log").read_text()
