"""Services: who gets connections, when, and what happens to those that are open."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator

import nodes_kit as kit
import pytest
from nodes_kit import Cluster, deployment, pod, service, wait_for

LAG_S = 1.0


def test_connections_are_spread_over_ready_pods_only(cluster: Cluster) -> None:
    """Each new connection goes to one of them by chance; a pod that is not ready gets none."""
    cluster.create("services", service("web"))
    cluster.create("deployments", deployment("web", 2))
    sick = pod("sick", "8000", "sick=ready", labels={"app": "web"})
    sick["spec"]["containers"][0]["readinessProbe"] = {"httpGet": {"path": "/check/ready", "port": 8000}}
    cluster.create("pods", sick)
    cluster.in_use("web")

    address = _address(cluster)
    wait_for(lambda: len({_name(address) for _ in range(20)} - {""}) == 2, "both pods answer")

    names = [_name(address) for _ in range(100)]
    assert set(names) == {p["metadata"]["name"] for p in cluster.list("pods") if kit.ready(p)}
    assert 20 < names.count(names[0]) < 80


def test_without_a_ready_pod_connections_are_refused(cluster: Cluster) -> None:
    """At first, and again when the last one is gone."""
    cluster.create("services", service("web"))
    address = _address(cluster)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((address, 8000), timeout=2)

    cluster.create("pods", pod("web"))
    wait_for(lambda: _name(address) == "web", "the pod answers")
    cluster.delete("pods", "web", gracePeriodSeconds=0)

    def refused() -> bool:
        try:
            socket.create_connection((address, 8000), timeout=2).close()
        except ConnectionRefusedError:
            return True
        except (ConnectionResetError, TimeoutError):  # within the lag: taken by the proxy, which finds nobody
            return False
        return False

    wait_for(refused, "refused again", LAG_S + 5)


def test_a_change_takes_effect_with_kube_proxys_lag(cluster: Cluster) -> None:
    """About a second after the EndpointSlice changed, not at once."""
    cluster.create("services", service("web"))
    cluster.create("pods", pod("web"))
    address = _address(cluster)
    wait_for(lambda: any(e["conditions"]["ready"] for e in _endpoints(cluster)), "the endpoint")
    begun = time.monotonic()

    wait_for(lambda: _name(address), "an answer through the Service")

    assert time.monotonic() - begun > 0.5


def test_a_terminating_pod_is_withdrawn_at_once_and_its_connections_go_on(cluster: Cluster) -> None:
    """ready=False, serving=True, terminating=True while preStop runs; the open connection is answered."""
    cluster.create("services", service("web"))
    cluster.create(
        "deployments", deployment("web", 1, "8000", "term=3", lifecycle={"preStop": {"sleep": {"seconds": 2}}})
    )
    cluster.in_use("web")
    name = cluster.list("pods")[0]["metadata"]["name"]
    address = _address(cluster)
    wait_for(lambda: _name(address), "an answer")
    kept = socket.create_connection((address, 8000), timeout=3)

    cluster.delete("pods", name)
    found = wait_for(lambda: [e for e in _endpoints(cluster) if e["conditions"]["terminating"]], "terminating")[0]
    assert found["conditions"] == {"ready": False, "serving": True, "terminating": True}
    assert found["targetRef"]["name"] == name
    wait_for(lambda: _name(address) not in ("", name), "only the replacement gets new connections", 5)

    kept.sendall(b"GET /name HTTP/1.1\r\nHost: x\r\n\r\n")
    answer = b""
    while not answer.endswith(name.encode()):
        piece = kept.recv(4096)
        assert piece, answer
        answer += piece
    kept.close()


def test_endpoints_name_ports_pods_and_nodes(cluster: Cluster) -> None:
    """A named targetPort is each pod's own number; pods that differ are in slices of their own."""
    cluster.create("services", service("web", ports=[{"name": "http", "port": 80, "targetPort": "web"}]))
    for name, port in (("one", 8000), ("two", 8001)):
        ports = [{"name": "web", "containerPort": port}]
        cluster.create("pods", pod(name, str(port), labels={"app": "web"}, ports=ports))
        cluster.running(name)

    slices = wait_for(
        lambda: (
            len(s := cluster.list("endpointslices", "kubernetes.io/service-name=web")) == 2
            and all(x["endpoints"] and x["endpoints"][0]["conditions"]["ready"] for x in s)
            and s
        ),
        "two slices",
    )

    found = {s["endpoints"][0]["targetRef"]["name"]: s for s in slices}
    assert {name: s["ports"][0]["port"] for name, s in found.items()} == {"one": 8000, "two": 8001}
    assert found["one"]["endpoints"][0]["nodeName"] == cluster.get("pods", "one")["spec"]["nodeName"]
    assert found["one"]["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"]
    cluster.delete("services", "web")
    wait_for(lambda: not cluster.list("endpointslices"), "the slices go with the Service")


# The proxy's manners, told from a backend that the test itself is


