"""A pod dies as in a crash: no grace, no preStop, no drain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from harness.faults import _pods
from harness.faults._prove import Claim
from harness.faults._strike import Aim, FaultContext, FaultError, strike
from harness.kube import Cluster, Object
from harness.rights import rights
from harness.undo.entry import Entry

RIGHTS = [*rights("get list delete", "pods"), *rights("list", "endpointslices", "discovery.k8s.io")]


@dataclass(frozen=True, slots=True)
class PodKill:
    """The pod is gone at once; its controller makes another.

    Undo: nothing to put back, as the controller does; a pod without one is refused.
    Evidence: the uid is gone, its endpoint is withdrawn, and no answer comes from it after that.
    """

    name: ClassVar[str] = "pod-kill"

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
        """An entry without operations: it says who replaces the pod."""
        owner = _pods.controller_of(self.pod)
        if owner is None:
            raise FaultError(
                f"{self.target} has no controller: nothing would bring it back. Nothing was touched.",
                hint="strike pods of a Deployment",
            )
        what = f"{owner['kind'].lower()} {owner['name']} replaces {self.target}"
        return [Entry(entry_id=f"{fault_id}.replaced", fault_id=fault_id, what=what)]

    def inject(self, context: FaultContext, undo: Sequence[Entry]) -> dict[str, Any]:
        """Delete with grace 0, this uid only."""
        metadata = self.pod["metadata"]
        if not context.cluster.delete("Pod", metadata["name"], metadata["namespace"], grace=0, uid=metadata["uid"]):
            raise FaultError(f"{self.target} was gone before it could be killed")
        return {}

    def claims(self, cluster: Cluster) -> list[Claim]:
        """pod-gone, endpoint-withdrawn, pod-silent"""
        return [
            _pods.gone(cluster, self.pod),
            _pods.withdrawn(cluster, self.pod, self.service),
            _pods.silent_once_withdrawn(self.pod),
        ]


def select(aim: Aim, selector: str, count: int | str) -> list[PodKill]:
    """The pods to kill."""
    return [PodKill(pod, aim.service) for pod in _pods.choose(aim, selector, count)]


def act(context: FaultContext, selector: str, count: int | str) -> list[str]:
    """Kill `count` ready pods of the selector."""
    return strike(context, select(context, selector, count))
