"""The load from several workers: the same verdicts, and a worker that is lost never passes for a quiet platform."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time

import pytest

from tests.truth.shortened import command, ended, run_until_measured, shortened

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


def test_a_worker_that_is_killed_makes_the_run_invalid(tmp_path):
    """Half of the arrivals are missing from then on: the fault is undone, the worker named, nothing concluded."""
    path = shortened("gpu-pod-kill", tmp_path / "files", load={"workers": 2}, phases={"baseline": "60s"})
    run_dir = tmp_path / "run"
    with (tmp_path / "output").open("w") as output:
        process = subprocess.Popen(
            command("run", str(path), "--out", str(run_dir)), stdout=output, stderr=subprocess.STDOUT
        )
    deadline = time.monotonic() + 90
    while ready_line(run_dir) is None and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    ready = ready_line(run_dir)
    assert ready is not None, (tmp_path / "output").read_text()

    os.kill(ready["workers"][1]["pid"], signal.SIGKILL)
    process.wait(timeout=90)

    result = ended(process.returncode, run_dir, (tmp_path / "output").read_text())
    assert (result.exit_code, result.verdict["verdict"]) == (2, "INVALID"), result.output
    assert f"worker {ready['workers'][1]['worker']}" in result.verdict["why"]
    assert result.check("history_complete")["verdict"] == "INVALID"
    assert result.check("undo_verified")["verdict"] == "PASSED"
