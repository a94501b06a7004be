"""The faults alone, under plain `chaos run`: guarded, journalled, proven or failed, and undone at the end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from harness.undo import journal_file
from tests.harness.faults.conftest import NS, wait_ready

SHIPPED = Path("experiments")


def chaos_run(cluster, folder, experiment):
    """Exit code, Chaos Toolkit's own journal, and what was printed."""
    wait_ready(cluster)
    path = folder / "experiment.yaml"
    path.write_text(yaml.safe_dump(experiment))
    environment = {
        **os.environ,
        "KUBECONFIG": str(cluster.kubeconfig),
        "KUBERNETES_CONTEXT": cluster.context,
        "PYTHONPATH": str(Path.cwd()),
        "HOME": str(folder),
    }
    words = [sys.executable, "-m", "chaostoolkit", "--no-version-check", "run", str(path)]
    ended = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
    output = ended.stdout + ended.stderr
    written = folder / "journal.json"
    return ended.returncode, json.loads(written.read_text()) if written.exists() else {}, output


def fault(func, **arguments):
    """An experiment with one activity and no rollbacks."""
    provider = {"type": "python", "module": "harness.faults", "func": func, "arguments": arguments}
    return {
        "title": "one fault",
        "description": "alone",
        "method": [{"type": "action", "name": func, "provider": provider}],
        "rollbacks": [],
    }


def our_folder(folder):
    (run_dir,) = (folder / "bulletproof-runs").iterdir()
    return run_dir


def assert_nothing_left(cluster, folder):
    assert journal_file.read(our_folder(folder)).pending == {}
    assert journal_file.read(our_folder(folder)).closed
    assert cluster.list("ConfigMap", NS, "bulletproof.dev/journal") == []
    assert cluster.get("Lease", "bulletproof", "default") is None


def test_a_shipped_experiment_runs_with_the_faults_alone(cluster, tmp_path):
    """Kill, proof, undo in the rollbacks: Chaos Toolkit sees success, and the cluster holds no journal."""
    wait_ready(cluster)
    experiment = yaml.safe_load((SHIPPED / "gpu-pod-kill.yaml").read_text())
    before = {pod["metadata"]["uid"] for pod in cluster.list("Pod", NS)}

    code, journal, output = chaos_run(cluster, tmp_path, experiment)

    assert code == 0, output
    assert [step["status"] for step in journal["run"] + journal["rollbacks"]] == ["succeeded", "succeeded"], output
    assert len(before - {pod["metadata"]["uid"] for pod in cluster.list("Pod", NS)}) == 1
    lines = (our_folder(tmp_path) / "actions.jsonl").read_text().splitlines()
    assert {"pod-gone", "endpoint-withdrawn"} <= {json.loads(line).get("claim") for line in lines}
    assert_nothing_left(cluster, tmp_path)


def test_without_rollbacks_the_end_of_the_process_undoes(cluster, tmp_path):
    """Chaos Toolkit skips rollbacks when it sees fit; the node takes pods again all the same."""
    code, journal, output = chaos_run(cluster, tmp_path, fault("node_drain", namespace=NS, selector="app=detector"))

    assert (code, journal["run"][0]["status"]) == (0, "succeeded"), output
    assert not [node for node in cluster.list("Node") if node["spec"].get("unschedulable")]
    assert_nothing_left(cluster, tmp_path)


@pytest.mark.parametrize(
    ("experiment", "why"),
    [
        (fault("no_op", namespace=NS, selector="app=detector", within="300ms"), "not proven within"),
        (fault("pod_kill", namespace=NS, selector="app=chat"), "No pod matches app=chat"),
        (fault("pod_kill", selector="app=detector"), "no namespace is named"),
        (fault("pod_kill", namespace="default", selector="app=detector"), "has not opted in to chaos"),
        (fault("pod_kill", namespace="kube-system", selector="app=detector"), "belongs to Kubernetes"),
    ],
)
def test_what_is_not_proven_or_not_allowed_is_a_failed_activity(cluster, tmp_path, experiment, why):
    """Nobody judges afterwards, so the activity itself has to fail."""
    before = {pod["metadata"]["uid"] for pod in cluster.list("Pod", NS)}

    _, journal, output = chaos_run(cluster, tmp_path, experiment)

    assert journal["run"][0]["status"] == "failed", output
    assert why in "".join(journal["run"][0]["exception"])
    assert {pod["metadata"]["uid"] for pod in cluster.list("Pod", NS)} == before
    assert cluster.get("Lease", "bulletproof", "default") is None
