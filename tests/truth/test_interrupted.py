"""A run that is stopped in the middle of its fault leaves nothing behind, with real processes and real signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.truth.shortened import command, ended, shortened

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

PHASES = {"baseline": "4s", "recover": "60s", "settle": "3s"}


def until(condition, limit_s: float, what: str) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {limit_s} s: {what}"
        time.sleep(0.05)


def has_struck(run_dir) -> bool:
    path = run_dir / "actions.jsonl"
    return path.exists() and '"step":"injected"' in path.read_text(encoding="utf-8").replace(" ", "")


@pytest.fixture
def state(tmp_path):
    return {**os.environ, "XDG_STATE_HOME": str(tmp_path / "state")}


@pytest.fixture
def struck(tmp_path, state):
    """A drain that has struck, in its recover phase: its undo (uncordon) is pending."""
    path = shortened("gpu-node-drain", tmp_path / "files", phases=PHASES)
    run_dir = tmp_path / "run"
    with (tmp_path / "output").open("w") as output:
        process = subprocess.Popen(
            command("run", str(path), "--out", str(run_dir)), stdout=output, stderr=subprocess.STDOUT, env=state
        )
    until(lambda: has_struck(run_dir) or process.poll() is not None, 60, "the drain has struck")
    assert process.poll() is None, (tmp_path / "output").read_text()
    yield process, run_dir
    if process.poll() is None:
        process.kill()
        process.wait()


def test_ctrl_c_in_the_fault_undoes_reports_and_exits_3(struck, tmp_path):
    """ABORTED, undo verified, every report written."""
    process, run_dir = struck

    process.send_signal(signal.SIGINT)
    process.wait(timeout=60)

    result = ended(process.returncode, run_dir, (tmp_path / "output").read_text())
    assert (result.exit_code, result.verdict["verdict"]) == (3, "ABORTED"), result.output
    assert result.check("undo_verified")["verdict"] == "PASSED"
    for name in ("report.html", "junit.xml", "summary.md", "manifest.json"):
        assert (run_dir / name).stat().st_size > 0


def test_after_kill_9_recover_undoes_judges_and_reports(struck, tmp_path, state):
    """The harness is gone; `bulletproof recover` finishes what it had begun."""
    process, run_dir = struck
    kubeconfig = json.loads((run_dir / "run.json").read_text())["cluster"]["kubeconfig"]
    load_pid = int((run_dir / "load.pid").read_text())

    process.kill()
    process.wait()

    # The load ends by itself, with its parent.
    until(lambda: not Path(f"/proc/{load_pid}").exists(), 10, "the load process has ended")
    assert "unschedulable" in cluster_nodes(kubeconfig), "the fault was undone before anyone recovered it"
    done = subprocess.run(command("recover"), capture_output=True, text=True, env=state, timeout=120, check=False)
    result = ended(done.returncode, run_dir, done.stdout + done.stderr)
    assert result.exit_code == 3, result.output
    assert result.verdict["verdict"] == "ABORTED"
    assert result.check("undo_verified")["verdict"] == "PASSED"
    assert (run_dir / "report.html").stat().st_size > 0
    # Nothing of the run's own sandbox is left.
    until(lambda: not sandbox_processes(state), 20, "the sandbox has ended")


def cluster_nodes(kubeconfig: str) -> str:
    from harness.kube import Cluster

    return json.dumps(Cluster.connect(kubeconfig, None).list("Node"))


def sandbox_processes(state: dict[str, str]) -> list[int]:
    """Processes that carry this test's state folder in their environment."""
    found = []
    mark = f"XDG_STATE_HOME={state['XDG_STATE_HOME']}".encode()
    for environ in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark in environ.read_bytes():
                found.append(int(environ.parent.name))
        except OSError:  # it has ended meanwhile
            continue
    return found
