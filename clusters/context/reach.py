"""Where clients on this machine reach a Service: its load balancer, its cluster IP, or a node port; what answers first.

Never a port-forward: it goes to one pod past the Service, and dies with that pod.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator

from clusters.api import Api, Object
from clusters.provider import ClusterError

CONNECT_S = 1.0


def endpoint(api: Api, namespace: str, service: str, port: str | int) -> tuple[str, int]:
    """Host and port that take a TCP connection. Raises ClusterError with all that was tried."""
    found = service_named(api, namespace, service)
    return first_open(_ways(api, found, port_of(found, port)), f"{namespace}/{service} port {port}")


def first_open(ways: Iterable[tuple[str, int]], what: str) -> tuple[str, int]:
    """The first of these addresses that takes a TCP connection. Raises ClusterError with all that was tried."""
    tried = []
    for host, number in ways:
        try:
            socket.create_connection((host, number), CONNECT_S).close()
        except OSError as error:
            tried.append(f"  {host}:{number}: {error}")
            continue
        return host, number
    raise ClusterError(
        f"No way from here to Service {what}. Tried:\n" + ("\n".join(tried) or "  nothing: it has no node port"),
        hint="Give the Service the type NodePort or LoadBalancer, and see that its pods are ready.",
    )


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
        nodes = api.items("/api/v1/nodes")
        # A node's external address first: an internal one is often not routed.
        for kind in ("ExternalIP", "InternalIP"):
            for node in nodes:
                for address in node["status"].get("addresses") or ():
                    if address["type"] == kind:
                        yield address["address"], port["nodePort"]
