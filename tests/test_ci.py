"""The files for users' CI: their shell lines run, their commands parse, and the page shows them as they are."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import uuid
from pathlib import Path

import click
import pytest
import yaml

from clusters.provider import provider_for
from harness.cli import cli
from harness.experiment.shipped import find
from harness.policy import load_policy
from tests.truth.busy import too_busy
from tests.truth.shortened import shortened

ROOT = Path(__file__).resolve().parents[1]
CI = ROOT / "docs" / "ci"
WORKFLOW = yaml.safe_load((CI / "bulletproof.yaml").read_text())
SCRIPT = CI / "nightly.sh"

# Records its arguments; ends with the code that CODES has for "run" or "gate".
RECORDER = """#!{python} -S
import json, os, sys
with open(os.environ["CALLS"], "a") as calls:
    calls.write(json.dumps([os.path.basename(sys.argv[0]), *sys.argv[1:]]) + "\\n")
if "list" in sys.argv[1:] or "env" in sys.argv[1:]:
    print("4711")
sys.exit(json.loads(os.environ.get("CODES", "{{}}")).get(sys.argv[1], 0))
"""


@pytest.fixture
def shell(tmp_path):
    """Runs bash with stand-ins for every program that the files call; returns the result and what was called."""
    path = tmp_path / "bin"
    path.mkdir()
    for name in ("bulletproof", "pip", "go", "gh"):
        (path / name).write_text(RECORDER.format(python=sys.executable))
        (path / name).chmod(0o755)

    def run(*arguments: str, **env: str) -> tuple[int, list[list[str]]]:
        calls = tmp_path / f"calls-{uuid.uuid4().hex}"
        calls.touch()
        told = {"PATH": f"{path}:/usr/bin:/bin", "CALLS": str(calls), "HOME": str(tmp_path), **env}
        done = subprocess.run(["bash", *arguments], cwd=tmp_path, env=told, capture_output=True, text=True)
        assert "command not found" not in done.stderr
        return done.returncode, [json.loads(line) for line in calls.read_text().splitlines()]

    return run


def check(call: list[str]) -> None:
    """The real command line takes these arguments, and knows the names in them. Nothing is run."""
    command: click.Command = cli
    context = click.Context(cli, info_name="bulletproof")
    words = call[1:]
    while isinstance(command, click.Group):
        _, command, words = command.resolve_command(context, words)
        assert command is not None, call
    parameters = command.make_context(command.name, list(words), parent=context).params
    for name in parameters.get("names", ()):
        find(name)
    for cluster in (parameters.get("cluster"), parameters.get("name")):
        if cluster is not None:
            provider_for(cluster)


def steps() -> list[tuple[str, dict]]:
    """Every step of the workflow that runs shell lines, with its environment."""
    return [
        (step["run"], {name: str(value) for name, value in {**WORKFLOW["env"], **step.get("env", {})}.items()})
        for job in WORKFLOW["jobs"].values()
        for step in job["steps"]
        if "run" in step
    ]


def test_every_command_of_the_workflow_is_one_of_ours(shell, tmp_path):
    """Each step's own lines are run by bash as GitHub runs them; what they ask of bulletproof is parsed."""
    (tmp_path / "bulletproof").mkdir()
    (tmp_path / "bulletproof" / "gate.yaml").write_text((CI / "gate.yaml").read_text())
    seen = []

    for lines, env in steps():
        policy = {"POLICY": str(tmp_path / env["POLICY"])}
        github = {"GITHUB_PATH": str(tmp_path / "path"), "GITHUB_WORKFLOW": "bulletproof"}
        code, calls = shell("-eo", "pipefail", "-c", lines, **{**env, **policy, **github})
        assert code == 0, lines
        seen += calls

    ours = [call for call in seen if call[0] == "bulletproof"]
    for call in ours:
        check(call)
    assert [call[1] for call in ours] == ["cluster", "run", "gate", "cluster", "gate"]
    assert ["gh", "run", "download", "4711", "--name", "bulletproof-runs", "--dir", "runs"] in seen


