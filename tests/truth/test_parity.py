"""What is said of two clusters side by side, from the verdicts that their runs wrote; and what is left on one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from harness.experiment.shipped import experiment_files
from tests.truth.left import left, picture
from tests.truth.parity import differences, newest, page
from tests.truth.rows import ROWS


def ran(
    folder: Path, name: str, verdict: str = "PASSED", *, platform: str = "healthy", at: int = 1, failed: str = ""
) -> None:
    """A run's folder, with as much of a verdict.json as is read."""
    path = folder / f"{name}-{platform}-{at}"
    path.mkdir(parents=True)
    checks = [{"name": "lost", "verdict": "PASSED"}, *([{"name": failed, "verdict": "FAILED"}] if failed else [])]
    cluster = {"provider": folder.name, "version": "v1.36.3", "nodes": 3}
    environment = {"experiment": name, "platform": platform, "started_wall_ns": at, "cluster": cluster}
    recovery = {"start_ns": 1_000_000_000, "after_ns": 1_250_000_000, "by_ns": 1_300_000_000}
    measured = {"recovery": recovery, "requests": {"bad": 7, "scheduled": 1000}}
    text = {"verdict": verdict, "checks": checks, "environment": environment, "measurements": measured}
    (path / "verdict.json").write_text(json.dumps(text))


def table(folder: Path) -> Path:
    for row in ROWS:
        ran(folder, row.experiment, "FAILED" if row.fails else "PASSED", platform=row.platform)
    return folder


def test_every_shipped_experiment_is_in_the_table():
    """On the healthy platform, so that a new one cannot be forgotten."""
    assert {row.experiment for row in ROWS if not row.fails} == set(experiment_files())


def test_clusters_that_agree_have_no_difference(tmp_path):
    """The page has a line for each row on each of them."""
    sandbox, real = newest(table(tmp_path / "sandbox")), newest(table(tmp_path / "context"))

    assert differences(sandbox, real) == []
    text = page(sandbox, real)
    assert f"**{len(ROWS)} of {len(ROWS)} rows have the same verdict on both.**" in text
    assert "| gpu-pod-kill | healthy | sandbox | PASSED |  | 0.25 to 0.30 s | 7 of 1,000 |" in text
    assert "| gpu-pod-kill | healthy | real | PASSED |  | 0.25 to 0.30 s | 7 of 1,000 |" in text
    assert "- real: Kubernetes v1.36.3, 3 nodes" in text


def test_what_both_clusters_say_must_be_what_the_table_says(tmp_path):
    """Two clusters that agree on a wrong verdict do not make it right."""
    sandbox, real = table(tmp_path / "sandbox"), table(tmp_path / "context")
    for folder in (sandbox, real):
        ran(folder, ROWS[0].experiment, "INVALID", at=2)

    told = differences(newest(sandbox), newest(real))

    assert told == [f"{ROWS[0].experiment} on healthy: INVALID on both, and PASSED was expected"]


def test_another_verdict_and_a_run_that_is_missing_are_told(tmp_path):
    """The newest run of a row counts, whatever an older one said."""
    sandbox, real = table(tmp_path / "sandbox"), tmp_path / "context"
    for row in ROWS[1:]:
        ran(real, row.experiment, "FAILED" if row.fails else "PASSED", platform=row.platform)
    ran(real, ROWS[1].experiment, "FAILED", at=2, failed="recovers_within")

    told = differences(newest(sandbox), newest(real))

    assert told == [
        f"{ROWS[0].experiment} on healthy: no run on the real cluster",
        f"{ROWS[1].experiment} on healthy: PASSED on the sandbox, FAILED on the real cluster",
    ]
    text = page(newest(sandbox), newest(real))
    assert f"**{len(ROWS) - 2} of {len(ROWS)} rows have the same verdict on both.**" in text
    assert f"| {ROWS[0].experiment} | healthy | real | no run | | | |" in text
    assert f"| {ROWS[1].experiment} | healthy | real | FAILED | `recovers_within` |" in text


class Answers:
    """As much of an API as `left` asks."""

    def __init__(self, **objects: list[dict[str, Any]]) -> None:
        self.objects = objects

    def items(self, path: str, selector: str = "") -> list[dict[str, Any]]:
        return self.objects.get(path.rpartition("/")[2], [])

    def find(self, path: str) -> dict[str, Any] | None:
        return next(iter(self.objects.get("leases", [])), None)


def node(**spec: Any) -> dict[str, Any]:
    ready = {"conditions": [{"type": "Ready", "status": "True"}], "capacity": {"nvidia.com/gpu": "2"}}
    return {"metadata": {"name": "gpu-1", "labels": {"zone": "a"}}, "spec": spec, "status": ready}


def test_what_runs_left_on_a_cluster_is_told():
    """Namespaces, cordons, taints, and whatever carries our marks; nothing of it on one that is clean."""
    space = {"metadata": {"name": "default"}}
    before = picture(Answers(namespaces=[space], nodes=[node()]))
    taint = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
    dirty = Answers(
        namespaces=[space, {"metadata": {"name": "conformance-1"}}],
        nodes=[node(unschedulable=True, taints=[taint])],
        configmaps=[{"metadata": {"name": "j", "namespace": "x", "labels": {"bulletproof.dev/journal": "true"}}}],
        leases=[{"metadata": {"name": "bulletproof"}}],
    )

    assert list(left(Answers(namespaces=[space], nodes=[node()]), before)) == []
    assert list(left(dirty, before)) == [
        "namespace conformance-1: was not there before",
        "node gpu-1: unschedulable: false -> true",
        'node gpu-1: taints: [] -> ["node.kubernetes.io/unschedulable:NoSchedule"]',
        "configmaps x/j: bulletproof.dev/journal",
        "the lease default/bulletproof",
    ]
