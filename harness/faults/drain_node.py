"""A node is drained as `kubectl drain` does it: cordoned, then every pod on it asked to leave."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from clusters.provider import CHAOS_ALLOWED, CHAOS_LABEL
from harness import guard
from harness.faults import _nodes, _pods
from harness.faults._prove import Claim
from harness.faults._strike import Aim, FaultContext, FaultError, strike
from harness.kube import Blocked, Cluster, Object
from harness.rights import rights
from harness.undo import pointer
from harness.undo.entry import Entry, Field, RestoreFields, mark_of

POLL_S = 0.1
BACK_OFF_S = (0.5, 5.0)  # first and longest pause after a 429; kubectl waits 5 s each time
MIRROR = "kubernetes.io/config.mirror"
RIGHTS = [
    *rights("get list patch", "nodes", namespace=""),
    *rights("list", "namespaces", namespace=""),
    *rights("get list", "pods", namespace=""),
    *rights("create", "pods/eviction", namespace=""),
    *rights("list", "endpointslices", "discovery.k8s.io"),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What may be evicted, and until when."""

    deadline_ns: int
    force: bool = False  # also pods that nothing will replace
    delete_emptydir_data: bool = False  # also pods whose emptyDir is lost with them


@dataclass(frozen=True, slots=True)
class NodeDrain:
    """The node takes no new pod, and the pods that were on it have left, as fast as disruption budgets allow.

    Stays: DaemonSet and mirror pods, as with kubectl, and pods of namespaces that have not opted in to chaos.
    Undo: the mark the node had before, so an admin's cordon survives us.
    Evidence: the node is unschedulable, no evictable pod is left on it; the workload's pods that were on it are
    withdrawn from the Service, and silent.
    """

    name: ClassVar[str] = "node-drain"

    node: Object
    pods: tuple[Object, ...]  # of the workload, on the node
    allowed: frozenset[str]  # namespaces that have opted in
    service: str
    rules: Rules

    @property
    def target(self) -> str:
        """node/NAME"""
        return f"node/{self._name}"

    @property
    def facts(self) -> dict[str, Any]:
        """node, uid, and the names of the workload's pods on it"""
        names = [pod["metadata"]["name"] for pod in self.pods]
        return {"node": self._name, "uid": self.node["metadata"]["uid"], "pods": names}

    def undo(self, cluster: Cluster, fault_id: str, run_id: str) -> list[Entry]:
        """Uncordon, if it is we who cordoned."""
        entry_id = f"{fault_id}.cordon"
        before = pointer.read(self.node, "/spec/unschedulable")
        restore = RestoreFields(
            kind="Node",
            name=self._name,
            uid=self.node["metadata"]["uid"],
            fields=(Field(at="/spec/unschedulable", before=before, after=pointer.value(True)),),
            mark=mark_of(entry_id),
            mark_value=run_id,
        )
        what = (
            f"node {self._name} takes pods again" if before == pointer.ABSENT else f"node {self._name} stays cordoned"
        )
        return [Entry(entry_id=entry_id, fault_id=fault_id, what=what, ops=(restore,))]

    def inject(self, context: FaultContext, undo: Sequence[Entry]) -> dict[str, Any]:
        """Cordon, evict, and wait until the pods are gone."""
        end = context.ends(self.rules.deadline_ns)
        leaving, staying = evictable(context.cluster, self._name, self.allowed, self.rules)
        cordon = undo[0].ops[0]
        assert isinstance(cordon, RestoreFields)
        current = context.cluster.get("Node", self._name)
        if current is None:
            raise FaultError(f"{self.target} is gone")
        context.cluster.patch("Node", self._name, None, cordon.forward(current))
        blocked = _evict(context, leaving, end)
        _wait_gone(context, leaving, end)
        return {"evicted": [_full_name(pod) for pod in leaving], "stayed": staying, "blocked": blocked}

    def claims(self, cluster: Cluster) -> list[Claim]:
        """node-unschedulable, node-empty; for each pod of the workload endpoint-withdrawn, pod-gone, pod-silent"""
        claims = [
            Claim(name="node-unschedulable", check=lambda: self._unschedulable(cluster), facts={"node": self._name}),
            Claim(name="node-empty", check=lambda: self._empty(cluster), facts={"node": self._name}),
        ]
        for pod in self.pods:
            claims += [
                _pods.withdrawn(cluster, pod, self.service),
                _pods.gone(cluster, pod),
                _pods.silent_once_gone(pod),
            ]
        return claims

    @property
    def _name(self) -> str:
        return str(self.node["metadata"]["name"])

    def _unschedulable(self, cluster: Cluster) -> str:
        node = cluster.get("Node", self._name)
        return f"node {self._name} is unschedulable" if node and node["spec"].get("unschedulable") else ""

    def _empty(self, cluster: Cluster) -> str:
        left = [pod for pod in on_node(cluster, self._name) if not _stays(pod, self.allowed)]
        return "" if left else f"no evictable pod is left on {self._name}"


