"""Several workers offer one load: the same arrivals, the same records, and never a silent loss."""

import contextlib
import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pytest

from harness.history.clock import Exchange, estimate
from harness.history.trace import replay
from loadtests.arrivals import arrivals
from tests.loadtests.conftest import ROOT, SECOND


def rows_of(process, worker):
    """What is on disk of a worker whose file was closed."""
    return pa.ipc.open_stream((process.out / f"requests-{worker}.arrows").read_bytes()).read_all().to_pylist()


def offered(process, workers, duration_s=1.0):
    """Runs the load for so long; returns the done line and the rows of each worker."""
    start_ns = process.start(lead_s=0.5)
    process.say(stop_ns=start_ns + int(duration_s * SECOND))
    done = process.wait("done")
    assert process.process.wait(timeout=30) == 0
    return done, [rows_of(process, worker) for worker in range(workers)]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def joining(port, *prefix):
    """A worker that somebody started elsewhere; `prefix` is what its machine has that ours has not."""
    command = [*prefix, sys.executable, "-m", "loadtests", "--worker", f"127.0.0.1:{port}"]
    worker = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield worker
    finally:
        worker.kill()
        worker.wait()


def has_time_namespaces():
    if shutil.which("unshare") is None:
        return False
    made = subprocess.run(["unshare", "-T", "--monotonic", "5000", "true"], capture_output=True, check=False)
    return made.returncode == 0


def test_the_whole_has_the_arrivals_and_users_that_one_process_would_have(load):
    """Worker k of n takes the arrivals k, k+n, ... of one schedule; users are divided to the last one."""
    process = load(options=("--master",), workers=2, users=41, timeout_ns=5 * SECOND)

    done, parts = offered(process, 2)

    ready = process.wait("ready")
    assert ready["users"] == sum(worker["users"] for worker in ready["workers"]) == 41
    assert {worker["users"] for worker in ready["workers"]} == {20, 21}
    rows = sorted((row for part in parts for row in part), key=lambda row: row["arrival"])
    expected = list(
        itertools.islice(arrivals(kind="poisson", rate_per_s=100.0, seed=7, kept_share=0.5, cases=1), done["arrivals"])
    )
    assert [(row["arrival"], row["scheduled_ns"] - done["start_ns"]) for row in rows] == [
        (arrival.number, arrival.offset_ns) for arrival in expected
    ]
    assert all({row["arrival"] % 2 for row in part} == {worker} for worker, part in enumerate(parts))
    assert not {row["user"] for row in parts[0]} & ({row["user"] for row in parts[1]} - {-1})
    assert {row["outcome"] for row in rows} <= {"ok", "not_sent"}
    last = process.wait("live", lambda line: line["ok"] + line["bad"] == done["records"])
    assert last["scheduled"] == done["arrivals"] == len(rows)
    # Nothing is measured into a difference of clocks that is none.
    clocks = [line for line in process.lines if line["state"] == "clock"]
    assert sorted((line["worker"], line["moment"]) for line in clocks) == [
        (worker, moment) for worker in (0, 1) for moment in ("after", "before")
    ]
    assert {(line["ahead_ns"], line["bound_ns"]) for line in clocks} == {(0, 0)}


def test_workers_replay_a_trace_that_only_their_master_has(load, tmp_path):
    """It comes to them as the golden answers do, and the whole has its arrivals to the nanosecond."""
    trace = tmp_path / "x.csv"
    trace.write_text("seconds,size\n" + "".join(f"{at * at / 1000},{at}\n" for at in range(30)))
    process = load(options=("--master",), workers=2, users=41, arrivals="trace", trace=str(trace), trace_speed=2.0)

    done, parts = offered(process, 2)

    due = replay(trace, 2.0).offsets_ns(np.arange(done["arrivals"]))
    rows = sorted((row for part in parts for row in part), key=lambda row: row["arrival"])
    assert [row["scheduled_ns"] - done["start_ns"] for row in rows] == due.tolist()
    assert len(rows) > 60
    assert all({row["arrival"] % 2 for row in part} == {worker} for worker, part in enumerate(parts))


def test_a_worker_that_dies_is_said_and_the_load_never_ends_well(load):
    """Its share of the arrivals is missing: that must never look like a quiet platform."""
    process = load(options=("--master",), workers=2, users=10)
    process.start(lead_s=0.5)
    process.wait("live", lambda line: line["ok"] > 10)
    victim = process.wait("ready")["workers"][1]

    os.kill(victim["pid"], signal.SIGKILL)

    lost = process.wait("lost")
    assert lost["worker"] == victim["worker"]
    assert "was lost" in lost["detail"]
    process.say(stop_ns=time.monotonic_ns())
    error = process.wait("error")
    assert f"worker {victim['worker']}" in error["detail"]
    assert process.process.wait(timeout=30) == 1
    assert len(rows_of(process, 1 - victim["worker"])) > 0  # the other one closed its books


