"""A kind cluster's nodes are containers: stopped by pausing them, which freezes kubelet and pods alike."""

from __future__ import annotations

import sys
import time
from typing import Any

from clusters import programs
from clusters.api import Api
from clusters.provider import ClusterError, NodeCommands

READY_S = 120.0
POLL_S = 0.5
_LABEL = "io.x-k8s.kind.cluster"


def commands(cluster: str) -> NodeCommands:
    """How the machines of a kind cluster are switched off and on."""
    to, whose = (sys.executable, "-m", "clusters.kind"), (cluster, "{node}")
    return NodeCommands(stop=(*to, "stop", *whose), start=(*to, "start", *whose), origin="the kind provider")


def stop(cluster: str, node: str) -> None:
    """No process of the node runs. Raises ClusterError when it is no node of the cluster."""
    if _state(cluster, node) != "paused":
        programs.run(programs.engine(), "pause", node)


def start(cluster: str, node: str) -> None:
    """The node's processes run on where they were stopped; a node that had ended boots again."""
    state = _state(cluster, node)
    if state == "paused":
        programs.run(programs.engine(), "unpause", node)
    elif state != "running":
        programs.run(programs.engine(), "start", node)


def thaw(cluster: str) -> None:
    """No container of the cluster is paused: some engines do not remove those."""
    asked = ("ps", "--filter", f"label={_LABEL}={cluster}", "--filter", "status=paused", "--format", "{{.Names}}")
    paused = programs.run(programs.engine(), *asked).split()
    if paused:
        programs.run(programs.engine(), "unpause", *paused)


def wait_until_ready(api: Api) -> None:
    """Every node is Ready. Raises ClusterError with those that are not."""
    deadline = time.monotonic() + READY_S
    while True:
        found = api.items("/api/v1/nodes")
        waiting = [node["metadata"]["name"] for node in found if not _is_ready(node)]
        if found and not waiting:
            return
        if time.monotonic() > deadline:
            raise ClusterError(
                f"Nodes are not Ready: {', '.join(waiting) or 'there is none'}.", hint="kubectl describe nodes"
            )
        time.sleep(POLL_S)


def _state(cluster: str, node: str) -> str:
    """running, paused, exited, …"""
    wanted = f'{{{{index .Config.Labels "{_LABEL}"}}}} {{{{.State.Status}}}}'
    told = programs.run(programs.engine(), "inspect", "--type", "container", "--format", wanted, node).split()
    if told[:1] != [cluster]:
        raise ClusterError(f"The container {node} is no node of the kind cluster {cluster}.")
    return told[1]


def _is_ready(node: dict[str, Any]) -> bool:
    return any(each["type"] == "Ready" and each["status"] == "True" for each in node["status"].get("conditions") or ())
