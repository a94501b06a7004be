"""Faults under plain `chaos run`: no run of ours around them, yet the same guard, lease, journal and proof.

The first fault of the process opens a journal (in `bulletproof-runs/<id>` and in the cluster). `harness.faults.undo` in
the rollbacks undoes and closes it; the end of the process does so where nobody called it. After kill -9,
`bulletproof recover` finds it like any other run.
"""

from __future__ import annotations

import atexit
import logging
import os
import random
import secrets as random_bytes
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clusters.provider import IMAGE, IMAGE_VARIABLE, node_commands
from harness import guard
from harness.experiment.model import BlastRadius
from harness.faults._strike import FaultContext, FaultError
from harness.history.writer import Recorder
from harness.kube import Cluster
from harness.undo.entry import Residue
from harness.undo.journal import Journal

SEED = 7


@dataclass(slots=True)
class _Open:
    context: FaultContext
    recorder: Recorder


_open: _Open | None = None


def standalone(namespace: str, selector: str, configuration: dict[str, Any], secrets: dict[str, Any]) -> FaultContext:
    """The context of this process, opened at the first call. Raises FaultError when the guard refuses."""
    global _open
    namespace = namespace or str(configuration.get("namespace", ""))
    if not namespace:
        raise FaultError(
            "no namespace is named",
            hint="under plain `chaos run` give the fault the argument namespace, or set it in configuration",
        )
    if _open is not None:
        if namespace != _open.context.namespace:
            raise FaultError(f"this run's journal is in {_open.context.namespace}, the fault names {namespace}")
        return _open.context
    cluster = _connect(configuration, secrets)
    refused = list(guard.namespace_refusals(namespace, cluster))
    if refused:
        raise FaultError("\n".join(refusal.message for refusal in refused), hint=refused[0].hint)
    run_id = f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-chaos-{random_bytes.token_hex(2)}"
    run_dir = Path("bulletproof-runs") / run_id
    run_dir.mkdir(parents=True)
    journal = Journal.open(run_dir, cluster, namespace, run_id)
    recorder = Recorder(run_dir)
    context = FaultContext(
        cluster=cluster,
        namespace=namespace,
        selector=selector,
        service=str(configuration.get("service", "")) or _service_of(cluster, namespace, selector),
        journal=journal,
        record=recorder.record,
        rng=random.Random(int(configuration.get("seed", SEED))),
        # The experiment's blast radius is not told to an activity: here each fault's own count is the limit.
        blast_radius=BlastRadius.model_validate({"pods": 10_000, "nodes": 10_000}),
        deadline_ns=0,
        run_dir=run_dir,
        image=os.environ.get(IMAGE_VARIABLE) or IMAGE,
        interrupted=threading.Event(),
        must_prove=True,
    )
    _open = _Open(context, recorder)
    atexit.register(_finish_at_exit)
    return context


def finish() -> list[Residue]:
    """Everything is undone and the journal closed; what is left is returned. Without a journal: nothing to do."""
    global _open
    if _open is None:
        return []
    context, recorder = _open.context, _open.recorder
    _open = None
    atexit.unregister(_finish_at_exit)
    residues = context.journal.undo_all(context.record)
    residues += context.journal.close()
    recorder.close()
    return residues


def _finish_at_exit() -> None:
    """Nobody hears a return value any more; Chaos Toolkit's own log is what there is left."""
    for residue in finish():
        logging.getLogger("chaostoolkit").error("left behind: %s", residue)


def _connect(configuration: dict[str, Any], secrets: dict[str, Any]) -> Cluster:
    """As chaostoolkit-kubernetes does: secrets, then configuration, then the environment."""

    def find(name: str) -> str | None:
        found = secrets.get(name) or configuration.get(name) or os.environ.get(name)
        return str(found) if found else None

    kubeconfig, context, config = find("KUBECONFIG"), find("KUBERNETES_CONTEXT"), configuration.get("cluster_config")
    path = Path(kubeconfig) if kubeconfig else None
    commands = node_commands(path, context, Path(str(config)) if config else None)
    return Cluster.connect(path, context, node_commands=commands)


def _service_of(cluster: Cluster, namespace: str, selector: str) -> str:
    pods = cluster.list("Pod", namespace, selector or None)
    labels = (pods[0]["metadata"].get("labels") or {}) if pods else {}
    for service in cluster.list("Service", namespace):
        wanted = (service.get("spec") or {}).get("selector") or {}
        if wanted and wanted.items() <= labels.items():
            return str(service["metadata"]["name"])
    return ""
