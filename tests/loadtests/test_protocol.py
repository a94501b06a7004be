"""The load process says what it does, and does what it is told."""

import collections
import fcntl
import itertools
import signal
import time

import pytest

from tests.loadtests.conftest import SECOND

CLIENTS = {
    "tritonclient-http": {"protocol": "kserve-v2-http", "user": "tritonclient"},
    "tritonclient-grpc": {"protocol": "kserve-v2-grpc", "user": "tritonclient"},
    "raw-http": {"protocol": "kserve-v2-http", "user": "raw"},
}


def whole(done, rows):
    """The rows are the arrivals 0, 1, ... of [start, stop), each once."""
    assert sorted(row["arrival"] for row in rows) == list(range(done["arrivals"]))
    assert all(done["start_ns"] <= row["scheduled_ns"] < done["stop_ns"] for row in rows)
    return True


@pytest.mark.parametrize("client", CLIENTS)
def test_a_run_from_ready_to_done_has_one_record_for_each_arrival(load, client):
    """Every arrival in [start, stop) is one row; a healthy server answers all of them rightly."""
    process = load(**CLIENTS[client], timeout_ns=5 * SECOND)

    done, rows = process.run(1.5)

    ready = process.wait("ready")
    assert ready["users"] == 60
    assert ready["scheduler"] in ("SCHED_FIFO", "SCHED_OTHER")
    assert whole(done, rows)
    assert done["records"] == len(rows) > 100
    outcomes = collections.Counter((row["outcome"], row["error"]) for row in rows)
    assert set(outcomes) <= {("ok", None), ("not_sent", None)}, outcomes
    sent = [row for row in rows if row["outcome"] == "ok"]
    assert len(sent) > 0.8 * len(rows)
    assert all(row["scheduled_ns"] <= row["sent_ns"] <= row["first_byte_ns"] <= row["end_ns"] for row in sent)
    assert {(row["pod"], row["version"], row["protocol"]) for row in sent} == {
        ("scripted-1", "1", CLIENTS[client]["protocol"])
    }
    assert all(row["attempts"] == 1 for row in sent)
    assert (
        f"Locust counted {len(rows)} requests, {len(rows) - len(sent)} of them failed"
        in (process.out / "load.log").read_text()
    )


@pytest.mark.parametrize("client", CLIENTS)
def test_new_requests_open_a_connection_each_and_kept_ones_keep_theirs(load, client):
    """The local port tells: one for each user's kept requests, another for every new one."""
    process = load(**CLIENTS[client], users=10)

    _, rows = process.run(1.5)

    rows = [row for row in rows if row["outcome"] != "not_sent"]  # a busy machine: no user was free in time
    kept = collections.defaultdict(set)
    for row in rows:
        if row["connection"] == "kept":
            kept[row["user"]].add(row["local_port"])
    new = [row["local_port"] for row in rows if row["connection"] == "new"]
    assert 0.3 < len(new) / len(rows) < 0.7
    assert all(len(ports) == 1 for ports in kept.values())
    assert len({port for ports in kept.values() for port in ports}) == len(kept) == 10
    assert all(port > 0 for port in new)
    # The kernel may hand out a port again once its connection is closed: 53 new ones once had 52 ports.
    assert len(set(new)) > 0.9 * len(new)


@pytest.mark.parametrize("client", CLIENTS)
def test_connections_leave_from_the_source_address(load, server, client):
    """A fresh address for each run keeps the conntrack entries of the last run out of it."""
    process = load(**CLIENTS[client], source_address="127.9.8.7")

    process.run(0.5)

    assert server.seen()["peers"] == ["127.9.8.7"]


def test_live_lines_add_up(load):
    """Counts only grow, every second has about ten lines, and the recent ones sum to the whole."""
    process = load()

    process.run(1.5)

    live = [line for line in process.lines if line["state"] == "live"]
    assert 8 <= len(live) <= 25
    assert all(a["scheduled"] <= b["scheduled"] and a["ok"] <= b["ok"] for a, b in itertools.pairwise(live))
    assert sum(line["recent"]["ok"] for line in live) == live[-1]["ok"]
    assert all(line["scheduled"] >= line["sent"] == line["ok"] + line["bad"] + line["in_flight"] for line in live)
    assert live[-1]["lag_p99_ns"] > 0


