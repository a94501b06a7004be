"""What a node says about itself: its Node object, its conditions, its lease."""

from __future__ import annotations

import contextlib
import datetime
import platform

from clusters.sandbox.amounts import canonical
from clusters.sandbox.errors import ApiError
from clusters.sandbox.kubelet.devices import GPU
from clusters.sandbox.objects import Object, now
from clusters.sandbox.settings import VERSION, Settings
from clusters.sandbox.store import Store

LEASES = "kube-node-lease"


def node_object(settings: Settings, name: str, ip: str, number: int) -> Object:
    """The Node as its kubelet registers it."""
    capacity = {
        "cpu": settings.cpus_per_node,
        "memory": canonical(settings.memory_per_node),
        "ephemeral-storage": "100Gi",
        "pods": str(settings.pods_per_node),
    }
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    labels = {
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": machine,
        "topology.kubernetes.io/zone": f"zone-{number}",
    }
    if settings.gpus_per_node:
        capacity[GPU] = str(settings.gpus_per_node)
        labels |= {
            "nvidia.com/gpu.present": "true",
            "nvidia.com/gpu.count": str(settings.gpus_per_node),
            "nvidia.com/gpu.product": "SIMULATED",
        }
    status: Object = {
        "capacity": capacity,
        "allocatable": dict(capacity),
        "addresses": [{"type": "InternalIP", "address": ip}, {"type": "Hostname", "address": name}],
        "nodeInfo": {
            "architecture": machine,
            "bootID": settings.id,
            "containerRuntimeVersion": "sandbox://1",
            "kernelVersion": platform.release(),
            "kubeProxyVersion": VERSION,
            "kubeletVersion": VERSION,
            "machineID": f"{settings.id}-{number}",
            "operatingSystem": "linux",
            "osImage": "Bulletproof sandbox",
            "systemUUID": f"{settings.id}-{number}",
        },
        "conditions": [],
    }
    return {
        "metadata": {"name": name, "labels": labels, "annotations": {}},
        "spec": {"podCIDR": f"{settings.network}.{16 + number}.0/24"},
        "status": status,
    }


def post_ready(store: Store, name: str) -> None:
    """Posts the node's conditions, all well, with a heartbeat time each."""
    good = {
        "MemoryPressure": ("False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        "DiskPressure": ("False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        "PIDPressure": ("False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        "Ready": ("True", "KubeletReady", "kubelet is posting ready status"),
    }

    def write(fresh: Object) -> None:
        old = {c["type"]: c for c in fresh["status"].get("conditions") or ()}
        conditions = [c for t, c in old.items() if t not in good]
        for type_, (status, reason, text) in good.items():
            same = type_ in old and old[type_]["status"] == status
            since = old[type_]["lastTransitionTime"] if same else now()
            entry = {"type": type_, "status": status, "reason": reason, "message": text}
            conditions.append(entry | {"lastHeartbeatTime": now(), "lastTransitionTime": since})
        fresh["status"]["conditions"] = conditions

    store.mutate("nodes", name, None, write, status=True)


def renew_lease(store: Store, settings: Settings, name: str) -> None:
    """The node's sign of life."""
    renewed = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def write(fresh: Object) -> None:
        fresh["spec"]["renewTime"] = renewed

    if store.find("leases", name, LEASES) is not None:
        store.mutate("leases", name, LEASES, write)
        return
    duration = max(int(4 * settings.node_lease_renew_s), 1)
    spec = {"holderIdentity": name, "leaseDurationSeconds": duration, "renewTime": renewed}
    with contextlib.suppress(ApiError):  # without its namespace there is no lease, and the node turns NotReady
        store.create("leases", {"metadata": {"name": name}, "spec": spec}, LEASES)
