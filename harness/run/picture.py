"""The picture of the cluster before the run, kept in its folder: whoever recovers a dead run compares with it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

from harness.history import records
from harness.kube import Cluster
from harness.undo.snapshot import Snapshot

NAME = "before.json"


def write_picture(run_dir: Path, picture: Snapshot) -> None:
    """On disk after this; written before anything is touched."""
    with (run_dir / NAME).open("w", encoding="utf-8") as file:
        json.dump({"namespace": picture.namespace, "nodes": picture.nodes, "objects": picture.objects}, file, indent=1)
        file.flush()
        os.fsync(file.fileno())


def read_picture(run_dir: Path) -> Snapshot | None:
    """None when the run died before it was written (then nothing was touched either)."""
    path = run_dir / NAME
    if not path.exists():
        return None
    data = json.loads(path.read_text(encoding="utf-8"))
    return Snapshot(namespace=data["namespace"], objects=data["objects"], nodes=data.get("nodes", True))


def record_differences(picture: Snapshot, cluster: Cluster, record: Callable[[records.Record], None]) -> None:
    """How the cluster differs from the picture once the undo is through."""
    differences = tuple(picture.differences(cluster, settle_s=10.0))
    record(
        records.Snapshot(
            t_ns=time.monotonic_ns(), moment="after", differences=differences, objects=len(picture.objects)
        )
    )
