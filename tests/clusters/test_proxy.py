"""The latency proxy: bytes, ends and breaks arrive as the network would bring them, later when it is told so."""

from __future__ import annotations

import json
import signal
import socket
import struct
import threading
import time
from contextlib import closing

import pytest
import tritonclient.grpc as triton_grpc
from hypothesis import given
from hypothesis import strategies as st

from clusters.platform.proxy.delay import Latency, Line, Switch
from tests.clusters.platform_kit import address, listens, program, server, status, until

PORT = 8000
MS = 1_000_000


# -- the delay, without a network --


@given(
    st.lists(st.integers(0, 50 * MS), min_size=1, max_size=50),
    st.integers(0, 300 * MS),
    st.floats(0, 1),
    st.integers(),
)
def test_chunks_keep_their_order_and_wait_within_the_jitter(gaps, latency_ns, share, seed):
    """Never before the chunk before it; never less than latency - jitter; more than latency + jitter only for order."""
    jitter_ns = int(latency_ns * share)
    switch = Switch()
    switch.turn(Latency(latency_ns=latency_ns, jitter_ns=jitter_ns, seed=seed))
    line = Line(switch, 3)
    now, last = 0, 0
    for gap in gaps:
        now += gap
        release = line.release_ns(now)
        assert release >= last
        assert now + latency_ns - jitter_ns <= release <= max(last, now + latency_ns + jitter_ns)
        last = release


def test_the_jitter_of_a_connection_comes_from_the_seed_alone():
    """The same seed gives the same delays; another seed and another connection give others."""

    def delays(seed, number):
        switch = Switch()
        switch.turn(Latency(latency_ns=100 * MS, jitter_ns=50 * MS, seed=seed))
        line = Line(switch, number)
        return [line.release_ns(second * 1000 * MS) for second in range(20)]

    assert delays(7, 1) == delays(7, 1)
    assert delays(7, 1) != delays(8, 1)
    assert delays(7, 1) != delays(7, 2)


def test_what_waits_keeps_its_time_and_what_follows_waits_for_it():
    """Switching off lets nothing overtake."""
    switch = Switch()
    switch.turn(Latency(latency_ns=100 * MS))
    line = Line(switch, 1)
    assert line.release_ns(0) == 100 * MS
    switch.turn(Latency())

    assert line.release_ns(10 * MS) == 100 * MS
    assert line.release_ns(150 * MS) == 150 * MS


@pytest.mark.parametrize("wrong", [{"latency_ns": -1}, {"jitter_ns": 1}, {"latency_ns": 5, "jitter_ns": 6}])
def test_an_impossible_latency_is_refused(wrong):
    with pytest.raises(ValueError, match="jitter_ns"):
        Latency(**wrong)


# -- the proxy as a process, before a scripted upstream --


class Upstream:
    """Listens, and gives each accepted connection to the test."""

    def __init__(self) -> None:
        self.host = address()
        self._socket = socket.create_server((self.host, PORT))
        self._socket.settimeout(10)

    def accept(self) -> socket.socket:
        connection, _ = self._socket.accept()
        connection.settimeout(10)
        return connection

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(scope="module")
def upstream():
    made = Upstream()
    yield made
    made.close()


@pytest.fixture(scope="module")
def proxy(upstream):
    host = address()
    with program("clusters.platform.proxy", host, UPSTREAM=upstream.host, PORTS=str(PORT)) as process:
        until(lambda: listens(host, 9901), "the proxy is up")
        yield host
        assert process.poll() is None


@pytest.fixture
def pair(upstream, proxy):
    """A client's connection through the proxy, and its other end."""
    client = socket.create_connection((proxy, PORT), 10)
    other = upstream.accept()
    yield client, other
    client.close()
    other.close()
    turn(proxy, latency_ns=0)


def turn(proxy, **latency):
    code, body = status(f"http://{proxy}:9901/latency", "PUT", json.dumps(latency).encode())
    assert code == 200, body
    return json.loads(body)


def state(proxy):
    return json.loads(status(f"http://{proxy}:9901/state")[1])


def receive(connection, count):
    data = b""
    while len(data) < count:
        more = connection.recv(65536)
        if not more:
            break
        data += more
    return data


def reset(connection):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def test_bytes_arrive_unchanged_both_ways(pair):
    """More than any buffer holds, in both directions at the same time."""
    client, other = pair
    block = bytes(range(256)) * 4096 * 8
    senders = [threading.Thread(target=end.sendall, args=(block,)) for end in pair]
    for sender in senders:
        sender.start()
    got = {}
    readers = [threading.Thread(target=lambda end=end: got.update({end: receive(end, len(block))})) for end in pair]
    for reader in readers:
        reader.start()
    for thread in senders + readers:
        thread.join(30)

    assert got[client] == got[other] == block


@pytest.mark.parametrize("first", ["client", "upstream"])
def test_a_half_closed_connection_stays_open_the_other_way(pair, first):
    """FIN is passed on; the other direction still carries, and its FIN ends it all."""
    one, two = pair if first == "client" else pair[::-1]
    one.sendall(b"last words")
    one.shutdown(socket.SHUT_WR)

    assert receive(two, 100) == b"last words"
    two.sendall(b"answer")
    two.shutdown(socket.SHUT_WR)
    assert receive(one, 100) == b"answer"


