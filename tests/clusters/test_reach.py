"""The way of the load into a cluster: which address is taken, and what is waited for."""

from __future__ import annotations

import socket
import threading

import pytest

from clusters.context.reach import endpoint, first_open
from clusters.provider import ClusterError


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def test_a_way_that_refuses_at_first_is_waited_for():
    """A node's rules follow a second after the API server; the next way would be worse."""
    port = free_port()
    with socket.socket() as later, socket.create_server(("127.0.0.1", 0)) as worse:
        later.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        later.bind(("127.0.0.1", port))
        opens = threading.Timer(0.5, later.listen)
        opens.start()
        try:
            found = first_open([("127.0.0.1", port), worse.getsockname()], "x")
        finally:
            opens.join()

    assert found == ("127.0.0.1", port)


def test_a_way_that_refuses_for_good_is_given_up(monkeypatch):
    """The next one is taken; without one, all that was tried is told."""
    monkeypatch.setattr("clusters.context.reach.REFUSED_S", 0.2)
    closed = ("127.0.0.1", free_port())
    with socket.create_server(("127.0.0.1", 0)) as second:
        assert first_open([closed, second.getsockname()], "x") == second.getsockname()

    with pytest.raises(ClusterError, match=rf"127.0.0.1:{closed[1]}: .*refused"):
        first_open([closed], "x")


class Answers:
    """A Service with node ports on two nodes, both reached on this machine; its pod is on the first."""

    def __init__(self, port: int) -> None:
        ports = [{"name": "http", "port": 8000, "nodePort": port}]
        self.service = {"metadata": {"name": "d", "namespace": "x"}, "spec": {"clusterIP": "None", "ports": ports}}

    def find(self, path: str) -> dict:
        return self.service

    def items(self, path: str, selector: str = "") -> list[dict]:
        if path.endswith("endpointslices"):
            return [{"endpoints": [{"nodeName": "gpu-1"}]}]
        addresses = {"gpu-1": "127.0.0.1", "gpu-2": "127.0.0.2"}
        return [
            {"metadata": {"name": name}, "status": {"addresses": [{"type": "InternalIP", "address": address}]}}
            for name, address in addresses.items()
        ]


def test_the_load_enters_by_a_node_without_pods_of_the_service():
    """What stops a node stops one that has some: then the load would have lost its way, and not the platform."""
    with socket.create_server(("0.0.0.0", 0)) as both:
        port = both.getsockname()[1]

        assert endpoint(Answers(port), "x", "d", "http") == ("127.0.0.2", port)
