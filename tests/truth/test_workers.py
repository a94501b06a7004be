"""The load from several workers: the same verdicts, and a worker that is lost never passes for a quiet platform."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time

import pytest

from tests.truth.shortened import command, ended, run, run_until_measured, shortened
from tests.truth.test_invalid import with_method

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


def ready_line(run_dir):
    """What the load said when it was ready; None before."""
    path = run_dir / "actions.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    for line in lines:
        record = json.loads(line)
        if record["type"] == "load" and record["state"] == "ready":
            return json.loads(record["detail"])
    return None


def records_of(run_dir):
    return [json.loads(line) for line in (run_dir / "actions.jsonl").read_text(encoding="utf-8").splitlines()]


def begun(tmp_path, place, env):
    """A run under load, in its baseline: the process, its folder, and what the load said when it was ready."""
    load = {"workers": 2, "from": place}
    path = shortened("gpu-pod-kill", tmp_path / "files", load=load, phases={"baseline": "60s"})
    run_dir = tmp_path / "run"
    with (tmp_path / "output").open("w") as output:
        process = subprocess.Popen(
            command("run", str(path), "--out", str(run_dir)), stdout=output, stderr=subprocess.STDOUT, env=env
        )
    deadline = time.monotonic() + 120
    while ready_line(run_dir) is None and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    ready = ready_line(run_dir)
    assert ready is not None, (tmp_path / "output").read_text()
    return process, run_dir, ready


def test_two_workers_prove_what_one_proves(tmp_path):
    """The whole of their requests is one load, and is judged as one."""
    path = shortened("gpu-pod-kill", tmp_path / "files", load={"workers": 2})

    result = run_until_measured(path, tmp_path / "run")

    assert (result.exit_code, result.not_passed()) == (0, {}), result.output
    assert result.check("clocks_agree")["verdict"] == "PASSED"
    assert sorted(path.name for path in result.run_dir.glob("requests-*.arrows")) == [
        "requests-0.arrows",
        "requests-1.arrows",
    ]


def test_a_load_inside_the_cluster_proves_the_same(tmp_path):
    """Its pods are off the struck node; what they recorded is all here, and nothing of them is left there."""
    path = shortened("gpu-pod-kill", tmp_path / "files", load={"workers": 2, "from": "inside"})

    result = run_until_measured(path, tmp_path / "run")

    assert (result.exit_code, result.not_passed()) == (0, {}), result.output
    told = json.loads((result.run_dir / "run.json").read_text(encoding="utf-8"))["load"]
    (struck,) = told["not_on_nodes"]
    assert told["from"] == "inside"
    assert not any(worker["host"].endswith(f" on {struck}") for worker in told["workers"])
    records = records_of(result.run_dir)
    strikes = [record["facts"] for record in records if record["type"] == "fault" and record["step"] == "injected"]
    assert [facts["node"] for facts in strikes] == [struck]
    last = [record for record in records if record["type"] == "undo"][-1]
    assert (last["entry_id"], last["step"]) == ("load", "verified")
    assert "from inside the cluster by 2 workers" in (result.run_dir / "summary.md").read_text(encoding="utf-8")


def test_no_node_but_those_that_are_struck_is_no_node(tmp_path):
    """A load that the fault hits says nothing about the platform: SKIPPED with the reason, and nothing struck."""
    method = with_method("pod_kill", selector="app=detector", count=3)
    everywhere = {"method": method, "blast_radius": {"pods": 3, "floor": 0}}
    path = shortened("gpu-pod-kill", tmp_path / "files", load={"from": "inside"}, **everywhere)

    result = run(path, tmp_path / "run")

    assert (result.exit_code, result.verdict["verdict"]) == (5, "SKIPPED"), result.output
    assert "no node for the load but gpu-1, gpu-2, gpu-3" in result.verdict["why"]
    assert "beside_target" in result.verdict["why"]
    assert not [record for record in records_of(result.run_dir) if record["type"] == "fault"]


@pytest.mark.parametrize("place", ["outside", "inside"])
def test_a_worker_that_is_killed_makes_the_run_invalid(tmp_path, place):
    """Half of the arrivals are missing from then on: the fault is undone, the worker named, nothing concluded."""
    process, run_dir, ready = begun(tmp_path, place, dict(os.environ))

    os.kill(ready["workers"][1]["pid"], signal.SIGKILL)
    process.wait(timeout=90)

    result = ended(process.returncode, run_dir, (tmp_path / "output").read_text())
    assert (result.exit_code, result.verdict["verdict"]) == (2, "INVALID"), result.output
    assert f"worker {ready['workers'][1]['worker']}" in result.verdict["why"]
    assert result.check("history_complete")["verdict"] == "INVALID"
    assert result.check("undo_verified")["verdict"] == "PASSED"


def test_after_kill_9_recover_removes_the_loads_pods(tmp_path):
    """Their removal was written down before they were made."""
    env = {**os.environ, "XDG_STATE_HOME": str(tmp_path / "state")}
    process, run_dir, _ = begun(tmp_path, "inside", env)

    process.kill()
    process.wait()
    recovered = subprocess.run(command("recover"), env=env, capture_output=True, text=True, timeout=120, check=False)

    result = ended(recovered.returncode, run_dir, recovered.stdout + recovered.stderr)
    assert result.verdict["verdict"] == "ABORTED", result.output
    steps = [record for record in records_of(run_dir) if record["type"] == "undo" and record["entry_id"] == "load"]
    assert steps[-1]["step"] == "verified", steps
    assert steps[-1]["detail"].count("deleted") == 3