@pytest.mark.parametrize("first", ["client", "upstream"])
def test_a_reset_arrives_as_a_reset(pair, first):
    """Not as an orderly end: clients tell the two apart, and so does the harness."""
    one, two = pair if first == "client" else pair[::-1]
    one.sendall(b"x")
    assert two.recv(1) == b"x"
    reset(one)

    with pytest.raises(ConnectionResetError):
        two.recv(1)


def test_what_was_sent_before_a_reset_arrives_before_it(pair, proxy):
    """Also when it is held back."""
    client, other = pair
    turn(proxy, latency_ns=500 * MS)
    client.sendall(b"last words")
    until(lambda: state(proxy)["held_bytes"] == 10, "the proxy has them")
    reset(client)

    assert receive(other, 10) == b"last words"
    with pytest.raises(ConnectionResetError):
        other.recv(1)


def test_an_upstream_that_refuses_is_a_reset(proxy, upstream):
    """The client's connection is accepted before the upstream is asked; docs say so."""
    host = address()
    with program("clusters.platform.proxy", host, UPSTREAM=address(), PORTS=str(PORT)):
        until(lambda: listens(host, PORT), "the proxy is up")
        with closing(socket.create_connection((host, PORT), 10)) as client, pytest.raises(ConnectionResetError):
            client.settimeout(10)
            client.recv(1)
        assert status(f"http://{host}:9901/healthz")[0] == 200
        assert status(f"http://{host}:9901/readyz")[0] == 503


def test_only_what_the_client_sends_is_held_back(pair, proxy):
    client, other = pair
    turn(proxy, latency_ns=200 * MS)

    def takes(sender, receiver):
        begin = time.monotonic()
        sender.sendall(b"data")
        assert receive(receiver, 4) == b"data"
        return time.monotonic() - begin

    assert min(takes(other, client) for _ in range(5)) < 0.1
    assert 0.2 <= min(takes(client, other) for _ in range(5)) < 0.4


def test_a_live_connection_is_switched_and_not_touched(pair, proxy):
    """The same connection is quick, slow and quick again; the bytes of a header and a body wait once, not twice."""
    client, other = pair

    def takes():
        begin = time.monotonic()
        client.sendall(b"header")
        client.sendall(b"body")
        assert receive(other, 10) == b"headerbody"
        return time.monotonic() - begin

    assert min(takes() for _ in range(5)) < 0.1
    turned = turn(proxy, latency_ns=150 * MS, jitter_ns=30 * MS, seed=5)
    assert (turned["latency_ns"], turned["jitter_ns"], turned["seed"]) == (150 * MS, 30 * MS, 5)
    assert 0.12 <= min(takes() for _ in range(5)) < 0.24
    turn(proxy, latency_ns=0)
    assert min(takes() for _ in range(5)) < 0.1


def test_jitter_keeps_the_bytes_in_order(pair, proxy):
    client, other = pair
    turn(proxy, latency_ns=20 * MS, jitter_ns=20 * MS, seed=1)
    numbers = b"".join(struct.pack(">I", number) for number in range(500))
    for at in range(0, len(numbers), 4):
        client.sendall(numbers[at : at + 4])

    assert receive(other, len(numbers)) == numbers


@pytest.mark.parametrize("body", [b"{", b'{"latency_ns": "x"}', b'{"latency": 1}', b"[]", b'{"jitter_ns": 5}'])
def test_a_wrong_latency_is_a_400_and_changes_nothing(proxy, body):
    before = state(proxy)["changes"]

    assert status(f"http://{proxy}:9901/latency", "PUT", body)[0] == 400
    assert state(proxy)["changes"] == before


# -- before a real server --


@pytest.fixture(scope="module")
def before_a_server():
    with server() as (upstream, _):
        host = address()
        with program("clusters.platform.proxy", host, UPSTREAM=upstream, PORTS="8000,8001") as process:
            until(lambda: status(f"http://{host}:9901/readyz")[0] == 200, "the proxy is ready, as its upstream")
            yield host, process


def test_the_cost_is_measured_on_new_and_kept_connections(before_a_server):
    """Under half a millisecond at the median on a quiet machine; here only that it is measured, and sane."""
    host, _ = before_a_server
    code, body = status(f"http://{host}:9901/cost?n=50")
    figures = json.loads(body)

    assert (code, figures["n"]) == (200, 50)
    for kind in ("new", "kept"):
        each = figures[kind]
        assert each["added_ns"] == each["through_ns"] - each["direct_ns"]
        assert 0 < each["direct_ns"] < 1000 * MS
        assert each["through_p99_ns"] >= each["through_ns"]


def test_the_cost_is_not_measured_while_latency_is_on(before_a_server):
    host, _ = before_a_server
    turn(host, latency_ns=50 * MS)

    assert status(f"http://{host}:9901/cost?n=5")[0] == 409
    turn(host, latency_ns=0)
    assert status(f"http://{host}:9901/cost?n=0")[0] == 400


def test_grpc_passes_and_a_leaving_proxy_breaks_nothing(before_a_server):
    """SIGTERM: a kept connection is closed while nothing is under way on it, and the proxy ends."""
    host, process = before_a_server
    with triton_grpc.InferenceServerClient(f"{host}:8001") as client:
        assert client.is_server_ready()
        kept = socket.create_connection((host, 8000), 10)
        kept.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        assert kept.recv(1000).startswith(b"HTTP/1.1 200")
        process.send_signal(signal.SIGTERM)

        assert kept.recv(1000) == b""
        assert process.poll() is None, "it waits for the client's end"
        kept.close()
    assert process.wait(15) == 0