def select(aim: Aim, selector: str, count: int, nodes: str, rules: Rules) -> list[NodeDrain]:
    """`count` schedulable nodes that hold ready pods of the selector, chosen by the run's seed.

    Raises FaultError, before anything is touched, when there are too few or a pod on them must not be evicted.
    """
    held = _nodes.holders(aim, selector, nodes)
    names = [name for name in held.names if not held.found[name]["spec"].get("unschedulable")]
    if count < 1 or len(names) < count:
        raise FaultError(
            f"{count} nodes were to be drained, and {len(names)} schedulable nodes hold ready pods of {selector}"
            f"{f' and match {nodes}' if nodes else ''}. Nothing was touched.",
            hint=held.where,
        )
    chosen = _nodes.choose(aim, held, names, count)
    allowed = frozenset(
        space["metadata"]["name"]
        for space in aim.cluster.list("Namespace", None, f"{CHAOS_LABEL}={CHAOS_ALLOWED}")
        if space["metadata"]["name"] not in guard.NEVER
    )
    for name in chosen:
        evictable(aim.cluster, name, allowed, rules)
    return [NodeDrain(held.found[name], tuple(held.by_node[name]), allowed, aim.service, rules) for name in chosen]


def act(context: FaultContext, selector: str, count: int, nodes: str, rules: Rules) -> list[str]:
    """Drain them, one after the other."""
    return strike(context, select(context, selector, count, nodes, rules))


def evictable(cluster: Cluster, node: str, allowed: frozenset[str], rules: Rules) -> tuple[list[Object], list[str]]:
    """The pods to evict, and a line for each that stays. Raises FaultError that names every pod that forbids it."""
    leaving, staying, forbidden = [], [], []
    for pod in on_node(cluster, node):
        stays = _stays(pod, allowed)
        if stays:
            staying.append(f"{_full_name(pod)}: {stays}")
            continue
        leaving.append(pod)
        if pod.get("status", {}).get("phase") in ("Succeeded", "Failed"):
            continue
        if _pods.controller_of(pod) is None and not rules.force:
            forbidden.append(f"{_full_name(pod)} has no controller (force: true evicts it for good)")
        if _has_emptydir(pod) and not rules.delete_emptydir_data:
            forbidden.append(f"{_full_name(pod)} has emptyDir data (delete_emptydir_data: true gives it up)")
    if forbidden:
        raise FaultError(f"node {node} cannot be drained: {'; '.join(forbidden)}", hint="nothing was touched")
    return leaving, staying


def on_node(cluster: Cluster, node: str) -> list[Object]:
    """All pods bound to the node, of all namespaces."""
    return cluster.list("Pod", fields=f"spec.nodeName={node}")


def _stays(pod: Object, allowed: frozenset[str]) -> str:
    """Why the pod is left on the node; empty when it is to go."""
    metadata = pod["metadata"]
    if MIRROR in (metadata.get("annotations") or {}):
        return "a mirror pod"
    owner = _pods.controller_of(pod)
    if owner is not None and owner["kind"] == "DaemonSet":
        return f"of DaemonSet {owner['name']}"
    if metadata["namespace"] not in allowed:
        return f"namespace {metadata['namespace']} has not opted in to chaos"
    return ""


def _has_emptydir(pod: Object) -> bool:
    return any("emptyDir" in volume for volume in pod["spec"].get("volumes") or [])


def _evict(context: FaultContext, pods: Sequence[Object], end: float) -> int:
    """Ask each to leave; those that a budget blocks are asked again. Returns how often one was blocked."""
    waiting = {pod["metadata"]["uid"]: pod for pod in pods if "deletionTimestamp" not in pod["metadata"]}
    pause, blocked, reason = BACK_OFF_S[0], 0, ""
    while waiting:
        for uid, pod in list(waiting.items()):
            context.check()
            answer = context.cluster.evict(pod["metadata"]["name"], pod["metadata"]["namespace"], uid)
            if isinstance(answer, Blocked):
                blocked += 1
                reason = f"{_full_name(pod)}: {answer.reason}"
            else:
                del waiting[uid]
        if waiting:
            if time.monotonic() + pause > end:
                raise FaultError(f"the drain did not end in time: {reason}", hint="a disruption budget may allow none")
            context.wait(pause)
            pause = min(2 * pause, BACK_OFF_S[1])
    return blocked


def _wait_gone(context: FaultContext, pods: Sequence[Object], end: float) -> None:
    """Until every uid is gone."""
    left = list(pods)
    while left:
        left = [pod for pod in left if _is_there(context.cluster, pod)]
        if left and time.monotonic() > end:
            raise FaultError(f"the drain did not end in time: {', '.join(map(_full_name, left))} still there")
        if left:
            context.wait(POLL_S)


def _is_there(cluster: Cluster, pod: Object) -> bool:
    metadata = pod["metadata"]
    found = cluster.get("Pod", metadata["name"], metadata["namespace"])
    return found is not None and found["metadata"]["uid"] == metadata["uid"]


def _full_name(pod: Object) -> str:
    return f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
