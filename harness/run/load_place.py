"""Where the load runs, and at which address it finds the Service: outside of the cluster, or as pods in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from clusters.provider import Access, ClusterError, Provider
from harness.errors import InvalidRun
from harness.experiment.model import Experiment, Workload
from harness.experiment.offered_load import Load
from harness.kube import Cluster
from harness.plan import Plan
from harness.run.port_forward import port_forward_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One end of the load's connections, and where the other end is."""

    inside: bool
    host: str
    port: int
    why: str = ""  # where it was chosen
    source_address: str | None = None
    avoid: tuple[str, ...] = ()  # nodes that no pod of the load may be on


def choose(experiment: Experiment, provider: Provider, access: Access, cluster: Cluster, plan: Plan) -> Place:
    """As `load.from` says; `auto` is outside where the Service answers from here.

    Raises ClusterError or InvalidRun where there is no way to the Service.
    """
    workload, load = experiment.bulletproof.workload, experiment.bulletproof.load
    if load.place == "inside":
        return _inside(workload, load, cluster, plan, "")
    try:
        return _outside(workload, load, provider, access)
    except ClusterError as error:
        # A URL, or an address for workers of other machines, says where the load is: then it is nowhere else.
        if load.place == "outside" or load.url is not None or load.join is not None:
            raise
        return _inside(workload, load, cluster, plan, f"from outside: {error.message}")


def described(place: Place) -> dict[str, Any]:
    """For run.json."""
    about: dict[str, Any] = {"from": "inside" if place.inside else "outside", "target": f"{place.host}:{place.port}"}
    if place.why:
        about["why"] = place.why
    if place.avoid:
        about["not_on_nodes"] = list(place.avoid)
    return about


def _outside(workload: Workload, load: Load, provider: Provider, access: Access) -> Place:
    if load.url is not None:
        host, port = _address_of(load.url)
        source_address = None
    else:
        host, port = provider.load_endpoint(access, workload.namespace, workload.service, _port(workload))
        source_address = provider.source_address(access)
    if (command := port_forward_at(host, port)) is not None:
        raise InvalidRun(
            f"{host}:{port} is a port-forward ({command}): it leads to one pod past the Service and dies with it",
            hint="let the load go to a NodePort, a LoadBalancer or an ingress, or use load.from: inside",
        )
    return Place(inside=False, host=host, port=port, source_address=source_address)


def _inside(workload: Workload, load: Load, cluster: Cluster, plan: Plan, why: str) -> Place:
    service = cluster.get("Service", workload.service, workload.namespace)
    if service is None:
        raise InvalidRun(f"there is no Service {workload.service} in namespace {workload.namespace}")
    wanted = _port(workload)
    ports = service["spec"].get("ports") or []
    found = next((each for each in ports if wanted in (each.get("name"), each["port"])), None)
    if found is None:
        known = ", ".join(str(each.get("name") or each["port"]) for each in ports)
        raise InvalidRun(f"Service {workload.service} has no port {wanted}", hint=f"it has {known}")
    address = service["spec"].get("clusterIP")
    # Without an address of its own a Service is a name for its pods' addresses.
    host = address if address not in (None, "", "None") else f"{workload.service}.{workload.namespace}.svc"
    avoid = () if load.beside_target else struck_nodes(plan, cluster, workload)
    return Place(inside=True, host=host, port=found["port"], why=why, avoid=avoid)


def struck_nodes(plan: Plan, cluster: Cluster, workload: Workload) -> tuple[str, ...]:
    """The nodes that hold what the method will strike; where that is not known, all that hold a pod of the workload."""
    nodes: set[str] = set()
    for step in plan.steps:
        if step.type != "action":
            continue
        if not step.ours or not step.targets:
            nodes.update(_nodes_of(cluster.list("Pod", workload.namespace, workload.selector)))
        for target in step.targets:
            if target.kind == "Node":
                nodes.add(target.name)
            elif target.kind == "Pod":
                pod = cluster.get("Pod", target.name, target.namespace or workload.namespace)
                nodes.update(_nodes_of([pod] if pod is not None else []))
    return tuple(sorted(nodes))


def _nodes_of(pods: list[dict[str, Any]]) -> list[str]:
    return [pod["spec"]["nodeName"] for pod in pods if pod["spec"].get("nodeName")]


def _port(workload: Workload) -> str | int:
    return workload.grpc_port if workload.protocol == "kserve-v2-grpc" else workload.http_port


def _address_of(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or (443 if parts.scheme == "grpc" else 80)
