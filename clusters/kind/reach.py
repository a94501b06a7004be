"""The way of the load into a kind cluster: through the control plane's node, which no experiment stops.

A worker's node port would do as well, until the experiment stops that worker: then the load would have lost it, and not
the platform.
"""

from __future__ import annotations

from collections.abc import Iterator

from clusters import programs
from clusters.api import Api, Object
from clusters.context.reach import first_open, port_of, service_named
from clusters.kind import gpus

# As in cluster.yaml: the control plane's ports that are reached on this machine's loopback address too.
NODE_PORTS = (30800, 30801)


def endpoint(cluster: str, api: Api, namespace: str, service: str, port: str | int) -> tuple[str, int]:
    """Host and port that take a connection. Raises ClusterError with all that was tried."""
    found = service_named(api, namespace, service)
    return first_open(_ways(cluster, api, found, port_of(found, port)), f"{namespace}/{service} port {port}")


def give_node_ports(objects: list[Object]) -> None:
    """Services become node ports, the first ones those of cluster.yaml."""
    numbers = iter(NODE_PORTS)
    for obj in objects:
        if obj["kind"] == "Service":
            obj["spec"]["type"] = "NodePort"
            for port in obj["spec"]["ports"]:
                if number := next(numbers, None):
                    port["nodePort"] = number


def _ways(cluster: str, api: Api, service: Object, port: Object) -> Iterator[tuple[str, int]]:
    for ingress in ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ():
        yield ingress.get("ip") or ingress["hostname"], port["port"]
    if "nodePort" not in port:
        return
    for node in api.items("/api/v1/nodes"):
        if gpus.is_control_plane(node):
            for address in node["status"].get("addresses") or ():
                if address["type"] == "InternalIP":
                    yield address["address"], port["nodePort"]
    yield from _mapped(cluster, port["nodePort"])


def _mapped(cluster: str, node_port: int) -> Iterator[tuple[str, int]]:
    """Where the engine maps the control plane's port to on this machine, if it does."""
    try:
        lines = programs.run(programs.engine(), "port", f"{cluster}-control-plane", f"{node_port}/tcp").splitlines()
    except programs.ToolFailed:
        return
    for line in lines:
        host, _, number = line.strip().rpartition(":")
        if number.isdigit():
            yield {"0.0.0.0": "127.0.0.1", "[::]": "::1"}.get(host, host.strip("[]")), int(number)
