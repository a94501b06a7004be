"""Keeps one pod of a template on every node that it fits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clusters.sandbox.amounts import scaled
from clusters.sandbox.controllers.loop import Informers, Reconciler
from clusters.sandbox.controllers.nodelifecycle import NOT_READY, UNREACHABLE, UNSCHEDULABLE
from clusters.sandbox.controllers.pods import (
    available_in,
    claim,
    controller_key,
    is_active,
    is_ready,
    is_terminating,
    pod_from,
    template_hash,
)
from clusters.sandbox.errors import ApiError
from clusters.sandbox.objects import Object
from clusters.sandbox.scheduling_rules import NodeView, affine_to_node, tolerates
from clusters.sandbox.store import Change, Store

HASH = "controller-revision-hash"
_COMPONENT = "daemonset-controller"
_TOLERATED = [
    {"key": NOT_READY, "operator": "Exists", "effect": "NoExecute"},
    {"key": UNREACHABLE, "operator": "Exists", "effect": "NoExecute"},
    {"key": "node.kubernetes.io/disk-pressure", "operator": "Exists", "effect": "NoSchedule"},
    {"key": "node.kubernetes.io/memory-pressure", "operator": "Exists", "effect": "NoSchedule"},
    {"key": "node.kubernetes.io/pid-pressure", "operator": "Exists", "effect": "NoSchedule"},
    {"key": UNSCHEDULABLE, "operator": "Exists", "effect": "NoSchedule"},
]


class DaemonSets:
    """The DaemonSet controller."""

    def __init__(self, informers: Informers) -> None:
        self._store: Store = informers.store
        self._queue = Reconciler("daemonset", self._sync)
        informers.on("daemonsets", self._daemon_set_changed)
        informers.on("pods", self._pod_changed)
        informers.on("nodes", self._node_changed)

    def close(self) -> None:
        """Stops working."""
        self._queue.close()

    def _daemon_set_changed(self, change: Change) -> None:
        self._queue.add((change.obj["metadata"]["namespace"], change.obj["metadata"]["name"]))

    def _pod_changed(self, change: Change) -> None:
        key = controller_key(change.obj, "DaemonSet")
        if key is not None:
            self._queue.add(key)

    def _node_changed(self, change: Change) -> None:
        old, new = change.old, change.obj
        if old is not None and change.verb == "MODIFIED":
            same = old["metadata"].get("labels") == new["metadata"].get("labels")
            if same and old["spec"] == new["spec"]:
                return
        for owner in self._store.list("daemonsets"):
            self._queue.add((owner["metadata"]["namespace"], owner["metadata"]["name"]))

    def _sync(self, key: tuple[str, str]) -> None:
        owner = self._store.find("daemonsets", key[1], key[0])
        if owner is None or is_terminating(owner):
            return
        digest = template_hash(owner["spec"]["template"])
        by_node: dict[str, list[Object]] = {}
        for pod in claim(self._store, "pods", owner, "daemonsets"):
            by_node.setdefault(_node_of(pod), []).append(pod)
        wanted: list[str] = []
        for node in self._store.list("nodes"):
            name = node["metadata"]["name"]
            may_run, may_stay = _fits(owner, node)
            present = by_node.get(name, [])
            if may_run:
                wanted.append(name)
            self._keep_one(owner, name, present, digest, may_run=may_run, may_stay=may_stay)
        self._roll(owner, wanted, by_node, digest)
        self._count(key, owner, wanted, digest)

    def _keep_one(
        self, owner: Object, node: str, present: list[Object], digest: str, *, may_run: bool, may_stay: bool
    ) -> None:
        for pod in present:
            if (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed") and not is_terminating(pod):
                text = f"Found failed daemon pod {pod['metadata']['namespace']}/{pod['metadata']['name']}"
                self._store.events.record(owner, "Warning", "FailedDaemonPod", f"{text}, will try to kill it")
                self._delete(owner, pod)
        alive = [pod for pod in present if is_active(pod)]
        # As with every controller of one pod a node: the next one comes when the last one is really gone.
        leaving = [pod for pod in present if is_terminating(pod)]
        if not may_stay:
            for pod in alive:
                self._delete(owner, pod)
        elif may_run and not alive and not leaving:
            self._create(owner, node, digest)
        elif len(alive) > 1:
            for pod in sorted(alive, key=lambda p: (not is_ready(p), p["metadata"]["creationTimestamp"]))[1:]:
                self._delete(owner, pod)

    def _create(self, owner: Object, node: str, digest: str) -> None:
        pod = pod_from(owner["spec"]["template"], owner, self._store.kind("daemonsets"))
        pod["metadata"].setdefault("labels", {})[HASH] = digest
        spec = pod["spec"]
        spec["tolerations"] = [*(spec.get("tolerations") or ()), *_TOLERATED]
        term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}
        affinity = spec.setdefault("affinity", {}).setdefault("nodeAffinity", {})
        affinity["requiredDuringSchedulingIgnoredDuringExecution"] = {"nodeSelectorTerms": [term]}
        try:
            made = self._store.create("pods", pod)
        except ApiError as error:
            self._store.events.record(owner, "Warning", "FailedCreate", f"Error creating: {error.message}", _COMPONENT)
            self._queue.add_after((owner["metadata"]["namespace"], owner["metadata"]["name"]), 1.0)
            return
        text = f"Created pod: {made['metadata']['name']}"
        self._store.events.record(owner, "Normal", "SuccessfulCreate", text, _COMPONENT)

    def _delete(self, owner: Object, pod: Object) -> None:
        meta = pod["metadata"]
        self._store.delete("pods", meta["name"], meta["namespace"], uid=meta["uid"])
        text = f"Deleted pod: {meta['name']}"
        self._store.events.record(owner, "Normal", "SuccessfulDelete", text, _COMPONENT)

    def _roll(self, owner: Object, wanted: list[str], by_node: Mapping[str, list[Object]], digest: str) -> None:
        """Replaces pods of an older template: those that are not available at once, others as maxUnavailable allows."""
        strategy = owner["spec"].get("updateStrategy") or {}
        if strategy.get("type", "RollingUpdate") != "RollingUpdate":
            return
        limit = scaled((strategy.get("rollingUpdate") or {}).get("maxUnavailable", 1), len(wanted), up=True)
        min_ready_s = owner["spec"].get("minReadySeconds", 0)
        unavailable, old_available = 0, []
        for node in wanted:
            alive = [pod for pod in by_node.get(node, ()) if is_active(pod)]
            if not alive:
                unavailable += 1
                continue
            pod = alive[0]
            is_old = (pod["metadata"].get("labels") or {}).get(HASH) != digest
            if available_in(pod, min_ready_s) != 0:
                unavailable += 1
                if is_old:
                    self._delete(owner, pod)
            elif is_old:
                old_available.append(pod)
        for pod in old_available[: max(max(limit, 1) - unavailable, 0)]:
            self._delete(owner, pod)

    def _count(self, key: tuple[str, str], owner: Object, wanted: list[str], digest: str) -> None:
        min_ready_s = owner["spec"].get("minReadySeconds", 0)
        pods: dict[str, Object] = {}
        misplaced = 0
        for pod in claim(self._store, "pods", owner, "daemonsets"):
            if is_active(pod):
                if _node_of(pod) in wanted:
                    pods[_node_of(pod)] = pod
                else:
                    misplaced += 1
        waits = [available_in(pod, min_ready_s) for pod in pods.values()]
        available = sum(1 for wait in waits if wait == 0)
        updated = sum(1 for pod in pods.values() if (pod["metadata"].get("labels") or {}).get(HASH) == digest)
        status: Object = {
            "currentNumberScheduled": len(pods),
            "desiredNumberScheduled": len(wanted),
            "numberMisscheduled": misplaced,
            "numberReady": sum(1 for wait in waits if wait is not None),
            "observedGeneration": owner["metadata"]["generation"],
        }
        more = {"updatedNumberScheduled": updated, "numberAvailable": available}
        more["numberUnavailable"] = len(wanted) - available
        status |= {name: count for name, count in more.items() if count}
        later = [wait for wait in waits if wait]
        if later:
            self._queue.add_after(key, min(later) + 0.01)

        def write(fresh: Object) -> None:
            fresh["status"] = status

        self._store.mutate("daemonsets", key[1], key[0], write, status=True)


def _node_of(pod: Mapping[str, Any]) -> str:
    """The node that a daemon pod is on, or is meant for."""
    if pod["spec"].get("nodeName"):
        return str(pod["spec"]["nodeName"])
    affinity = ((pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution"
    ) or {}
    for term in affinity.get("nodeSelectorTerms") or ():
        for field in term.get("matchFields") or ():
            if field["key"] == "metadata.name":
                return str(field["values"][0])
    return ""


def _fits(owner: Mapping[str, Any], node: Object) -> tuple[bool, bool]:
    """(a pod should run there, a pod that is there may stay)."""
    spec = owner["spec"]["template"]["spec"]
    pod = {"metadata": {}, "spec": spec | {"tolerations": [*(spec.get("tolerations") or ()), *_TOLERATED]}}
    view = NodeView(node)
    if not affine_to_node(pod, view):
        return False, False
    untolerated = [t["effect"] for t in view.taints if tolerates(pod, t) is None]
    may_stay = "NoExecute" not in untolerated
    return may_stay and "NoSchedule" not in untolerated, may_stay
