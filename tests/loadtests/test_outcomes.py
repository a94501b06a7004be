"""Whatever goes wrong with a request has its name in the records, on new and kept connections alike."""

import time

import pytest

from tests.loadtests.conftest import SECOND, ScriptedServer
from tests.loadtests.test_protocol import CLIENTS

WRONG = {
    "wrong": ("wrong_answer", "OUTPUT differs"),
    "shape": ("wrong_answer", "OUTPUT has shape [#, #], not [#, #]"),
    "dtype": ("wrong_answer", "OUTPUT is float#, not float#"),
    "missing": ("wrong_answer", "OUTPUT is missing"),
}
HTTP = WRONG | {
    "well": ("ok", None),
    "slow": ("ok", None),
    "hang": ("timeout", "deadline"),
    "drip": ("timeout", "deadline"),
    "http_404": ("http_404", "request # was refused"),
    "http_503": ("http_503", "request # was refused"),
    "garbage": ("error", "JSONDecodeError"),
    "reset": ("reset", None),
    "fin": ("reset", None),
    "cut": ("truncated", None),
    "killed": ("refused", "ConnectionRefusedError"),
}
GRPC = WRONG | {
    "well": ("ok", None),
    "slow": ("ok", None),
    "hang": ("timeout", "deadline"),
    "grpc_INTERNAL": ("grpc_INTERNAL", "request # was refused"),
    "grpc_UNAVAILABLE": ("grpc_UNAVAILABLE", "request # was refused"),
    "killed": ("refused", "UNAVAILABLE"),
}
COURSES = {"tritonclient-http": HTTP, "tritonclient-grpc": GRPC, "raw-http": HTTP}
EACH = 8  # requests of each connection kind and course


