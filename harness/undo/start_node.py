"""A machine that was switched off is on again: how, and how that is known.

The command is never taken from the journal, where anybody who may write a ConfigMap could have put one: it is that of
the cluster's own configuration (`Cluster.node_commands`). The journal says which node.
"""

from __future__ import annotations

import contextlib
import logging
import re
import shlex
import subprocess
import tempfile
import time
from collections.abc import Mapping
from typing import Any

from clusters.provider import BadWordError, filled, words_of
from harness.kube import Cluster, Object, Refused, Unreachable
from harness.undo.entry import StartNode

log = logging.getLogger(__name__)

POLL_S = 0.25
NATIVE_RESOURCES = re.compile(r"cpu|memory|pods|ephemeral-storage|hugepages-.*|attachable-volumes-.*")


class NotStartedError(Exception):
    """The node did not come back; the text says how far it got."""


def start(op: StartNode, cluster: Cluster) -> str:
    """The command has run, and the node has given a sign of life since. Harmless on a node that runs."""
    commands = cluster.node_commands
    if commands is None:
        raise NotStartedError(
            f"nobody has said how node {op.node} is switched on: name the cluster's configuration file "
            "(bulletproof recover --cluster-config FILE)"
        )
    end = time.monotonic() + op.within_s
    before = _heartbeat(cluster, op.node)
    _run(_command(op, cluster, commands.start), commands.within_s)
    # A node that was switched off a moment ago still counts as Ready: only a new heartbeat shows that it lives.
    while True:
        with contextlib.suppress(Unreachable, Refused):
            now = _heartbeat(cluster, op.node)
            if now and now != before:
                return f"node {op.node} was switched on"
        if time.monotonic() > end:
            raise NotStartedError(f"node {op.node} gave no sign of life within {op.within_s:g} s of the command")
        time.sleep(POLL_S)


def left(op: StartNode, cluster: Cluster) -> str:
    """What the node lacks; empty when it is as it was."""
    node = cluster.get("Node", op.node)
    if node is None:
        return f"node {op.node} is gone"
    if not is_ready(node):
        return f"node {op.node} is not Ready"
    now = extended_resources(node)
    lacking = [f"{now.get(name, '0')} of {was} {name}" for name, was in op.extended.items() if now.get(name) != was]
    return f"node {op.node} offers {', '.join(lacking)}" if lacking else ""


def is_ready(node: Object) -> bool:
    """Whether the Ready condition is True: neither False nor Unknown."""
    conditions = (node.get("status") or {}).get("conditions") or ()
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def extended_resources(node: Object) -> dict[str, str]:
    """What device plugins offer: allocatable, as it is handed out."""
    allocatable = (node.get("status") or {}).get("allocatable") or {}
    return {name: str(amount) for name, amount in allocatable.items() if not NATIVE_RESOURCES.fullmatch(name)}


def _heartbeat(cluster: Cluster, node: str) -> str:
    lease = cluster.get("Lease", node, "kube-node-lease")
    spec: Mapping[str, Any] = (lease or {}).get("spec") or {}
    return str(spec.get("renewTime") or "")


def _command(op: StartNode, cluster: Cluster, command: tuple[str, ...]) -> list[str]:
    # A cloud's controller may remove the Node of a machine that is off; then what was written down must do.
    node = cluster.get("Node", op.node)
    words = {**op.words, **(words_of(node) if node else {}), "node": op.node}
    try:
        return filled(command, words)
    except BadWordError as error:
        raise NotStartedError(f"node_start: {error}") from error


def _run(command: list[str], within_s: float) -> None:
    # A file, not a pipe: what the command leaves running would hold a pipe open.
    with tempfile.TemporaryFile() as output:
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=within_s,
                check=False,
                start_new_session=True,  # Ctrl-C must not end what brings the machine back
            )
        except OSError as error:
            raise NotStartedError(f"{command[0]} could not be started: {error.strerror}") from error
        except subprocess.TimeoutExpired as error:
            raise NotStartedError(f"{command[0]} did not end within {within_s:g} s") from error
        output.seek(0)
        said = output.read().decode(errors="replace").strip()
    log.info("%s: exit code %d: %s", shlex.join(command), done.returncode, said)
    if done.returncode != 0:
        last = said.splitlines()[-1] if said else "it said nothing"
        raise NotStartedError(f"{command[0]} ended with exit code {done.returncode}: {last}")
