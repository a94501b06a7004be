"""Nodes that a test makes for itself: Node objects whose kubelet is the test.

Scheduling, taints and eviction can be seen on them without touching a node that somebody uses.
"""

from __future__ import annotations

import contextlib
import datetime
import threading
import uuid
from collections.abc import Iterator
from typing import Any

from tests.conformance.api import Api, Object, RefusedError, condition

KEY = "conformance.example.com/only"  # label and taint that keep everybody else off
_RENEW_S = 3.0


class MadeNode:
    """One node, alive until `fall_silent`."""

    def __init__(self, api: Api, name: str, group: str, labels: dict[str, str], capacity: dict[str, str]) -> None:
        self.api, self.name, self.group = api, name, group
        self._silent = threading.Event()
        amounts = {"cpu": "4", "memory": "8Gi", "pods": "20"} | capacity
        api.create(
            "nodes",
            {
                "metadata": {"name": name, "labels": {KEY: group, "kubernetes.io/hostname": name} | labels},
                "spec": {"taints": [{"key": KEY, "value": group, "effect": "NoSchedule"}]},
                "status": {"capacity": amounts, "allocatable": amounts, "conditions": [_ready()]},
            },
        )
        self._renew()
        threading.Thread(target=self._live, daemon=True).start()
        api.until("nodes", name, lambda n: not _automatic(n) and condition(n, "Ready") == "True", "usable")

    def fall_silent(self) -> None:
        """No more heartbeats."""
        self._silent.set()

    def taint(self, key: str, effect: str) -> None:
        """One more taint."""
        found = self.api.get("nodes", self.name)
        taints = [*found["spec"].get("taints", ()), {"key": key, "effect": effect}]
        version = found["metadata"]["resourceVersion"]
        self.api.patch("nodes", self.name, {"metadata": {"resourceVersion": version}, "spec": {"taints": taints}})

    def remove(self) -> None:
        """The node is gone."""
        self._silent.set()
        for delete in (lambda: self.api.delete("nodes", self.name), lambda: self._leases().delete("leases", self.name)):
            with contextlib.suppress(RefusedError):
                delete()

    def _leases(self) -> Api:
        return self.api.into("kube-node-lease")

    def _live(self) -> None:
        while not self._silent.wait(_RENEW_S):
            with contextlib.suppress(RefusedError, OSError):
                self._renew()

    def _renew(self) -> None:
        moment = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = {"holderIdentity": self.name, "leaseDurationSeconds": 40, "renewTime": moment}
        if self._leases().find("leases", self.name) is None:
            self._leases().create("leases", {"metadata": {"name": self.name}, "spec": spec})
        else:
            self._leases().patch("leases", self.name, {"spec": spec})


@contextlib.contextmanager
def made_nodes(api: Api, *labels: dict[str, str], **capacity: str) -> Iterator[list[MadeNode]]:
    """As many nodes as there are sets of labels, for pods with `only(nodes)`."""
    group = f"made-{uuid.uuid4().hex[:8]}"
    made: list[MadeNode] = []
    try:
        for number, own in enumerate(labels, 1):
            made.append(MadeNode(api, f"{group}-{number}", group, own, capacity))
        yield made
    finally:
        for pod in api.list("pods"):
            if str(pod["spec"].get("nodeName")).startswith(group):
                with contextlib.suppress(RefusedError):
                    api.delete("pods", pod["metadata"]["name"], gracePeriodSeconds=0)
        for node in made:
            node.remove()


def only(nodes: list[MadeNode], *tolerations: Object, **more: Any) -> Object:
    """Pod spec fields that send a pod to these nodes and nowhere else."""
    own = {"key": KEY, "operator": "Equal", "value": nodes[0].group, "effect": "NoSchedule"}
    return {"nodeSelector": {KEY: nodes[0].group}, "tolerations": [own, *tolerations]} | more


def _ready() -> Object:
    moment = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    times = {"lastHeartbeatTime": moment, "lastTransitionTime": moment}
    return {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "made by a test"} | times


def _automatic(node: Object) -> list[Object]:
    """Taints that the cluster put there by itself."""
    return [t for t in node["spec"].get("taints") or () if t["key"].startswith("node.kubernetes.io/")]
