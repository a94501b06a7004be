"""Where clients on this machine reach a Service: its load balancer, its cluster IP, or a node port; what answers first.

Never a port-forward: it goes to one pod past the Service, and dies with that pod.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable, Iterator

from clusters.api import Api, Object
from clusters.provider import ClusterError

CONNECT_S = 1.0
# A way that refuses leads there, and nodes hear of ready endpoints a second or two after the API server: the next way
# is often worse (a node that the experiment may stop).
REFUSED_S = 5.0


def endpoint(api: Api, namespace: str, service: str, port: str | int) -> tuple[str, int]:
    """Host and port that take a TCP connection. Raises ClusterError with all that was tried."""
    found = service_named(api, namespace, service)
    return first_open(_ways(api, found, port_of(found, port)), f"{namespace}/{service} port {port}")


def first_open(ways: Iterable[tuple[str, int]], what: str) -> tuple[str, int]:
    """The first of these addresses that takes a TCP connection. Raises ClusterError with all that was tried."""
    tried = []
    for host, number in ways:
        problem = _refusal(host, number)
        if problem is None:
            return host, number
        tried.append(f"  {host}:{number}: {problem}")
    raise ClusterError(
        f"No way from here to Service {what}. Tried:\n" + ("\n".join(tried) or "  nothing: it has no node port"),
        hint="Give the Service the type NodePort or LoadBalancer, and see that its pods are ready.",
    )


def _refusal(host: str, port: int) -> OSError | None:
    """Why no connection is taken; None when one is."""
    end = time.monotonic() + REFUSED_S
    while True:
        try:
            socket.create_connection((host, port), CONNECT_S).close()
            return None
        except ConnectionRefusedError as error:
            if time.monotonic() > end:
                return error
            time.sleep(0.1)
        except OSError as error:
            return error


def service_named(api: Api, namespace: str, service: str) -> Object:
    """The Service. Raises ClusterError when it is not there."""
    found = api.find(f"/api/v1/namespaces/{namespace}/services/{service}")
    if found is None:
        raise ClusterError(f"There is no Service {service} in namespace {namespace}.")
    return found


def port_of(service: Object, port: str | int) -> Object:
    """The entry of spec.ports with that name or number."""
    ports: list[Object] = service["spec"].get("ports") or []
    for entry in ports:
        if port in (entry.get("name"), entry["port"]) or str(port) == str(entry["port"]):
            return entry
    known = ", ".join(f"{entry.get('name', '')} {entry['port']}".strip() for entry in ports)
    raise ClusterError(f"Service {service['metadata']['name']} has no port {port}.", hint=f"It has {known}.")


def _ways(api: Api, service: Object, port: Object) -> Iterator[tuple[str, int]]:
    for ingress in ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ():
        yield ingress.get("ip") or ingress["hostname"], port["port"]
    if service["spec"].get("clusterIP") not in (None, "", "None"):
        yield service["spec"]["clusterIP"], port["port"]
    if "nodePort" in port:
        # Nodes without a pod of the Service first: an experiment that stops a node stops one that has some.
        struck = _nodes_with_pods(api, service)
        nodes = sorted(api.items("/api/v1/nodes"), key=lambda node: node["metadata"]["name"] in struck)
        # A node's external address first: an internal one is often not routed.
        for kind in ("ExternalIP", "InternalIP"):
            for node in nodes:
                for address in node["status"].get("addresses") or ():
                    if address["type"] == kind:
                        yield address["address"], port["nodePort"]


def _nodes_with_pods(api: Api, service: Object) -> set[str]:
    metadata = service["metadata"]
    slices = api.items(
        f"/apis/discovery.k8s.io/v1/namespaces/{metadata['namespace']}/endpointslices",
        f"kubernetes.io/service-name={metadata['name']}",
    )
    return {str(each.get("nodeName", "")) for found in slices for each in found.get("endpoints") or ()}
