"""The healthy reference platform on a sandbox, and a run's context on it."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from clusters.provider import provider_for
from harness import faults
from harness.experiment.model import BlastRadius
from harness.faults import FaultContext
from harness.history.records import Evidence, FaultStrike, Record, UndoStep
from harness.kube import Cluster
from harness.undo.journal import Journal
from harness.undo.snapshot import Snapshot

NS = "inference"
RUN = "20261121-101112-test-3f2a"


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A sandbox with the healthy platform, three pods ready; its patience is shortened, which no fault can know."""
    provider = provider_for("sandbox")
    access = provider.up()
    try:
        provider.deploy(access, "healthy", lambda _: None)
        found = Cluster.connect(access.kubeconfig, access.context)
        sleep = "/spec/template/spec/containers/0/lifecycle/preStop/sleep/seconds"
        quick = [
            {"op": "replace", "path": sleep, "value": 1},
            {"op": "replace", "path": "/spec/minReadySeconds", "value": 0},
        ]
        found.patch("Deployment", "detector", NS, quick)
        wait_ready(found)
        yield found
    finally:
        provider.down(access)


class Run:
    """A run's context, with what it recorded."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.records: list[Record] = []
        self.picture = Snapshot.of(cluster, NS)
        self.journal = Journal.open(folder, cluster, NS, RUN)
        self.context = FaultContext(
            cluster=cluster,
            namespace=NS,
            selector="app=detector",
            service="detector",
            journal=self.journal,
            record=self.records.append,
            rng=random.Random(7),
            blast_radius=BlastRadius(pods=3, nodes=1),
            deadline_ns=0,
            run_dir=folder,
            interrupted=threading.Event(),
        )

    def strikes(self) -> list[tuple[str, str]]:
        return [(each.step, each.target) for each in self.records if isinstance(each, FaultStrike)]

    def evidence(self) -> dict[str, Evidence]:
        return {each.claim: each for each in self.records if isinstance(each, Evidence)}

    def steps(self, entry_id: str) -> list[str]:
        return [each.step for each in self.records if isinstance(each, UndoStep) and each.entry_id == entry_id]

    def undo(self) -> None:
        """Everything is as before."""
        assert self.journal.undo_all(self.records.append) == []
        assert self.picture.differences(self.context.cluster) == []


@pytest.fixture
def run(cluster: Cluster, tmp_path: Path) -> Iterator[Run]:
    """An open run; afterwards the platform is at full strength again for the next test."""
    wait_ready(cluster)
    made = Run(cluster, tmp_path)
    with faults.use(made.context):
        yield made
    made.journal.undo_all(made.records.append)
    assert made.journal.close() == []


def wait_until(true: Callable[[], Any], within_s: float = 30.0) -> None:
    """Raises AssertionError when it does not get true in time."""
    end = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end, f"not true within {within_s} s"
        time.sleep(0.05)


def wait_ready(cluster: Cluster) -> None:
    """Three pods, all ready, and the Deployment has seen them."""

    def ready() -> bool:
        found = cluster.get("Deployment", "detector", NS)
        assert found is not None
        status = found.get("status") or {}
        pods = cluster.list("Pod", NS)
        return (
            status.get("observedGeneration") == found["metadata"]["generation"]
            and status.get("readyReplicas") == status.get("updatedReplicas") == status.get("replicas") == 3
            and len(pods) == 3
        )

    wait_until(ready, 60.0)
