"""Proxies of ours in the Service's path, one pod for each backend pod; the Deployment's own pods are not touched.

Put in place before the baseline, so that the baseline has what they cost, and taken out by the undo: the Service leads
to the backends again, traffic follows, then the proxies go.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from harness import guard
from harness.faults import _pods
from harness.faults._strike import FaultContext, FaultError
from harness.history.records import Note
from harness.kube import Cluster, Object
from harness.undo import pointer
from harness.undo.apply import ready_endpoints
from harness.undo.entry import (
    PREFIX,
    RUN_LABEL,
    AwaitWithdrawn,
    DeleteCreated,
    Entry,
    Field,
    RestoreFields,
    mark_of,
    run_label,
)

ADMIN_PORT = 9901
PROXY_FOR = f"{PREFIX}proxy-for"
FAULT_ID = "pod-latency-proxies"
READY_WITHIN_NS = 60_000_000_000
FOLLOW_S = 2.0  # kube-proxy follows endpoint changes within 1 to 2 s
POLL_S = 0.1
COST_REQUESTS = 100  # each way, on new and on kept connections


@dataclass(frozen=True, slots=True)
class Proxy:
    """One proxy pod and the backend behind it."""

    name: str
    backend: Object


def ensure(context: FaultContext, selector: str) -> list[Proxy]:
    """The proxies of this run, put in place at the first call. Raises FaultError, Interrupted."""
    if "proxies" not in context.prepared:
        context.prepared["proxies"] = _put_in_place(context, selector)
    proxies: list[Proxy] = context.prepared["proxies"]
    return proxies


def _put_in_place(context: FaultContext, selector: str) -> list[Proxy]:
    service = context.cluster.get("Service", context.service, context.namespace)
    if service is None or not service["spec"].get("selector"):
        raise FaultError(
            f'the Service "{context.service}" in {context.namespace} has no selector: no proxy can stand in its path',
            hint="set workload.service to the Service that clients use",
        )
    backends = [pod for pod in _pods.matching(context, selector) if guard.is_ready(pod)]
    if not backends:
        raise FaultError(f"no pod of {selector} is ready: there is nothing to put a proxy before")
    backends.sort(key=lambda pod: str(pod["metadata"]["name"]))
    proxies = [Proxy(f"bulletproof-proxy-{number}", pod) for number, pod in enumerate(backends, start=1)]
    end = context.ends(READY_WITHIN_NS)
    _create(context, service, proxies, end)
    _lead_through(context, service, proxies, end)
    _measure_cost(context, proxies)
    return proxies


def _create(context: FaultContext, service: Object, proxies: list[Proxy], end: float) -> None:
    run_id, namespace = context.journal.run_id, context.namespace
    ops = tuple(DeleteCreated(kind="Pod", name=each.name, namespace=namespace, run_id=run_id) for each in proxies)
    names = ", ".join(each.name for each in proxies)
    entry = Entry(entry_id=f"{FAULT_ID}.pods", fault_id=FAULT_ID, what=f"the proxies are gone: {names}", ops=ops)
    context.journal.plan(entry, context.record)
    for each in proxies:
        context.cluster.create("Pod", _pod(each, service, run_id, context.image), namespace)
    while waiting := [each.name for each in proxies if not _is_ready(context.cluster, namespace, each.name)]:
        if time.monotonic() > end:
            raise FaultError(
                f"the proxies did not get ready: {', '.join(waiting)}",
                hint=f"kubectl describe pod {waiting[0]} -n {namespace}; can the nodes pull {context.image}?",
            )
        context.wait(POLL_S)


def _lead_through(context: FaultContext, service: Object, proxies: list[Proxy], end: float) -> None:
    name, namespace = context.service, context.namespace
    names = {each.name for each in proxies}
    entry_id = f"{FAULT_ID}.service"
    restore = RestoreFields(
        kind="Service",
        name=name,
        namespace=namespace,
        uid=service["metadata"]["uid"],
        fields=(
            Field(
                at="/spec/selector",
                before=pointer.read(service, "/spec/selector"),
                after=pointer.value({PROXY_FOR: name}),
            ),
        ),
        mark=mark_of(entry_id),
        mark_value=context.journal.run_id,
    )
    away = AwaitWithdrawn(namespace=namespace, service=name, pods=tuple(sorted(names)), lag_s=FOLLOW_S)
    what = f"Service {name} leads to its own pods"
    context.journal.plan(Entry(entry_id=entry_id, fault_id=FAULT_ID, what=what, ops=(restore, away)), context.record)
    context.cluster.patch("Service", name, namespace, restore.forward(service))
    while (found := ready_endpoints(context.cluster, namespace, name)) != names:
        if time.monotonic() > end:
            raise FaultError(f"the Service {name} leads to {', '.join(sorted(found)) or 'nothing'}, not to the proxies")
        context.wait(POLL_S)
    context.wait(FOLLOW_S)


def _measure_cost(context: FaultContext, proxies: list[Proxy]) -> None:
    """Medians of requests through the proxy and past it, taken in turn by the proxy itself."""
    answer = context.cluster.pod_proxy(context.namespace, proxies[0].name, ADMIN_PORT, "GET", f"cost?n={COST_REQUESTS}")
    new_ns, kept_ns = int(answer["new"]["added_ns"]), int(answer["kept"]["added_ns"])
    context.record(
        Note(
            t_ns=time.monotonic_ns(),
            text=f"a proxy adds {new_ns / 1e6:.3f} ms at the median on new connections, {kept_ns / 1e6:.3f} ms on kept "
            f"ones ({COST_REQUESTS} requests through it and past it, in turns)",
            facts={"proxy_cost_ns_p50": max(new_ns, kept_ns), "proxy_cost": answer},
        )
    )


def _pod(proxy: Proxy, service: Object, run_id: str, image: str) -> Object:
    backend = proxy.backend
    ports = _ports(service, backend)
    numbers = [port["containerPort"] for port in ports]
    ready_path = _ready_path(backend, numbers[0])
    ask = {"httpGet": {"path": "/readyz", "port": "admin"}} if ready_path else {"tcpSocket": {"port": numbers[0]}}
    container = {
        "name": "proxy",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-m", "clusters.platform.proxy"],
        "env": [
            {"name": "UPSTREAM", "value": backend["status"]["podIP"]},
            {"name": "PORTS", "value": ",".join(map(str, numbers))},
            {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "UPSTREAM_READY", "value": ready_path},
        ],
        "ports": [*ports, {"name": "admin", "containerPort": ADMIN_PORT}],
        # Asked past the latency: a slow way to a pod does not make the pod unready.
        "readinessProbe": {**ask, "periodSeconds": 1, "timeoutSeconds": 1, "failureThreshold": 2},
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "runAsNonRoot": True,
            "runAsUser": 65532,
        },
    }
    labels = {PROXY_FOR: service["metadata"]["name"], RUN_LABEL: run_label(run_id)}
    return {
        "metadata": {"name": proxy.name, "labels": {**labels, "app.kubernetes.io/managed-by": "bulletproof"}},
        "spec": {
            # Beside its backend: no hop more, and no place in the scheduler's queue.
            "nodeName": backend["spec"]["nodeName"],
            "tolerations": backend["spec"].get("tolerations") or [],
            # Its drain ends connections between two requests, within 20 s.
            "terminationGracePeriodSeconds": 25,
            "containers": [container],
        },
    }


def _ready_path(backend: Object, port: int) -> str:
    """The path of the backend's own readiness probe, where that asks the first port; else empty."""
    for container in backend["spec"]["containers"]:
        http = (container.get("readinessProbe") or {}).get("httpGet")
        if http and _number(http["port"], backend) == port:
            return str(http.get("path", "/"))
    return ""


def _ports(service: Object, backend: Object) -> list[dict[str, Any]]:
    """The Service's target ports as container ports: same numbers, and same names where it goes by name."""
    ports = []
    for each in service["spec"]["ports"]:
        target = each.get("targetPort", each["port"])
        port: dict[str, Any] = {"containerPort": _number(target, backend)}
        if isinstance(target, str):
            port["name"] = target
        ports.append(port)
    return ports


def _number(target: int | str, backend: Object) -> int:
    if isinstance(target, int):
        return target
    for container in backend["spec"]["containers"]:
        for port in container.get("ports") or []:
            if port.get("name") == target:
                return int(port["containerPort"])
    raise FaultError(f"{backend['metadata']['name']} has no port named {target}")


def _is_ready(cluster: Cluster, namespace: str, name: str) -> bool:
    pod = cluster.get("Pod", name, namespace)
    return pod is not None and guard.is_ready(pod)