def test_the_end_of_stdin_ends_the_load(load):
    """A harness that was killed leaves no load behind, and a whole file."""
    process = load()
    process.start()
    process.wait("live", lambda line: line["ok"] > 20)

    process.process.stdin.close()
    closed_ns = time.monotonic_ns()
    done, rows = process.finish()

    assert whole(done, rows)
    assert max(row["scheduled_ns"] for row in rows) < closed_ns + SECOND
    assert done["t_ns"] - closed_ns < 10 * SECOND


def test_the_end_of_stdin_before_the_start_ends_the_process(load):
    """Nothing was sent, nothing is on record, the exit code is 0."""
    process = load()
    process.wait("ready")

    process.process.stdin.close()

    assert process.process.wait(timeout=10) == 0
    assert process.rows() == []


def test_sigterm_is_the_end_and_sigint_is_not(load):
    """Ctrl-C reaches the whole process group; the load goes on until the harness has undone the fault."""
    process = load()
    process.start()
    seen = process.wait("live", lambda line: line["ok"] > 5)

    process.process.send_signal(signal.SIGINT)
    process.wait("live", lambda line: line["ok"] > seen["ok"] + 20)
    process.process.send_signal(signal.SIGTERM)
    done, rows = process.finish()

    assert whole(done, rows)


def test_a_stop_that_comes_late_moves_behind_what_was_sent(load):
    """done.stop_ns is the truth: every arrival before it is on record, none after it."""
    process = load()
    start_ns = process.start()
    process.wait("live", lambda line: line["sent"] > 20)

    process.say(stop_ns=start_ns)
    done, rows = process.finish()

    assert done["stop_ns"] > start_ns
    assert whole(done, rows)
    assert len(rows) > 20


def test_the_schedule_ends_by_itself(load):
    """No stop is needed when max_duration_ns is over."""
    process = load(max_duration_ns=SECOND // 2)
    start_ns = process.start()

    done, rows = process.finish()

    assert done["stop_ns"] == start_ns + SECOND // 2
    assert whole(done, rows)


def test_a_reader_that_does_not_read_does_not_stop_the_load(load):
    """Live lines are dropped when the pipe is full; the schedule is kept."""
    process = load(arrivals="constant")
    process.wait("ready")
    fcntl.fcntl(process.process.stdout.fileno(), fcntl.F_SETPIPE_SZ, 4096)
    with process._changed:  # the thread that reads is stuck at its next line
        start_ns = process.start_without_waiting()
        process.say(stop_ns=start_ns + 3 * SECOND)
        time.sleep(3.5)
    done, rows = process.finish()

    assert whole(done, rows)
    assert len(rows) == 300
    assert sum(row["sent_ns"] is not None for row in rows) > 200
    assert sum(line["state"] == "live" for line in process.lines) < 28


def test_an_unreachable_target_is_an_error_that_says_why(load, server):
    """The line names the target and the reason."""
    server.kill()
    process = load(users=3)

    line = process.wait("error")

    assert f"0 of 3 users connected to 127.0.0.1:{server.http_port}" in line["detail"]
    assert "refused" in line["detail"]
    assert process.process.wait(timeout=10) == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rate": 3}, "unknown field rate"),
        ({"rate_per_s": 0}, "rate_per_s is 0, but must be more than 0"),
        ({"user": "raw", "protocol": "kserve-v2-grpc"}, "raw speaks HTTP only"),
        ({"golden": "/nowhere.json"}, "/nowhere.json: FileNotFoundError"),
        ({"users": 50_000_000}, "users need 100000064 file descriptors"),
        ({"worker": 2, "workers": 2}, "worker is 2, but must be from 0 to 1"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_refused_by_name(load, change, said):
    """Nothing is sent; the error line says which field."""
    process = load(**change)

    assert said in process.wait("error")["detail"]
    assert process.process.wait(timeout=10) == 1
