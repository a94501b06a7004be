"""Experiment files are Chaos Toolkit's too: its own command validates them, and runs the faults alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from clusters.provider import provider_for
from harness.experiment.shipped import experiment_files
from harness.kube import Cluster

CHAOS = Path(sys.executable).parent / "chaos"


def chaos(*arguments: str, cwd: Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """The `chaos` of this environment; it writes its log and journal into the folder where it runs."""
    command = [CHAOS, "--no-version-check", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, cwd=cwd, env={**os.environ, **(env or {})}
    )


@pytest.mark.parametrize("name", experiment_files())
def test_chaos_validate_accepts_a_shipped_experiment(name, tmp_path):
    """`chaos validate FILE`, as people have it in their pipelines."""
    done = chaos("validate", str(experiment_files()[name]), cwd=tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "experiment syntax and semantic look valid" in (done.stdout + done.stderr).lower()


@pytest.fixture(scope="module")
def access():
    """A sandbox with the healthy platform."""
    provider = provider_for(f"sandbox:test-chaos-{uuid.uuid4().hex[:6]}")
    found = provider.up()
    try:
        provider.deploy(found, "healthy", lambda _: None)
        yield found
    finally:
        provider.down(found)


@pytest.mark.parametrize("name", ["gpu-pod-kill", "gpu-node-drain"])
def test_chaos_run_strikes_and_undoes_without_bulletproof(access, name, tmp_path):
    """The faults alone: struck through the kubeconfig that the environment names, undone by the file's rollbacks."""
    cluster = Cluster.connect(access.kubeconfig, access.context)
    before = {pod["metadata"]["uid"] for pod in cluster.list("Pod", "inference")}
    env = {"KUBECONFIG": str(access.kubeconfig), "KUBERNETES_CONTEXT": access.context}

    done = chaos("run", "--rollback-strategy", "always", str(experiment_files()[name]), cwd=tmp_path, env=env)

    journal = json.loads((tmp_path / "journal.json").read_text())
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert [run["status"] for run in (*journal["run"], *journal["rollbacks"])] == ["succeeded", "succeeded"], said
    after = {pod["metadata"]["uid"] for pod in cluster.list("Pod", "inference")}
    assert len(before - after) == 1
    assert not any(node["spec"].get("unschedulable") for node in cluster.list("Node"))
    assert not [each for each in cluster.list("ConfigMap", "inference") if "journal" in each["metadata"]["name"]]