def test_the_workflow_keeps_its_promises():
    """Nightly and on tags; reports are kept whatever happened; the release waits for nothing but the gate."""
    triggers = WORKFLOW[True]  # YAML 1.1 reads `on` as true
    nightly, release = WORKFLOW["jobs"]["nightly"]["steps"], WORKFLOW["jobs"]["release"]["steps"]
    run = next(index for index, step in enumerate(nightly) if "bulletproof run" in step.get("run", ""))
    kept = next(step for step in nightly if step.get("with", {}).get("path") == "runs/")

    assert {"schedule", "push"} <= triggers.keys()
    assert WORKFLOW["permissions"] == {"contents": "read", "actions": "read"}
    assert all(step.get("if") == "always()" for step in nightly[run + 1 :])
    assert f"--name {kept['with']['name']} " in next(
        step["run"] for step in release if "download" in step.get("run", "")
    )
    assert "bulletproof gate" in release[-1]["run"]
    assert "if" not in release[-1]


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({}, ["validate", "cluster image build", "run", "cluster down kind"]),
        ({"CLUSTER": "kind:ci"}, ["validate", "cluster image build", "run", "cluster down kind:ci"]),
        ({"BULLETPROOF_IMAGE": "team/copy:1"}, ["validate", "run", "cluster down kind"]),
        ({"CLUSTER": "sandbox:ci", "POLICY": "gate"}, ["validate", "run", "gate", "cluster down sandbox:ci"]),
        ({"CLUSTER": "context:staging"}, ["validate", "run"]),
        ({"EXPERIMENTS": "gpu-pod-kill pods", "PLATFORM": "no-drain"}, None),
    ],
)
def test_every_command_of_the_script_is_one_of_ours(shell, env, expected):
    """For each kind of cluster: a cluster of the user's own is never ended."""
    if "POLICY" in env:
        env = env | {"POLICY": str(CI / "gate.yaml")}

    code, calls = shell(str(SCRIPT), **env)

    for call in calls:
        check(call)
    assert code == 0
    if expected is None:
        (run,) = [call for call in calls if call[1] == "run"]
        assert run[2:8] == ["gpu-pod-kill", "pods", "--cluster", "kind", "--platform", "no-drain"]
    else:
        said = [" ".join(call[1 : 4 if call[1] == "cluster" else 2]) for call in calls]
        assert said == expected


@pytest.mark.parametrize(
    ("codes", "expected", "called"),
    [
        ({"run": 1}, 1, ["validate", "run", "gate", "cluster"]),
        ({"run": 4, "gate": 1}, 4, ["validate", "run", "gate", "cluster"]),
        ({"gate": 2}, 2, ["validate", "run", "gate", "cluster"]),
        ({"validate": 64}, 64, ["validate"]),
        ({"cluster": 2}, 0, ["validate", "run", "gate", "cluster"]),
    ],
)
def test_the_script_ends_with_the_verdict(shell, codes, expected, called):
    """A broken promise does not keep the gate from speaking, nor the cluster from being taken down."""
    code, calls = shell(str(SCRIPT), CLUSTER="sandbox:ci", POLICY=str(CI / "gate.yaml"), CODES=json.dumps(codes))

    assert code == expected
    assert [call[1] for call in calls] == called


def test_the_policy_is_valid():
    assert "gpu-pod-kill" in [required.name for required in load_policy(CI / "gate.yaml").required]


@pytest.mark.parametrize("name", ["bulletproof.yaml", "nightly.sh", "gate.yaml"])
def test_the_page_shows_the_files_as_they_are(name):
    """Copy the file's text into its block of docs/ci.md when it differs."""
    blocks = re.findall(r"```\w+\n(.*?)```", (ROOT / "docs" / "ci.md").read_text(), re.S)

    assert (CI / name).read_text() in blocks


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_script_runs_on_the_sandbox(tmp_path):
    """A short experiment passes its gate; with a promise that cannot be kept the script fails, and so does the gate."""
    env = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "CLUSTER": f"sandbox:ci-{uuid.uuid4().hex[:6]}",
    }
    kept = shortened("gpu-pod-kill", tmp_path / "kept")
    broken = shortened("gpu-pod-kill", tmp_path / "broken", expect={"lost": "1ms"})

    def nightly(experiment: Path) -> subprocess.CompletedProcess[str]:
        policy, out = experiment.with_name("gate.yaml"), experiment.with_name("out")
        policy.write_text(f"title: Short\nmax_age: 1h\ncluster: [sandbox]\nexperiments: [{experiment.name}]\n")
        told = env | {"EXPERIMENTS": str(experiment), "POLICY": str(policy), "OUT": str(out)}
        for _ in range(3):
            shutil.rmtree(out, ignore_errors=True)
            done = subprocess.run(["bash", str(SCRIPT)], env=told, capture_output=True, text=True, timeout=150)
            verdict = out / "verdict.json"
            if not (verdict.exists() and too_busy(json.loads(verdict.read_text()))):
                break
        return done

    passed, failed = nightly(kept), nightly(broken)

    assert passed.returncode == 0, passed.stdout + passed.stderr
    assert "PASS" in passed.stdout
    assert (kept.with_name("out") / "report.html").exists()
    assert "<testsuite" in kept.with_name("out.gate.xml").read_text()
    assert failed.returncode == 1, failed.stdout + failed.stderr
    assert "BLOCK" in failed.stdout
    assert passed.stdout.rstrip().endswith(f"{env['CLUSTER']} is down.")
