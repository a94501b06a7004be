"""What one sandbox is made of: its addresses, its nodes, its clocks."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

VERSION = "v1.36.3-sandbox"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that is chosen when a sandbox starts; nothing in it changes afterwards.

    The defaults of the clocks are those of Kubernetes 1.36, because an experiment that passes only with
    kinder ones is wrong.
    """

    dir: Path
    name: str
    id: str  # value of BULLETPROOF_SANDBOX in every process that belongs to this sandbox
    network: str  # "127.A": the first two octets of every address in it
    nodes: int = 3
    gpus_per_node: int = 2
    images: tuple[Path, ...] = ()  # image files beside the shipped one, later ones win
    port: int = 6443
    service_lag_s: float = 1.0  # kube-proxy's: from a change of endpoints to its effect on new connections
    node_lease_renew_s: float = 10.0
    node_monitor_grace_s: float = 50.0
    default_toleration_s: int = 300  # not-ready and unreachable, as the admission plugin adds them to every pod
    hpa_sync_s: float = 15.0
    hpa_downscale_s: float = 300.0  # stabilization window of scaling down, where a behavior says none
    hpa_cpu_initialization_s: float = 300.0  # how long a pod's first samples are looked at with care
    owner_pid: int | None = None
    idle_exit_s: float = 600.0  # without an outside request, once the owner is gone
    cpus_per_node: str = "16"
    memory_per_node: str = "32Gi"
    pods_per_node: int = 110
    environment: dict[str, str] = field(default_factory=dict)  # extra environment of containers, for tests

    @property
    def api_address(self) -> str:
        """The address of the API server; also the ClusterIP of the Service default/kubernetes."""
        return f"{self.network}.0.1"

    @property
    def logs(self) -> Path:
        """Folder of container logs and volumes; gone with the sandbox's folder."""
        return self.dir / "pods"
