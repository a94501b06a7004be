"""The way to a pod takes longer: the proxy before it holds every chunk back."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from harness.faults import _pods, _proxies
from harness.faults._prove import Claim
from harness.faults._strike import Aim, FaultContext, FaultError, claim_of_requests, raise_residue, strike
from harness.kube import Cluster, Object
from harness.rights import rights
from harness.undo.entry import Entry, LatencyOff

RIGHTS = [
    *rights("get list create delete", "pods"),
    *rights("get update", "pods/proxy"),
    *rights("get patch", "services"),
    *rights("list", "endpointslices", "discovery.k8s.io"),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Delay:
    """How much longer, and for how long."""

    latency_ns: int
    jitter_ns: int
    duration_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PodLatency:
    """Answers of the pod come later; live connections stay as they are.

    Undo: the proxy adds nothing.
    Evidence: the proxy says so itself, and the pod's answers take longer.
    """

    name: ClassVar[str] = "pod-latency"

    pod: Object
    proxy: str
    delay: Delay
    seed: int

    @property
    def target(self) -> str:
        """pod/NAME, of the backend"""
        return f"pod/{self.pod['metadata']['name']}"

    @property
    def facts(self) -> dict[str, Any]:
        """pod, uid, node, proxy, latency_ns, jitter_ns, duration_ns"""
        return {
            **_pods.facts_of(self.pod),
            "proxy": self.proxy,
            "latency_ns": self.delay.latency_ns,
            "jitter_ns": self.delay.jitter_ns,
            "duration_ns": self.delay.duration_ns,
        }

    def undo(self, cluster: Cluster, fault_id: str, run_id: str) -> list[Entry]:
        """Latency off."""
        off = LatencyOff(namespace=self._namespace, pod=self.proxy, port=_proxies.ADMIN_PORT)
        what = f"the way to {self.target} is as fast as before"
        return [Entry(entry_id=f"{fault_id}.latency", fault_id=fault_id, what=what, ops=(off,))]

    def inject(self, context: FaultContext, undo: Sequence[Entry]) -> dict[str, Any]:
        """Tell the proxy."""
        wanted = {"latency_ns": self.delay.latency_ns, "jitter_ns": self.delay.jitter_ns, "seed": self.seed}
        context.cluster.pod_proxy(self._namespace, self.proxy, _proxies.ADMIN_PORT, "PUT", "latency", wanted)
        return {}

    def claims(self, cluster: Cluster) -> list[Claim]:
        """proxy-delays; latency-added is written once it is over, with its span"""
        return [Claim(name="proxy-delays", channel="proxy", check=lambda: self._state(cluster), facts=self.facts)]

    @property
    def _namespace(self) -> str:
        return str(self.pod["metadata"]["namespace"])

    def _state(self, cluster: Cluster) -> str:
        state = cluster.pod_proxy(self._namespace, self.proxy, _proxies.ADMIN_PORT, "GET", "state")
        told = (state["latency_ns"], state["jitter_ns"])
        return f"{self.proxy} adds {told[0]} ns" if told == (self.delay.latency_ns, self.delay.jitter_ns) else ""


def select(aim: Aim, selector: str, count: int | str, delay: Delay, proxies: dict[str, str]) -> list[PodLatency]:
    """The pods whose way gets longer; `proxies` maps a pod's uid to its proxy. Raises FaultError."""
    chosen = _pods.choose(aim, selector, count)
    without = [pod["metadata"]["name"] for pod in chosen if pod["metadata"]["uid"] not in proxies]
    if without:
        raise FaultError(f"no proxy stands before {', '.join(without)}: the pod is younger than the proxies")
    return [
        PodLatency(pod=pod, proxy=proxies[pod["metadata"]["uid"]], delay=delay, seed=aim.rng.getrandbits(31))
        for pod in chosen
    ]


def act(context: FaultContext, selector: str, count: int | str, delay: Delay) -> list[str]:
    """Strike, let it last, and switch it off again."""
    if delay.latency_ns <= 0 or delay.duration_ns <= 0:
        raise FaultError("latency and duration must be more than nothing. Nothing was touched.")
    proxies = {each.backend["metadata"]["uid"]: each.name for each in _proxies.ensure(context, selector)}
    faults = select(context, selector, count, delay, proxies)
    fault_ids = strike(context, faults)
    from_ns = time.monotonic_ns()
    context.wait(context.ends(delay.duration_ns) - time.monotonic())
    until_ns = time.monotonic_ns()
    residues = [context.journal.undo(f"{fault_id}.latency", context.record) for fault_id in fault_ids]
    for fault_id, fault in zip(fault_ids, faults, strict=True):
        facts = {**fault.facts, "from_ns": from_ns, "until_ns": until_ns}
        claim_of_requests(context, fault_id, "latency-added", "", **facts)
    raise_residue([residue for residue in residues if residue is not None])
    return fault_ids
