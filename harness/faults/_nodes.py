"""Which nodes are struck: of those that hold ready pods of the workload, some that the run's seed chooses."""

from __future__ import annotations

from dataclasses import dataclass

from harness import guard
from harness.faults import _pods
from harness.faults._strike import Aim
from harness.kube import Object


@dataclass(frozen=True, slots=True, kw_only=True)
class Holders:
    """Where the workload's pods are, and the nodes that are meant."""

    by_node: dict[str, list[Object]]  # its ready pods
    found: dict[str, Object]  # the nodes, by name
    total: int  # its pods, ready or not

    @property
    def where(self) -> str:
        """For hints."""
        return f"pods are on: {', '.join(sorted(self.by_node)) or 'no node'}"

    @property
    def names(self) -> list[str]:
        """The nodes that are meant and hold ready pods."""
        return sorted(self.by_node.keys() & self.found)


def holders(aim: Aim, selector: str, nodes: str) -> Holders:
    """Of the nodes that match `nodes` (all, where it is empty). Raises FaultError when no pod matches the selector."""
    pods = _pods.matching(aim, selector)
    by_node: dict[str, list[Object]] = {}
    for pod in pods:
        if guard.is_ready(pod):
            by_node.setdefault(str(pod["spec"].get("nodeName")), []).append(pod)
    found = {node["metadata"]["name"]: node for node in aim.cluster.list("Node", None, nodes or None)}
    return Holders(by_node=by_node, found=found, total=len(pods))


def choose(aim: Aim, held: Holders, names: list[str], count: int) -> list[str]:
    """`count` of the names. Raises FaultError, before anything is touched, when that breaks the blast radius."""
    chosen = aim.rng.sample(names, count)
    ready = sum(len(each) for each in held.by_node.values())
    struck = sum(len(held.by_node[name]) for name in chosen)
    aim.refuse_excess(pods=struck, nodes=count, total=held.total, left=ready - struck)
    return chosen
