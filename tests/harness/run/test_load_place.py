"""Where the load runs: as the file says, and never beside what the fault strikes."""

from __future__ import annotations

import socket
from types import SimpleNamespace

import pytest

from clusters.provider import ClusterError
from harness.errors import InvalidRun
from harness.experiment.model import Workload
from harness.experiment.offered_load import Load
from harness.guard import Target
from harness.run.load_place import choose, described, struck_nodes
from tests.harness.run.test_port_forward import listener

NS = "inference"
WORKLOAD = Workload(namespace=NS, service="detector", selector="app=detector", model="detector")


class Cluster:
    """A Service, and a pod on each of three nodes."""

    service = {"spec": {"clusterIP": "10.0.0.7", "ports": [{"name": "http", "port": 80}]}}  # noqa: RUF012

    def list(self, kind, namespace, selector):
        assert (kind, namespace, selector) == ("Pod", NS, "app=detector")
        return [self.get("Pod", f"pod-{number}", NS) for number in (1, 2, 3)]

    def get(self, kind, name, namespace):
        if kind == "Service":
            return self.service
        return {"metadata": {"name": name}, "spec": {"nodeName": name.replace("pod", "node")}}


class Provider:
    """Reaches the Service at an address, or not at all."""

    def __init__(self, address=None):
        self.address = address

    def load_endpoint(self, access, namespace, service, port):
        if self.address is None:
            raise ClusterError("No way from here to Service inference/detector.")
        return self.address

    def source_address(self, access):
        return "127.1.2.3"


def step(*targets, ours=True):
    return SimpleNamespace(type="action", ours=ours, targets=targets)


def target(kind, name):
    return Target(activity="kill", kind=kind, name=name, namespace=NS if kind == "Pod" else "")


KILL = step(target("Pod", "pod-2"))


def place(provider, *steps, **load):
    block = SimpleNamespace(workload=WORKLOAD, load=Load(**{"rate": "200/s", **load}))
    plan = SimpleNamespace(steps=steps or (KILL,))
    return choose(SimpleNamespace(bulletproof=block), provider, None, Cluster(), plan)


@pytest.fixture
def free():
    """An address where nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        yield probe.getsockname()


def test_auto_is_outside_where_the_service_answers_from_here(free):
    """And says so."""
    found = place(Provider(free))

    assert (found.inside, found.host, found.port, found.source_address) == (False, *free, "127.1.2.3")
    assert described(found) == {"from": "outside", "target": f"{free[0]}:{free[1]}"}


def test_auto_is_inside_where_it_does_not_and_says_why():
    """To the Service's own address, off the node that is struck."""
    found = described(place(Provider()))

    assert (found["from"], found["target"], found["not_on_nodes"]) == ("inside", "10.0.0.7:80", ["node-2"])
    assert "No way from here" in found["why"]


@pytest.mark.parametrize(
    "load", [{"from": "outside"}, {"join": "192.0.2.7:5557"}], ids=["outside", "workers that join"]
)
def test_a_load_that_must_be_outside_is_never_inside(load):
    """What was asked for is not replaced in silence."""
    with pytest.raises(ClusterError, match="No way from here"):
        place(Provider(), **load)


def test_a_url_is_where_clients_come_from(free):
    """An ingress or a gateway, as clients have it; the Service is not asked."""
    found = place(Provider(), url="http://gateway.example:8000")

    assert (found.inside, found.host, found.port) == (False, "gateway.example", 8000)


@pytest.mark.parametrize("way", ["url", "endpoint"])
def test_a_port_forward_is_refused_with_the_reason(way):
    """It would die with its pod, and its death would pass for the platform's."""
    with listener("port-forward", "svc/detector") as port:
        provider = Provider(("127.0.0.1", port))
        with pytest.raises(InvalidRun, match="leads to one pod past the Service"):
            place(provider, **({"url": f"http://localhost:{port}"} if way == "url" else {}))


@pytest.mark.parametrize(
    ("steps", "nodes"),
    [
        ([KILL], ["node-2"]),
        ([step(target("Node", "node-1")), KILL], ["node-1", "node-2"]),
        ([step(target("Deployment", "detector"))], []),
        ([step(ours=False)], ["node-1", "node-2", "node-3"]),  # nobody knows what it strikes
        ([SimpleNamespace(type="probe", ours=False, targets=())], []),
    ],
)
def test_the_nodes_of_what_is_struck_are_no_place_for_the_load(steps, nodes):
    """Where it is not known, no node of the workload is."""
    assert struck_nodes(SimpleNamespace(steps=steps), Cluster(), WORKLOAD) == tuple(nodes)


def test_the_experiment_may_say_otherwise():
    """On a cluster of one node there is no other place."""
    assert place(Provider(), beside_target=True).avoid == ()
