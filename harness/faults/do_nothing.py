"""A fault that does nothing, and claims what a kill would: it must never come out as proven.

It is here so that anyone can see the instrument refuse: an experiment with it ends INVALID.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from harness.faults import _pods
from harness.faults._prove import Claim
from harness.faults._strike import Aim, FaultContext, strike
from harness.kube import Cluster, Object
from harness.rights import rights
from harness.undo.entry import Entry

RIGHTS = [*rights("get list", "pods"), *rights("list", "endpointslices", "discovery.k8s.io")]


@dataclass(frozen=True, slots=True)
class NoOp:
    """Nothing happens to the pod.

    Undo: nothing.
    Evidence: that of a pod kill, which cannot be seen.
    """

    name: ClassVar[str] = "no-op"

    pod: Object
    service: str

    @property
    def target(self) -> str:
        """pod/NAME"""
        return f"pod/{self.pod['metadata']['name']}"

    @property
    def facts(self) -> dict[str, Any]:
        """pod, uid, node"""
        return _pods.facts_of(self.pod)

    def undo(self, cluster: Cluster, fault_id: str, run_id: str) -> list[Entry]:
        """An entry without operations."""
        return [Entry(entry_id=f"{fault_id}.nothing", fault_id=fault_id, what=f"nothing was done to {self.target}")]

    def inject(self, context: FaultContext, undo: Sequence[Entry]) -> dict[str, Any]:
        """Nothing."""
        return {}

    def claims(self, cluster: Cluster) -> list[Claim]:
        """pod-gone, endpoint-withdrawn, pod-silent"""
        return [
            _pods.gone(cluster, self.pod),
            _pods.withdrawn(cluster, self.pod, self.service),
            _pods.silent_once_withdrawn(self.pod),
        ]


def select(aim: Aim, selector: str, count: int | str) -> list[NoOp]:
    """The pods to leave alone."""
    return [NoOp(pod, aim.service) for pod in _pods.choose(aim, selector, count)]


def act(context: FaultContext, selector: str, count: int | str, within_s: float) -> list[str]:
    """Do nothing to `count` ready pods, and look for the effect."""
    return strike(context, select(context, selector, count), within_s=within_s)
