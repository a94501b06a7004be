"""gRPC's channels say of each connection whose it was, and find a server again when it is there."""

import subprocess
import sys
import time

from loadtests.users import kserve_grpc
from tests.loadtests.conftest import ROOT, SECOND
from tests.loadtests.test_protocol import CLIENTS


def test_a_restarted_server_is_found_again_soon_and_a_slow_one_is_waited_for():
    """What the options are for: gRPC waits 1 s and more before it tries again, and gives each try 20 s."""
    options = dict(kserve_grpc._CHANNEL)

    assert options["grpc.initial_reconnect_backoff_ms"] == 100
    assert options["grpc.max_reconnect_backoff_ms"] == 200
    assert options["grpc.min_reconnect_backoff_ms"] == 1000
    assert options["grpc.use_local_subchannel_pool"] == 1


def test_a_server_that_is_busy_for_a_moment_is_not_unavailable(load, server):
    """A connection gets a second to be made: no request is given up before."""
    process = load(**CLIENTS["tritonclient-grpc"], timeout_ns=5 * SECOND, users=120)
    process.start()
    process.wait("live", lambda line: line["ok"] > 60)

    server.pause()
    paused_ns = time.monotonic_ns()
    process.wait("live", lambda line: line["t_ns"] > paused_ns + 4 * SECOND // 10)
    server.resume()
    resumed_ns = time.monotonic_ns()
    process.wait("live", lambda line: line["in_flight"] < 20 and line["t_ns"] > resumed_ns)
    process.say(stop_ns=time.monotonic_ns())
    _, rows = process.finish()

    held = [row for row in rows if row["sent_ns"] and paused_ns < row["sent_ns"] < resumed_ns]
    new = [row for row in held if row["connection"] == "new"]  # kept ones ping, and give up after half a second
    assert new
    # Where the machine stood still for a second, some may have been given up after it, and none before.
    assert {row["error"] for row in new if row["end_ns"] - row["sent_ns"] < 9 * SECOND // 10} <= {None}


def test_a_status_that_the_server_gives_leaves_the_kept_channel_where_it_is(load, server):
    """Only one whose connection broke is replaced."""
    server.behave("grpc_UNAVAILABLE")  # to the first request of each channel as well
    process = load(**CLIENTS["tritonclient-grpc"], timeout_ns=5 * SECOND)
    process.start()
    process.wait("live", lambda line: line["bad"] > 150)
    server.behave("well")
    process.wait("live", lambda line: line["ok"] > 60)
    process.say(stop_ns=time.monotonic_ns())
    _, rows = process.finish()

    kept = [row for row in rows if row["connection"] == "kept" and row["sent_ns"]]
    assert {row["outcome"] for row in kept} == {"ok", "grpc_UNAVAILABLE"}
    ports = {}
    for row in kept:
        ports.setdefault(row["user"], set()).add(row["local_port"])
    assert max(len(of_user) for of_user in ports.values()) == 1


CHANNELS = """
import contextlib, socket, sys, time
sys.path.insert(0, ".")
import grpc
from loadtests import grpc_socket
from loadtests.grpc_socket import CHANNEL_ARGUMENT, Sockets

listening = socket.create_server(("127.0.0.1", 0))  # takes connections and never says a word

@contextlib.contextmanager
def connecting(sockets):  # a channel that connects; the port that its connection came from
    options = [("grpc.use_local_subchannel_pool", 1), (CHANNEL_ARGUMENT, sockets)]
    with grpc.insecure_channel(f"127.0.0.1:{listening.getsockname()[1]}", options=options) as channel:
        channel.subscribe(lambda state: None, try_to_connect=True)
        connection, (_, port) = listening.accept()
        with connection:
            yield port
"""


def run(code):
    """In a process of its own: gRPC's threads are not to be met by other tests."""
    code = f"{CHANNELS}{code}\nimport os; os._exit(0)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stderr


def test_each_channel_knows_its_own_port():
    """Two at once: a connection of one is never booked for the other, whichever came last."""
    run("""
one, other = Sockets(None), Sockets("127.9.8.7")
with connecting(one) as port, connecting(other) as other_port:
    assert one.local_port == port
    assert other.local_port == other_port
""")


def test_what_closed_channels_leave_is_given_up():
    """Not at once, as gRPC may still use it; not never, as there is one for each new connection."""
    run("""
for _ in range(5):
    sockets = Sockets(None)
    with connecting(sockets):
        pass
    sockets.retire()
assert len(grpc_socket._by_address) == 5
grpc_socket._RETIRED_FOR_S = 0.0
deadline = time.monotonic() + 30
while len(grpc_socket._by_address) > 1:
    assert time.monotonic() < deadline, grpc_socket._by_address
    time.sleep(0.01)
    Sockets(None).retire()
""")
