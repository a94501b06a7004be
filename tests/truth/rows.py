"""The table: experiment x platform, and what each must come out as. On every cluster the same."""

from __future__ import annotations

from dataclasses import dataclass, field

# The drain's objective is 99.8 %: to claim it of the steady state takes 1,497 requests without a failure.
_DRAIN = {"baseline": "9s", "recover": "10s", "settle": "4s"}
# 6 s: of 1,200 requests one may be late (99.9 %); of the 930 of 5 s none might.
_RELEASE = {"baseline": "6s", "recover": "8s", "settle": "4s"}
_NODE_LOST = {"baseline": "6s", "recover": "14s", "settle": "4s"}
_SHORT = {"baseline": "6s", "recover": "12s", "settle": "4s"}


@dataclass(frozen=True, slots=True)
class Row:
    """One run. PASSED where no check is named."""

    experiment: str
    platform: str = "healthy"
    fails: frozenset[str] = frozenset()  # at least one of these checks must be FAILED
    phases: dict[str, str] = field(default_factory=lambda: dict(_SHORT))

    @property
    def name(self) -> str:
        """gpu-pod-kill-on-healthy"""
        return f"{self.experiment}-on-{self.platform}"


ROWS = (
    Row("gpu-pod-kill"),
    Row("gpu-pod-replaced"),
    Row("pod-latency"),
    Row("gpu-node-drain", phases=_DRAIN),
    Row("gpu-node-lost", phases=_NODE_LOST),
    Row("bad-release-crash", phases=_RELEASE),
    Row("bad-release-never-ready", phases=_RELEASE),
    Row("bad-release-wrong", phases=_RELEASE),
    Row("bad-release-slow", phases=_RELEASE),
    Row("gpu-pod-kill", "single-replica", frozenset({"recovers_within", "lost", "ready_floor"})),
    Row("gpu-pod-kill", "no-readiness-probe", frozenset({"lost", "recovers_within"})),
    Row("gpu-pod-kill", "never-recovers", frozenset({"replicas_within"}), {**_SHORT, "recover": "25s"}),
    Row("gpu-node-drain", "no-drain", frozenset({"lost_requests"}), _DRAIN),
    Row("gpu-node-drain", "all-on-one-node", frozenset({"lost_requests", "ready_floor"}), _DRAIN),
    Row("gpu-node-lost", "all-on-one-node", frozenset({"lost", "ready_floor"}), _NODE_LOST),
    Row("bad-release-wrong", "release-without-verification", frozenset({"stable_within"})),
)
