"""Runs that died before their undo: found in the cluster, taken over, and finished by whoever has the kubeconfig."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import InvalidRun
from harness.kube import Cluster, Refused
from harness.undo import journal_file
from harness.undo.cluster_copy import entries_in, holder_in
from harness.undo.entry import JOURNAL_LABEL, Entry
from harness.undo.holder import Holder
from harness.undo.journal import Journal
from harness.undo.lease import NAME, NAMESPACE, holder_of, is_held


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadRun:
    """A run whose process is gone and whose journal is still in the cluster."""

    run_id: str
    namespace: str
    holder: Holder | None
    entries: Mapping[str, Mapping[str, Any]]  # undo entries by id, as data

    @property
    def run_dir(self) -> Path | None:
        """Its folder, where this machine has it, and not another run's at the same path."""
        path = Path(self.holder.run_dir) if self.holder else None
        return path if path is not None and path.is_dir() and is_of(path, self.run_id) else None


def pending(cluster: Cluster, namespace: str | None = None) -> list[DeadRun]:
    """Dead runs, oldest first; in all namespaces unless one is named.

    A run is alive while the cluster's lease names it and has not expired; on the machine where its process ran, the
    process being gone is enough.
    """
    lease = cluster.get("Lease", NAME, NAMESPACE)
    alive = holder_of(lease) if lease is not None and is_held(lease, cluster) else None
    found = []
    for config_map in _journals(cluster, namespace):
        holder = holder_in(config_map)
        run_id = holder.run_id if holder else config_map["metadata"]["name"].removeprefix("bulletproof-journal-")
        if alive is None or alive.run_id != run_id:
            found.append(
                DeadRun(
                    run_id=run_id,
                    namespace=config_map["metadata"]["namespace"],
                    holder=holder,
                    entries=entries_in(config_map),
                )
            )
    return sorted(found, key=lambda dead: dead.run_id)


def take_over(cluster: Cluster, dead: DeadRun, run_dir: Path) -> Journal:
    """The dead run's journal, open for us: `undo_all`, then `close`.

    Entries come from the cluster and from `run_dir`, which is the dead run's own folder or an empty one; what either
    says is verified is not undone again. Raises InvalidRun for another run's folder, which would say that of entries of
    its own, and when another run, or another recover, holds the cluster.
    """
    if not is_of(run_dir, dead.run_id):
        raise InvalidRun(
            f"{run_dir} is the folder of another run than {dead.run_id}",
            hint="name a folder for what is recovered: bulletproof recover --out DIR",
        )
    read = journal_file.read(run_dir)
    data = {**dead.entries, **read.pending}
    entries = [Entry.from_json(entry) for key, entry in data.items() if key not in read.verified]
    holder = Holder.here(dead.run_id, run_dir.resolve(), dead.namespace)
    return Journal.resume(run_dir, cluster, holder, entries)


def is_of(run_dir: Path, run_id: str) -> bool:
    """Whether a folder is the run's, by its run.json and its journal, as far as there are such."""
    try:
        described = json.loads((run_dir / "run.json").read_text(encoding="utf-8"))["run_id"]
    except (OSError, ValueError, KeyError, TypeError):
        described = None
    return {described, journal_file.read(run_dir).run_id} <= {None, run_id}


def refuse_if_left(cluster: Cluster, namespace: str) -> None:
    """Raises InvalidRun when a dead run has left undo entries: a new fault on top of an old one proves nothing."""
    for dead in pending(cluster, namespace):
        if dead.entries:
            raise InvalidRun(
                f"run {dead.run_id} ended without its undo: {len(dead.entries)} entries are left in the cluster",
                hint="run `bulletproof recover` first",
            )


def from_folder(run_dir: Path, run_id: str, namespace: str) -> DeadRun | None:
    """The dead run that a folder tells of, when the cluster has no journal of it. None when nothing is left to undo."""
    read = journal_file.read(run_dir)
    if not read.pending or not is_of(run_dir, run_id):
        return None
    return DeadRun(run_id=run_id, namespace=namespace, holder=None, entries=read.pending)


def _journals(cluster: Cluster, namespace: str | None) -> list[dict[str, Any]]:
    selector = f"{JOURNAL_LABEL}=true"
    try:
        return cluster.list("ConfigMap", None, selector)
    except Refused as error:
        # Least rights may cover the workload's namespace only.
        if error.code != 403:
            raise
        if namespace is None:
            raise InvalidRun(error.message, hint="name the namespace, or use credentials that may list all") from error
        return cluster.list("ConfigMap", namespace, selector)
