"""A node's machine is switched off, as a power cut or a lost instance would do it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from clusters.provider import BadWordError, NodeCommands, filled, words_of
from harness.faults import _nodes, _pods
from harness.faults._command import run_command
from harness.faults._prove import Claim
from harness.faults._strike import Aim, FaultContext, FaultError, strike
from harness.kube import Cluster, Object
from harness.rights import rights
from harness.undo.entry import Entry, StartNode
from harness.undo.start_node import extended_resources, is_ready

RIGHTS = [
    *rights("get list", "pods"),
    *rights("list", "endpointslices", "discovery.k8s.io"),
    *rights("get list", "nodes", namespace=""),
    *rights("get", "leases", "coordination.k8s.io", "kube-node-lease"),
]
CONTROL_PLANE = ("node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master")


@dataclass(frozen=True, slots=True)
class NodeStop:
    """The machine is off: nothing on it answers any more, and nobody tells the cluster.

    Undo: it is switched on; the node is Ready, by a heartbeat that is newer than the command, with the extended
    resources (GPUs) that it had.
    Evidence: the node lifecycle controller has missed the heartbeats; the pods that were on it are withdrawn from the
    Service, and silent.
    """

    name: ClassVar[str] = "node-stop"

    node: Object
    pods: tuple[Object, ...]  # of the workload, on the node
    service: str
    commands: NodeCommands

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
        """Switch it on."""
        start = StartNode(
            node=self._name,
            words=words_of(self.node),
            by_hand=tuple(self._filled(self.commands.start)),
            extended=extended_resources(self.node),
        )
        what = f"node {self._name} is switched on and Ready"
        return [Entry(entry_id=f"{fault_id}.start", fault_id=fault_id, what=what, ops=(start,))]

    def inject(self, context: FaultContext, undo: Sequence[Entry]) -> dict[str, Any]:
        """Run the command that switches it off; what it says goes to a log in the run's folder."""
        log = context.run_dir / f"{undo[0].fault_id}.log"
        command = self._filled(self.commands.stop)
        code = run_command(context, command, os.environ, log, int(self.commands.within_s * 1e9))
        if code != 0:
            raise FaultError(f"node_stop ended with exit code {code}: {_last_line(log)}", hint=f"see {log}")
        return {"command": command, "log": log.name}

    def claims(self, cluster: Cluster) -> list[Claim]:
        """node-not-ready; for each pod of the workload endpoint-withdrawn, pod-silent"""
        claims = [Claim(name="node-not-ready", check=lambda: self._not_ready(cluster), facts={"node": self._name})]
        for pod in self.pods:
            claims += [_pods.withdrawn(cluster, pod, self.service), _pods.silent_once_withdrawn(pod)]
        return claims

    @property
    def _name(self) -> str:
        return str(self.node["metadata"]["name"])

    def _filled(self, command: tuple[str, ...]) -> list[str]:
        try:
            return filled(command, words_of(self.node))
        except BadWordError as error:
            where = self.commands.origin
            raise FaultError(f"{where}: {error}. Nothing was touched.", hint=f"mend the command in {where}") from error

    def _not_ready(self, cluster: Cluster) -> str:
        node = cluster.get("Node", self._name)
        if node is None:
            return f"node {self._name} is gone"
        return "" if is_ready(node) else f"node {self._name} is not Ready"


def select(aim: Aim, selector: str, count: int, nodes: str) -> list[NodeStop]:
    """`count` Ready nodes that hold ready pods of the selector, chosen by the run's seed.

    Never one of the control plane, nor the one by which the load enters the cluster. Raises FaultError, before anything
    is touched, when there are too few or the cluster names no commands.
    """
    commands = aim.cluster.node_commands
    if commands is None:
        raise FaultError(
            "nobody has said how a machine of this cluster is switched off. Nothing was touched.",
            hint="name node_stop and node_start in the cluster's configuration file (docs/clusters.md)",
        )
    held = _nodes.holders(aim, selector, nodes)
    spared = {name: why for name, node in held.found.items() if (why := _spared(node, aim.load_host))}
    names = [name for name in held.names if name not in spared and is_ready(held.found[name])]
    if count < 1 or len(names) < count:
        reasons = "; ".join(f"{name} {why}" for name, why in sorted(spared.items()) if name in held.by_node)
        raise FaultError(
            f"{count} nodes were to be stopped, and {len(names)} Ready nodes that may be hold ready pods of {selector}"
            f"{f' and match {nodes}' if nodes else ''}{f' ({reasons})' if reasons else ''}. Nothing was touched.",
            hint=held.where,
        )
    chosen = _nodes.choose(aim, held, names, count)
    return [NodeStop(held.found[name], tuple(held.by_node[name]), aim.service, commands) for name in chosen]


def act(context: FaultContext, selector: str, count: int, nodes: str, noticed_within_ns: int) -> list[str]:
    """Stop them, and wait until the cluster has noticed."""
    return strike(context, select(context, selector, count, nodes), within_s=noticed_within_ns / 1e9)


def _spared(node: Object, load_host: str) -> str:
    """Why the node must not be stopped; empty when it may be."""
    labels = node["metadata"].get("labels") or {}
    if any(label in labels for label in CONTROL_PLANE):
        return "is of the control plane"
    addresses = {each["address"] for each in (node.get("status") or {}).get("addresses") or ()}
    if load_host and load_host in addresses:
        return "is where the load enters the cluster"
    return ""


def _last_line(log: Any) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