@pytest.mark.parametrize("client", CLIENTS)
def test_every_course_has_its_outcome(load, server, client):
    """One load through all courses: each request ends as the course says, whichever connection it used."""
    process = load(**CLIENTS[client], timeout_ns=6 * SECOND // 10, rate_per_s=250.0, users=200)
    process.start()
    windows = {}

    for mode in [*(mode for mode in COURSES[client] if mode != "killed"), "killed"]:
        if mode == "killed":
            server.kill()
            time.sleep(0.4)  # kept gRPC channels back off 200 ms: what they had in flight was reset, not refused
        else:
            server.behave(mode)
        begin_ns = time.monotonic_ns()
        sent = process.lines[-1].get("sent", 0)
        process.wait("live", lambda line, sent=sent: line["sent"] >= sent + 10 * EACH)
        windows[mode] = (begin_ns, time.monotonic_ns() - SECOND // 20)
    process.say(stop_ns=time.monotonic_ns())
    _, rows = process.finish()

    for mode, (begin_ns, end_ns) in windows.items():
        seen = [row for row in rows if row["sent_ns"] is not None and begin_ns < row["sent_ns"] < end_ns]
        for connection in ("new", "kept"):
            mine = [row for row in seen if row["connection"] == connection]
            outcome, error = COURSES[client][mode]
            assert {row["outcome"] for row in mine} == {outcome}, (mode, connection, mine[0])
            assert all((row["error"] or "").startswith(error or "") for row in mine), (mode, connection, mine[0])
            assert len(mine) >= EACH, (mode, connection)
            assert all(row["local_port"] for row in mine), (mode, connection)
            if mode == "cut":
                assert all(row["first_byte_ns"] for row in mine)
            if outcome in ("reset", "refused"):
                assert all(row["first_byte_ns"] is None for row in mine)
            if outcome == "timeout":
                taken = [row["end_ns"] - row["sent_ns"] for row in mine]
                assert min(taken) > 0.58 * SECOND, mode
                assert sorted(taken)[len(taken) // 2] < SECOND, mode


@pytest.mark.parametrize("client", CLIENTS)
def test_a_server_that_is_back_is_found_at_once(load, server, client):
    """Recovery is the platform's, not the client's back-off: for kept connections too."""
    process = load(**CLIENTS[client], rate_per_s=200.0, users=130)
    process.start()
    process.wait("live", lambda line: line["ok"] > 60)

    server.kill()
    killed_ns = time.monotonic_ns()
    process.wait("live", lambda line: line["recent"]["ok"] == 0 and line["t_ns"] > killed_ns + 1.2 * SECOND)
    second = ScriptedServer(http_port=server.http_port, grpc_port=server.grpc_port)
    back_ns = time.monotonic_ns()
    try:
        process.wait("live", lambda line: line["t_ns"] > back_ns + 1.7 * SECOND)
        process.say(stop_ns=time.monotonic_ns())
        _, rows = process.finish()
    finally:
        second.kill()

    for connection in ("new", "kept"):
        mine = [row for row in rows if row["connection"] == connection and row["sent_ns"]]
        assert any(killed_ns < row["sent_ns"] < back_ns for row in mine)
        assert not [row for row in mine if row["sent_ns"] > back_ns and row["outcome"] == "refused"]
        late = [row for row in mine if row["sent_ns"] > back_ns + SECOND]
        assert late
        assert {row["outcome"] for row in late} == {"ok"}, [row for row in late if row["outcome"] != "ok"][:3]


@pytest.mark.parametrize("client", CLIENTS)
def test_a_hang_shows_from_its_first_to_its_last_moment(load, server, client):
    """Every arrival of the hang is bad or late: an open loop does not wait for the server."""
    process = load(**CLIENTS[client], rate_per_s=100.0, arrivals="constant", timeout_ns=4 * SECOND // 10)
    start_ns = process.start()
    process.wait("live", lambda line: line["ok"] > 30)

    paused_ns = time.monotonic_ns()
    server.pause()
    process.wait("live", lambda line: line["t_ns"] > paused_ns + SECOND)
    server.resume()
    resumed_ns = time.monotonic_ns()
    process.wait("live", lambda line: line["t_ns"] > resumed_ns + 1.5 * SECOND)
    process.say(stop_ns=time.monotonic_ns())
    done, rows = process.finish()

    assert done["arrivals"] == len(rows)
    inside = [row for row in rows if paused_ns < row["scheduled_ns"] < resumed_ns - 0.45 * SECOND]
    assert len(inside) == pytest.approx((resumed_ns - paused_ns - 0.45 * SECOND) / SECOND * 100, abs=2)
    assert {row["outcome"] for row in inside} == {"timeout"}
    before = [row for row in rows if row["scheduled_ns"] < paused_ns - SECOND // 10]
    assert {row["outcome"] for row in before} == {"ok"}
    after = [row for row in rows if row["scheduled_ns"] > resumed_ns + SECOND]
    assert {row["outcome"] for row in after} == {"ok"}
    assert start_ns == done["start_ns"]


@pytest.mark.parametrize("client", ["tritonclient-http", "raw-http"])
def test_a_new_connection_that_hangs_leaves_the_kept_one_alone(load, server, client):
    """A user's kept connection stays open, on its port, and serves on: only what is bad may look bad."""
    process = load(**CLIENTS[client], timeout_ns=3 * SECOND // 10, rate_per_s=250.0, users=130)
    process.start()
    process.wait("live", lambda line: line["ok"] >= 100)

    server.behave("hang@new")
    process.wait("live", lambda line: line["bad"] >= 200)
    process.say(stop_ns=time.monotonic_ns())
    _, rows = process.finish()

    bad = [row for row in rows if row["outcome"] != "ok"]
    assert {(row["connection"], row["outcome"]) for row in bad} == {("new", "timeout")}
    ports = {}
    for row in rows:
        if row["connection"] == "kept":
            ports.setdefault(row["user"], set()).add(row["local_port"])
    assert max(len(of_user) for of_user in ports.values()) == 1