def test_the_end_of_stdin_ends_all_workers(load):
    """A harness that was killed leaves no load behind."""
    process = load(options=("--master",), workers=2, users=10)
    process.start(lead_s=0.5)
    process.wait("live", lambda line: line["ok"] > 5)
    workers = [worker["pid"] for worker in process.wait("ready")["workers"]]

    process.process.stdin.close()

    process.process.wait(timeout=30)
    for pid in workers:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@pytest.mark.skipif(not has_time_namespaces(), reason="needs the right to make a time namespace")
def test_a_worker_with_another_clock_has_its_times_converted(load):
    """Its monotonic clock is 5000 s ahead, as on a machine that was started earlier; the records are on ours."""
    port = free_port()
    process = load(options=("--master", "--listen", f"127.0.0.1:{port}"), workers=2, users=10, timeout_ns=5 * SECOND)
    with joining(port), joining(port, "unshare", "-T", "--monotonic", "5000", "--fork", "--kill-child"):
        done, parts = offered(process, 2)

    clocks = {(line["worker"], line["moment"]): line for line in process.lines if line["state"] == "clock"}
    (other,) = {worker for worker, _ in clocks if clocks[worker, "before"]["ahead_ns"] != 0}
    for moment in ("before", "after"):
        line = clocks[other, moment]
        assert abs(line["ahead_ns"] + 5000 * SECOND) <= line["bound_ns"]
        assert clocks[1 - other, moment]["bound_ns"] == 0
    wrong_ns = clocks[other, "before"]["bound_ns"]
    rows = sorted((row for part in parts for row in part), key=lambda row: row["arrival"])
    assert [row["arrival"] for row in rows] == list(range(done["arrivals"]))
    assert all(done["start_ns"] - wrong_ns <= row["scheduled_ns"] < done["stop_ns"] + wrong_ns for row in rows)
    offsets = arrivals(kind="poisson", rate_per_s=100.0, seed=7, kept_share=0.5, cases=1)
    for row, arrival in zip(rows, offsets, strict=False):
        # A nanosecond is lost where halves are rounded, and nothing else.
        assert abs(row["scheduled_ns"] - done["start_ns"] - arrival.offset_ns) <= 1
    assert all(row["scheduled_ns"] <= row["sent_ns"] <= row["end_ns"] for row in rows if row["outcome"] == "ok")


@pytest.mark.skipif(not has_time_namespaces(), reason="needs the right to make a time namespace")
def test_a_worker_that_hears_start_and_stop_in_one_breath_stops_in_time(load):
    """It did not run while both came: the stop is converted from the harness' clock like the start."""
    port = free_port()
    process = load(options=("--master", "--listen", f"127.0.0.1:{port}"), workers=2, users=10, timeout_ns=5 * SECOND)
    with joining(port), joining(port, "unshare", "-T", "--monotonic", "5000", "--fork", "--kill-child"):
        ready = process.wait("ready")
        (other,) = {line["worker"] for line in process.lines if line["state"] == "clock" and line["ahead_ns"] != 0}
        (pid,) = (worker["pid"] for worker in ready["workers"] if worker["worker"] == other)
        os.kill(pid, signal.SIGSTOP)
        start_ns = process.start_without_waiting(lead_s=1.0)
        process.say(stop_ns=start_ns + SECOND)
        process.wait("start")
        asked_ns = time.monotonic_ns()
        process.wait("live", lambda line: line["t_ns"] > asked_ns + SECOND // 5)
        os.kill(pid, signal.SIGCONT)
        done = process.wait("done")
        assert process.process.wait(timeout=30) == 0

    assert (done["start_ns"], done["stop_ns"]) == (start_ns, start_ns + SECOND)
    assert sorted(row["arrival"] for worker in (0, 1) for row in rows_of(process, worker)) == list(
        range(done["arrivals"])
    )


def test_the_quickest_exchange_tells_the_difference_and_its_bound():
    """Half of the time that question and answer took is how wrong it can be, whatever the two ways had of it."""
    slow, quick = Exchange(1000, 51_000, 5000), Exchange(6000, 56_900, 7000)

    found = estimate([slow, quick], same=False)

    assert (found.ahead_ns, found.bound_ns) == (50_400, 500)


@pytest.mark.parametrize(("told_ns", "ahead_ns"), [(1400, 0), (9000, 7500)])
def test_a_clock_that_calls_itself_ours_is_believed_where_it_can_be(told_ns, ahead_ns):
    """Machines that were cloned while they ran carry one boot id, and are hours apart."""
    assert estimate([Exchange(1000, told_ns, 2000)], same=True).ahead_ns == ahead_ns
