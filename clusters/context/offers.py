"""What a cluster offers to experiments. What we may do with it is another question: harness/rights.py asks it."""

from __future__ import annotations

from clusters.api import Api, ApiRefused
from clusters.provider import NodeCommands

# What every Kubernetes has.
_EVERYWHERE = frozenset({"pods", "services", "nodes", "eviction", "deployments", "pod-proxy"})


def offers(api: Api, commands: NodeCommands | None) -> frozenset[str]:
    """The capabilities (words of `requires`). `node-stop` takes commands: the API cannot stop a machine."""
    more = ("gpu",) * _has_gpus(api) + ("node-stop",) * (commands is not None)
    return _EVERYWHERE | set(more)


def _has_gpus(api: Api) -> bool:
    """Whether a node offers GPUs. Who may not look is told so before a run that requires them."""
    try:
        nodes = api.items("/api/v1/nodes")
    except ApiRefused as error:
        if error.code != 403:
            raise
        return False
    return any(int(node["status"].get("allocatable", {}).get("nvidia.com/gpu", "0")) for node in nodes)
