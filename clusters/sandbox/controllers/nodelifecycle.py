"""Notices nodes that fell silent: Ready=Unknown, taints, their pods not ready."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from clusters.sandbox.controllers.loop import Informers, Reconciler
from clusters.sandbox.controllers.pods import condition, is_ready
from clusters.sandbox.objects import Object, now
from clusters.sandbox.settings import Settings
from clusters.sandbox.store import Change, Store

NOT_READY, UNREACHABLE = "node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
_COMPONENT = "node-controller"
_LEASES = "kube-node-lease"
_GONE_AFTER_S = 40.0  # pods of a node that was deleted go after this time (pod garbage collection's quarantine)
_EVICTIONS_PER_S, _SLOW_EVICTIONS_PER_S, _BIG_ZONE = 0.1, 0.01, 50
_SICK_ZONE = 0.55  # share of nodes not ready, with at least three of them, that makes evictions slow or stop
_ZONE = "topology.kubernetes.io/zone"


class NodeLifecycle:
    """The node lifecycle controller."""

    def __init__(self, informers: Informers, settings: Settings) -> None:
        self._store: Store = informers.store
        self._grace_s = settings.node_monitor_grace_s
        self._queue = Reconciler("nodelifecycle", self._sync)
        self._heard: dict[str, float] = {}  # node -> monotonic time of its last sign of life
        self._evicted: dict[str, float] = {}  # zone -> monotonic time of its last NoExecute taint
        informers.on("nodes", self._node_changed)
        informers.on("leases", self._lease_changed)

    def close(self) -> None:
        """Stops working."""
        self._queue.close()

    def _node_changed(self, change: Change) -> None:
        name = change.obj["metadata"]["name"]
        if change.verb == "DELETED":
            self._heard.pop(name, None)
            self._queue.add_after(name, _GONE_AFTER_S)
            return
        if change.old is None or _heartbeat(change.old) != _heartbeat(change.obj):
            self._heard[name] = time.monotonic()
        self._queue.add(name)

    def _lease_changed(self, change: Change) -> None:
        meta = change.obj["metadata"]
        if meta["namespace"] != _LEASES or change.verb == "DELETED":
            return
        self._heard[meta["name"]] = time.monotonic()
        node = self._store.find("nodes", meta["name"])
        if node is not None and (ready := condition(node, "Ready")) is not None and ready["status"] == "Unknown":
            self._queue.add(meta["name"])

    def _sync(self, name: str) -> None:
        node = self._store.find("nodes", name)
        if node is None:
            self._remove_pods(name)
            return
        silent_s = time.monotonic() - self._heard.setdefault(name, time.monotonic())
        if silent_s >= self._grace_s:
            self._lost(node)
        else:
            self._queue.add_after(name, self._grace_s - silent_s + 0.01)
        self._taint(name)

    def _lost(self, node: Object) -> None:
        """Nobody knows how the node is."""
        ready = condition(node, "Ready")
        if ready is not None and ready["status"] == "Unknown":
            return
        name = node["metadata"]["name"]

        def write(fresh: Object) -> None:
            known = {c["type"]: c for c in fresh.setdefault("status", {}).get("conditions") or ()}
            for type_ in ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure"):
                entry = known.setdefault(type_, {"type": type_, "lastHeartbeatTime": now()})
                never = "status" not in entry
                entry |= {
                    "status": "Unknown",
                    "reason": "NodeStatusNeverUpdated" if never else "NodeStatusUnknown",
                    "message": "Kubelet never posted node status." if never else "Kubelet stopped posting node status.",
                    "lastTransitionTime": now(),
                }
            fresh["status"]["conditions"] = list(known.values())

        changed = self._store.mutate("nodes", name, None, write, status=True)
        text = f"Node {name} status is now: NodeNotReady"
        self._store.events.record(changed, "Normal", "NodeNotReady", text, _COMPONENT)
        self._mark_pods(name)

    def _mark_pods(self, node: str) -> None:
        """The node's pods no longer count as ready, so that Services leave them out."""
        for pod in self._store.list("pods"):
            if pod["spec"].get("nodeName") != node or not is_ready(pod):
                continue

            def write(fresh: Object) -> None:
                for entry in fresh["status"]["conditions"]:
                    if entry["type"] == "Ready":
                        entry |= {"status": "False", "lastTransitionTime": now()}

            self._store.mutate("pods", pod["metadata"]["name"], pod["metadata"]["namespace"], write, status=True)
            self._store.events.record(pod, "Warning", "NodeNotReady", "Node is not ready", _COMPONENT)

    def _taint(self, name: str) -> None:
        """Taints that follow from the node's condition and its cordon."""
        node = self._store.get("nodes", name)
        ready = condition(node, "Ready")
        status = ready["status"] if ready is not None else "False"
        wanted: list[tuple[str, str]] = []
        if status != "True":
            key = UNREACHABLE if status == "Unknown" else NOT_READY
            wanted.append((key, "NoSchedule"))
            if ready is not None and self._may_evict(node, key):
                wanted.append((key, "NoExecute"))
        if node["spec"].get("unschedulable"):
            wanted.append((UNSCHEDULABLE, "NoSchedule"))

        def write(fresh: Object) -> None:
            present = fresh["spec"].get("taints") or []
            taints = [
                taint
                for taint in present
                if taint["key"] not in (NOT_READY, UNREACHABLE, UNSCHEDULABLE)
                or (taint["key"], taint["effect"]) in wanted
            ]
            known = {(taint["key"], taint["effect"]) for taint in taints}
            taints += [
                {"key": key, "effect": effect, "timeAdded": now()}
                for key, effect in wanted
                if (key, effect) not in known
            ]
            if taints:
                fresh["spec"]["taints"] = taints
            else:
                fresh["spec"].pop("taints", None)

        self._store.mutate("nodes", name, None, write)

    def _may_evict(self, node: Object, key: str) -> bool:
        """Whether the node may get its NoExecute taint now: one in 10 s in each zone, none when too much is down."""
        if any(t["effect"] == "NoExecute" and t["key"] == key for t in node["spec"].get("taints") or ()):
            return True
        wait = self._evicted.get(_zone(node), float("-inf")) + 1 / _EVICTIONS_PER_S - time.monotonic()
        if wait > 0:
            self._queue.add_after(node["metadata"]["name"], wait)
            return False
        zones: dict[str, list[bool]] = {}
        for one in self._store.list("nodes"):
            found = condition(one, "Ready")
            zones.setdefault(_zone(one), []).append(found is not None and found["status"] == "True")
        if not any(any(states) for states in zones.values()):
            return False  # everything is down: more likely we are cut off
        states = zones[_zone(node)]
        down = states.count(False)
        rate = _EVICTIONS_PER_S
        if any(states) and down > 2 and down / len(states) >= _SICK_ZONE:
            rate = _SLOW_EVICTIONS_PER_S if len(states) > _BIG_ZONE else 0.0
        if not rate:
            self._queue.add_after(node["metadata"]["name"], 5.0)
            return False
        wait = self._evicted.get(_zone(node), float("-inf")) + 1 / rate - time.monotonic()
        if wait > 0:
            self._queue.add_after(node["metadata"]["name"], wait)
            return False
        self._evicted[_zone(node)] = time.monotonic()
        return True

    def _remove_pods(self, node: str) -> None:
        """The node was deleted: so are its pods."""
        for pod in self._store.list("pods"):
            if pod["spec"].get("nodeName") == node:
                meta = pod["metadata"]
                self._store.delete("pods", meta["name"], meta["namespace"], grace=0, uid=meta["uid"])


def _heartbeat(node: Mapping[str, Any]) -> Any:
    ready = condition(node, "Ready")
    return None if ready is None else ready.get("lastHeartbeatTime")


def _zone(node: Mapping[str, Any]) -> str:
    return str((node["metadata"].get("labels") or {}).get(_ZONE, ""))
