"""Services and their endpoints: who gets traffic, and from when on no more."""

from __future__ import annotations

import pytest

from tests.conformance.api import Api, Object, condition, wait_for
from tests.conformance.manifests import CHECK, SERVER, pod, service, visit

# Asks ADDRESS PORT N times on new connections; prints the answers or the errors, one a line.
ASK = """
import socket, sys
for _ in range(int(sys.argv[3])):
    try:
        with socket.create_connection((sys.argv[1], int(sys.argv[2])), 3) as s:
            s.sendall(b"GET /name HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
            said = b""
            while part := s.recv(4096):
                said += part
        print(said.decode().rpartition("\\r\\n\\r\\n")[2])
    except OSError as error:
        print(type(error).__name__)
"""


def _endpoints(api: Api, name: str) -> dict[str, Object]:
    """Pod -> its endpoint, of all slices of a Service."""
    found = api.list("endpointslices", f"kubernetes.io/service-name={name}")
    return {e["targetRef"]["name"]: e for s in found for e in s.get("endpoints") or () if e.get("targetRef")}


def _conditions(api: Api, name: str, pod_name: str) -> tuple[bool, bool, bool] | None:
    """(ready, serving, terminating) of one endpoint."""
    found = _endpoints(api, name).get(pod_name)
    if found is None:
        return None
    said = found["conditions"]
    return said["ready"], said["serving"], said["terminating"]


def _server(api: Api, name: str, *sick: str, app: str = "web", **more: object) -> Object:
    return pod(api, name, SERVER, *sick, labels={"app": app}, readinessProbe=CHECK, **more)


def test_endpoints_are_the_pods_that_the_selector_matches(api: Api) -> None:
    """EndpointSlices: addresses with pod, node, port and owner; other pods are none."""
    api.create("pods", _server(api, "in"))
    api.create("pods", _server(api, "out", app="other"))
    api.create("services", service("web"))
    there = api.ready("in")
    wait_for(lambda: _conditions(api, "web", "in") == (True, True, False), "the endpoint ready")

    (found,) = api.list("endpointslices", "kubernetes.io/service-name=web")
    (endpoint,) = found["endpoints"]
    assert endpoint["addresses"] == [there["status"]["podIP"]]
    assert endpoint["nodeName"] == there["spec"]["nodeName"]
    assert found["addressType"] == "IPv4"
    assert [(p["name"], p["port"], p["protocol"]) for p in found["ports"]] == [("http", 8000, "TCP")]
    assert found["metadata"]["ownerReferences"][0]["name"] == "web"
    assert found["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"] == "endpointslice-controller.k8s.io"


def test_an_endpoint_is_ready_when_its_pod_is(api: Api) -> None:
    """EndpointSlices, conditions: ready maps to the pod's Ready condition."""
    api.create("pods", _server(api, "one", "ready"))
    api.create("services", service("web"))
    wait_for(lambda: _conditions(api, "web", "one") == (False, False, False), "the endpoint, not ready")

    visit(api, "one", "well/ready")
    wait_for(lambda: _conditions(api, "web", "one") == (True, True, False), "ready")
    visit(api, "one", "sick/ready")
    wait_for(lambda: _conditions(api, "web", "one") == (False, False, False), "not ready again")


def test_a_terminating_endpoint_is_not_ready_but_serves(api: Api) -> None:
    """EndpointSlices, conditions: terminating endpoints: ready false, serving as the pod still is; then gone."""
    hook = {"preStop": {"sleep": {"seconds": 5}}}
    api.create("pods", _server(api, "one", lifecycle=hook, spec={"terminationGracePeriodSeconds": 10}))
    api.create("services", service("web"))
    wait_for(lambda: _conditions(api, "web", "one") == (True, True, False), "ready")

    api.delete("pods", "one")
    wait_for(lambda: _conditions(api, "web", "one") == (False, True, True), "terminating", 4)
    wait_for(lambda: _conditions(api, "web", "one") is None, "withdrawn")


def test_a_forced_deletion_withdraws_the_endpoint(api: Api) -> None:
    """EndpointSlices: without the Pod object there is no endpoint."""
    api.create("pods", _server(api, "one", spec={"terminationGracePeriodSeconds": 30}))
    api.create("services", service("web"))
    wait_for(lambda: _conditions(api, "web", "one") == (True, True, False), "ready")

    api.delete("pods", "one", gracePeriodSeconds=0)
    wait_for(lambda: _conditions(api, "web", "one") is None, "withdrawn", 10)


