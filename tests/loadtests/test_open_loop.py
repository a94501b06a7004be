"""The schedule is kept, or it is on record that it was not: nothing is forgotten, nothing is sent in a burst."""

import collections
import os
import resource
import signal
import time

import pytest

from tests.loadtests.conftest import SECOND
from tests.loadtests.test_protocol import CLIENTS, whole

LIMIT_NS = 100_000_000


def test_arrivals_that_no_user_can_take_are_not_sent(load, server):
    """Five users, a hang: five requests are in flight, the other arrivals are on record as not_sent, at once."""
    process = load(users=5, rate_per_s=100.0, timeout_ns=SECOND)
    process.start()
    process.wait("live", lambda line: line["ok"] > 20)

    server.behave("hang")
    hung_ns = time.monotonic_ns()
    process.wait("live", lambda line: line["t_ns"] > hung_ns + 2.5 * SECOND)
    stopped_ns = time.monotonic_ns()
    process.say(stop_ns=stopped_ns)
    done, rows = process.finish()

    assert whole(done, rows)
    missed = [row for row in rows if row["outcome"] == "not_sent"]
    assert len(missed) > 150
    for row in missed:
        assert row["sent_ns"] is row["first_byte_ns"] is row["end_ns"] is row["pod"] is row["local_port"] is None
        assert (row["attempts"], row["user"]) == (0, -1)
    sent = [row for row in rows if row["outcome"] != "not_sent"]
    assert max(row["sent_ns"] - row["scheduled_ns"] for row in sent) <= 2 * LIMIT_NS
    hung = [row for row in sent if row["sent_ns"] > hung_ns]
    assert {row["outcome"] for row in hung} == {"timeout"}
    assert len(hung) <= 5 * (1 + (stopped_ns - hung_ns) // SECOND)
    assert f"Locust counted {len(rows)} requests" in (process.out / "load.log").read_text()


def test_a_load_process_that_was_held_up_does_not_catch_up(load):
    """After a stall of 0.6 s at most the last 100 ms of arrivals go out late; the rest is not_sent."""
    process = load(rate_per_s=200.0, arrivals="constant", users=200)
    process.start()
    process.wait("live", lambda line: line["ok"] > 40)

    os.kill(process.process.pid, signal.SIGSTOP)
    stopped_ns = time.monotonic_ns()
    time.sleep(0.6)
    continued_ns = time.monotonic_ns()
    os.kill(process.process.pid, signal.SIGCONT)
    process.wait("live", lambda line: line["t_ns"] > continued_ns + SECOND // 2)
    process.say(stop_ns=time.monotonic_ns())
    done, rows = process.finish()

    assert whole(done, rows)
    stalled = [row for row in rows if stopped_ns < row["scheduled_ns"] < continued_ns]
    outcomes = collections.Counter(row["outcome"] for row in stalled)
    assert outcomes["not_sent"] >= 95
    assert sum(outcomes.values()) - outcomes["not_sent"] <= 22
    assert all(row["sent_ns"] - row["scheduled_ns"] <= 3 * LIMIT_NS for row in rows if row["sent_ns"])
    after = collections.Counter(row["outcome"] for row in rows if row["scheduled_ns"] > continued_ns + 20_000_000)
    assert set(after) <= {"ok", "not_sent"}
    assert after["ok"] > 2 * after["not_sent"]


def test_users_take_turns(load):
    """Every user, hence every kept connection and every pod behind one, gets its share."""
    process = load(users=20, rate_per_s=200.0)

    _, rows = process.run(2)

    taken = collections.Counter(row["user"] for row in rows)
    assert set(taken) == set(range(20))
    assert max(taken.values()) <= 2 * min(taken.values())


def test_workers_together_have_the_arrivals_of_the_whole(load):
    """Worker k of n takes the arrivals k, k+n, ...: the same times and numbers as one worker alone."""
    alone = load()
    done, rows = alone.run(1)
    parts = [load(worker=worker, workers=3) for worker in range(3)]
    for part in parts:
        part.wait("ready")
    start_ns = time.monotonic_ns() + SECOND // 5
    for part in parts:
        part.say(start_ns=start_ns)
        part.say(stop_ns=start_ns + SECOND)

    together = [row for part in parts for row in part.finish()[1]]

    def schedule(rows, zero_ns):
        return sorted((row["arrival"], row["scheduled_ns"] - zero_ns, row["connection"]) for row in rows)

    assert schedule(together, start_ns) == schedule(rows, done["start_ns"])


def test_a_spike_is_offered_when_it_is_due(load):
    """100/s, 400/s between 1 s and 1.5 s, 100/s again."""
    points = [[0, 100.0], [SECOND, 100.0], [SECOND, 400.0], [3 * SECOND // 2, 400.0], [3 * SECOND // 2, 100.0]]
    process = load(arrivals="constant", curve=points, users=200)

    done, rows = process.run(2)

    assert whole(done, rows)
    halves = collections.Counter((row["scheduled_ns"] - done["start_ns"]) * 2 // SECOND for row in rows)
    assert halves == {0: 50, 1: 50, 2: 200, 3: 50}
    assert {row["outcome"] for row in rows} <= {"ok", "not_sent"}


def test_a_trace_is_replayed_to_the_nanosecond(load, tmp_path):
    """Every moment of two laps, and nothing between them."""
    trace = tmp_path / "x.csv"
    trace.write_text("seconds,size\n" + "".join(f"{at * at / 1000},{at}\n" for at in range(30)))
    process = load(arrivals="trace", trace=str(trace), trace_speed=2.0, users=60)

    done, rows = process.run(0.8)

    assert whole(done, rows)
    lap_ns = 841_000_000 + 29_000_000
    due = [(lap * lap_ns + at * at * 1_000_000) // 2 for lap in range(2) for at in range(30)]
    scheduled = sorted(row["scheduled_ns"] - done["start_ns"] for row in rows)
    assert scheduled == [at for at in due if at < done["stop_ns"] - done["start_ns"]]


def test_a_killed_load_process_leaves_a_readable_file(load):
    """At most the last 100 ms are lost; what is there are whole rows."""
    process = load(rate_per_s=200.0, users=200)
    process.start()
    process.wait("live", lambda line: line["ok"] > 100)

    process.process.kill()
    killed_ns = time.monotonic_ns()
    process.process.wait()
    rows = process.rows_of_cut_file()

    # A line is said just before the rows that it counts are written; those of one 150 ms old are on disk.
    old = [line for line in process.lines if line["state"] == "live" and line["t_ns"] < killed_ns - 150_000_000]
    assert len(rows) >= old[-1]["ok"] + old[-1]["bad"] > 50
    assert len({row["arrival"] for row in rows}) == len(rows)
    assert killed_ns - max(row["end_ns"] for row in rows) < SECOND


def test_a_disk_that_takes_no_more_ends_the_load_with_an_error(load):
    """A load that cannot be recorded is not offered: the harness hears at once, and what was written stays readable."""
    process = load()
    process.start()
    process.wait("live", lambda line: line["ok"] > 20)

    written = (process.out / "requests-0.arrows").stat().st_size
    resource.prlimit(process.process.pid, resource.RLIMIT_FSIZE, (written + 3000, written + 3000))
    error = process.wait("error")

    assert "File too large" in error["detail"]
    assert process.process.wait(timeout=10) == 1
    assert len(process.rows_of_cut_file()) > 20


@pytest.mark.parametrize("client", ["tritonclient-grpc", "raw-http"])
def test_requests_that_hang_hold_up_no_others(load, server, client):
    """However many wait for an answer, the next one is read when it comes."""
    process = load(**CLIENTS[client], timeout_ns=SECOND, users=130)
    process.start()
    process.wait("live", lambda line: line["ok"] > 10)

    server.behave("hang@odd")
    process.wait("live", lambda line: line["in_flight"] > 30)
    full_ns = time.monotonic_ns()
    sent = process.lines[-1]["sent"]
    process.wait("live", lambda line: line["sent"] > sent + 60)
    process.say(stop_ns=time.monotonic_ns())
    _, rows = process.finish()

    answered = [row for row in rows if row["outcome"] == "ok" and row["sent_ns"] > full_ns]
    assert len(answered) > 10
    taken = sorted(row["end_ns"] - row["sent_ns"] for row in answered)
    assert taken[len(taken) // 2] < SECOND // 4