@pytest.fixture
def backend(cluster: Cluster) -> Iterator[tuple[socket.socket, str]]:
    """A listening socket of this test behind a Service of its own: (listener, the Service's address)."""
    cluster.create("services", {"metadata": {"name": "raw"}, "spec": {"ports": [{"name": "p", "port": 8000}]}})
    address = _address(cluster, "raw")
    listener = socket.create_server((f"{cluster.info.network}.250.2", 0))
    listener.settimeout(3)
    port = listener.getsockname()[1]
    endpoints = [{"addresses": [f"{cluster.info.network}.250.2"], "conditions": {"ready": True}}]
    slice_ = {
        "metadata": {"name": "raw", "labels": {"kubernetes.io/service-name": "raw"}},
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": [{"name": "p", "port": port}],
    }
    cluster.create("endpointslices", slice_)

    def connects() -> bool:
        try:
            socket.create_connection((address, 8000), timeout=1).close()
        except OSError:
            return False
        listener.accept()[0].close()
        return True

    wait_for(connects, "the Service")
    yield listener, address
    listener.close()


def test_a_reset_of_the_pod_reaches_the_client_as_a_reset(backend: tuple[socket.socket, str]) -> None:
    """Not as an orderly end."""
    listener, address = backend
    client = socket.create_connection((address, 8000), timeout=3)
    server, _ = listener.accept()

    server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    server.close()

    with pytest.raises(ConnectionResetError):
        client.recv(1)


def test_a_reset_of_the_client_reaches_the_pod_as_a_reset(backend: tuple[socket.socket, str]) -> None:
    """The other way round."""
    listener, address = backend
    client = socket.create_connection((address, 8000), timeout=3)
    server, _ = listener.accept()
    server.settimeout(3)

    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()

    with pytest.raises(ConnectionResetError):
        server.recv(1)


def test_either_side_may_end_its_half_and_still_read(backend: tuple[socket.socket, str]) -> None:
    """FIN is passed on as FIN; the other direction stays open."""
    listener, address = backend
    client = socket.create_connection((address, 8000), timeout=3)
    server, _ = listener.accept()
    server.settimeout(3)

    client.sendall(b"question")
    client.shutdown(socket.SHUT_WR)
    asked = b"".join(iter(lambda: server.recv(100), b""))
    server.sendall(b"answer")
    server.close()

    assert (asked, b"".join(iter(lambda: client.recv(100), b""))) == (b"question", b"answer")


def test_a_lot_of_data_arrives_whole_through_slow_readers(backend: tuple[socket.socket, str]) -> None:
    """20 MB each way at once, through full buffers."""
    listener, address = backend
    client = socket.create_connection((address, 8000), timeout=20)
    server, _ = listener.accept()
    server.settimeout(20)
    blob = bytes(range(256)) * 4096 * 20
    got: dict[str, bytes] = {}

    def send(sock: socket.socket) -> None:
        sock.sendall(blob)
        sock.shutdown(socket.SHUT_WR)

    def receive(name: str, sock: socket.socket) -> None:
        time.sleep(0.2)
        pieces = []
        while piece := sock.recv(100_000):
            pieces.append(piece)
        got[name] = b"".join(pieces)

    work = [threading.Thread(target=send, args=(s,)) for s in (client, server)]
    work += [threading.Thread(target=receive, args=(n, s)) for n, s in (("client", client), ("server", server))]
    for thread in work:
        thread.start()
    for thread in work:
        thread.join(30)

    assert got["client"] == blob
    assert got["server"] == blob


def test_the_pod_sees_the_clients_own_address(backend: tuple[socket.socket, str]) -> None:
    """As behind kube-proxy, which rewrites only the destination."""
    listener, address = backend
    client = socket.create_connection((address, 8000), timeout=3, source_address=("127.66.7.8", 0))

    server, seen = listener.accept()

    assert seen[0] == "127.66.7.8"
    client.close()
    server.close()


def test_a_connection_outlives_its_endpoint(cluster: Cluster, backend: tuple[socket.socket, str]) -> None:
    """Withdrawn from the slice, new ones are refused; the open one is carried on."""
    listener, address = backend
    client = socket.create_connection((address, 8000), timeout=3)
    server, _ = listener.accept()

    cluster.delete("endpointslices", "raw")

    def refused() -> bool:
        with contextlib.suppress(ConnectionRefusedError):
            socket.create_connection((address, 8000), timeout=1).close()
            return False
        return True

    wait_for(refused, "refused", 3)
    server.sendall(b"still here")
    assert client.recv(100) == b"still here"


def test_the_proxy_comes_back_when_it_dies(cluster: Cluster) -> None:
    """A kube-proxy that crashed is restarted and knows everything again."""
    import signal

    import psutil

    cluster.create("services", service("web"))
    cluster.create("pods", pod("web"))
    address = _address(cluster)
    wait_for(lambda: _name(address) == "web", "an answer")
    proxies = [
        child
        for child in psutil.Process(cluster.info.pid).children()
        if "clusters.sandbox.service_proxy" in child.cmdline()
    ]
    assert len(proxies) == 1

    proxies[0].send_signal(signal.SIGKILL)
    proxies[0].wait(5) if proxies[0].is_running() else None

    wait_for(lambda: _name(address) == "web", "an answer again", 5)


def _address(cluster: Cluster, name: str = "web") -> str:
    return str(cluster.get("services", name)["spec"]["clusterIP"])


def _endpoints(cluster: Cluster) -> list[kit.Object]:
    return [e for s in cluster.list("endpointslices") for e in s["endpoints"]]


def _name(address: str) -> str:
    try:
        return kit.get(address, "name")
    except OSError:
        return ""