def test_unready_addresses_may_be_published(api: Api) -> None:
    """Service API, publishNotReadyAddresses: endpoints count as ready in any case."""
    api.create("pods", _server(api, "one", "ready"))
    api.create("services", service("web", publishNotReadyAddresses=True))

    wait_for(lambda: (c := _conditions(api, "web", "one")) and c[0], "ready though its pod is not")
    assert condition(api.get("pods", "one"), "Ready") == "False"


def test_a_target_port_may_be_a_name(api: Api) -> None:
    """Service, port definitions: targetPort may be the name of a container port."""
    api.create("pods", _server(api, "one", ports=[{"name": "web", "containerPort": 8000}]))
    api.create("services", service("web", ports=[{"port": 80, "targetPort": "web"}]))

    wait_for(lambda: _endpoints(api, "web"), "an endpoint")
    (found,) = api.list("endpointslices", "kubernetes.io/service-name=web")
    assert [p["port"] for p in found["ports"]] == [8000]


def test_a_service_without_selector_has_no_slices_of_its_own(api: Api) -> None:
    """Service, services without selectors: EndpointSlices are not made automatically."""
    api.create("pods", _server(api, "one"))
    api.create("services", service("with"))
    bare = service("without")
    del bare["spec"]["selector"]
    api.create("services", bare)

    wait_for(lambda: api.list("endpointslices", "kubernetes.io/service-name=with"), "slices of the other one")
    assert not api.list("endpointslices", "kubernetes.io/service-name=without")


def test_a_service_gets_an_address_that_stays(api: Api) -> None:
    """Service, type ClusterIP: one address, immutable; a headless one has none."""
    made = api.create("services", service("web"))
    headless = api.create("services", service("bare", clusterIP="None"))

    assert made["spec"]["type"] == "ClusterIP"
    assert made["spec"]["clusterIPs"] == [made["spec"]["clusterIP"]]
    assert headless["spec"]["clusterIP"] == "None"
    code, status, _ = api.send(
        "PATCH",
        api.path("services", "web"),
        {"spec": {"clusterIP": "1.2.3.4", "clusterIPs": ["1.2.3.4"]}},
        content_type="application/merge-patch+json",
    )
    assert (code, status["reason"]) == (422, "Invalid")


@pytest.mark.long
def test_connections_go_to_ready_pods_only(api: Api) -> None:
    """Service / Virtual IPs: new connections are spread over the ready endpoints."""
    for name, sick in (("a", ()), ("b", ()), ("c", ("ready",))):
        api.create("pods", _server(api, name, *sick))
    address = api.create("services", service("web"))["spec"]["clusterIP"]
    api.create("pods", pod(api, "client"))
    for name in ("a", "b", "client"):
        api.ready(name)

    def spread() -> bool:
        output, _ = api.exec("client", "python3", "-c", ASK, address, "80", "30")
        return set(output.split()) == {"a", "b"}

    wait_for(spread, "answers of both ready pods and of nobody else")
    visit(api, "c", "well/ready")
    wait_for(lambda: "c" in api.exec("client", "python3", "-c", ASK, address, "80", "30")[0].split(), "c, once ready")


@pytest.mark.long
def test_without_ready_endpoints_connections_are_refused(api: Api) -> None:
    """Virtual IPs, kube-proxy: a Service without endpoints rejects connections."""
    api.create("pods", _server(api, "one", "ready"))
    address = api.create("services", service("web"))["spec"]["clusterIP"]
    api.create("pods", pod(api, "client"))
    api.ready("client")

    def refused() -> bool:
        output, _ = api.exec("client", "python3", "-c", ASK, address, "80", "3")
        return output.split() == ["ConnectionRefusedError"] * 3

    wait_for(refused, "refusals")


@pytest.mark.long
def test_a_terminating_pod_gets_no_new_connections(api: Api) -> None:
    """Pod Lifecycle, termination flow: endpoints are withdrawn while the pod drains; others serve meanwhile."""
    hook = {"preStop": {"sleep": {"seconds": 8}}}
    more = {"lifecycle": hook, "spec": {"terminationGracePeriodSeconds": 20}}
    api.create("pods", _server(api, "going", **more))
    api.create("pods", _server(api, "staying"))
    address = api.create("services", service("web"))["spec"]["clusterIP"]
    api.create("pods", pod(api, "client"))
    for name in ("going", "staying", "client"):
        api.ready(name)

    def answers() -> set[str]:
        return set(api.exec("client", "python3", "-c", ASK, address, "80", "20")[0].split())

    wait_for(lambda: answers() == {"going", "staying"}, "answers of both")
    api.delete("pods", "going")
    wait_for(lambda: answers() == {"staying"}, "answers of the staying one only", 7)
    assert api.find("pods", "going") is not None
    assert visit(api, "going", "name") == "going"  # it still answers who reaches it by its own address
