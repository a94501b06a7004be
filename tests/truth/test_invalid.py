"""What the instrument cannot say it does not say: each of these ends INVALID with exit 2, and leaves nothing."""

from __future__ import annotations

import socket

import pytest
import yaml

from tests.truth.shortened import run, shortened

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

POD_KILL = {
    "type": "action",
    "name": "kill",
    "provider": {
        "type": "python",
        "module": "harness.faults",
        "func": "pod_kill",
        "arguments": {"namespace": "inference", "selector": "app=detector", "count": 1},
    },
}


def with_method(func: str, **arguments: object) -> list[dict]:
    provider = {**POD_KILL["provider"], "func": func, "arguments": {"namespace": "inference", **arguments}}
    return [{**POD_KILL, "name": func, "provider": provider}]


def test_a_selector_that_matches_nothing(tmp_path):
    """The refusal names the labels in use; no pod is touched."""
    path = shortened("gpu-pod-kill", tmp_path / "files", method=with_method("pod_kill", selector="app=chat", count=1))

    ended = run(path, tmp_path / "run")

    assert (ended.exit_code, ended.verdict["verdict"]) == (2, "INVALID"), ended.output
    assert "app=chat" in ended.verdict["why"]
    assert "app=detector" in ended.output


def test_an_api_server_that_is_unreachable(tmp_path):
    """A kubeconfig whose server answers nothing: said so within seconds."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    kubeconfig = tmp_path / "kubeconfig"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "gone",
        "clusters": [{"name": "gone", "cluster": {"server": f"https://127.0.0.1:{port}"}}],
        "contexts": [{"name": "gone", "context": {"cluster": "gone", "user": "gone"}}],
        "users": [{"name": "gone", "user": {"token": "x"}}],
    }
    kubeconfig.write_text(yaml.safe_dump(config), encoding="utf-8")
    path = shortened("gpu-pod-kill", tmp_path / "files")

    ended = run(path, tmp_path / "run", "--cluster", "context:gone", env={"KUBECONFIG": str(kubeconfig)})

    assert (ended.exit_code, ended.verdict["verdict"]) == (2, "INVALID"), ended.output
    assert f"No answer from https://127.0.0.1:{port}" in ended.verdict["why"]


def test_a_fault_that_does_nothing(tmp_path):
    """It says that it struck, and the second channel never sees it."""
    path = shortened("gpu-pod-kill", tmp_path / "files", method=with_method("no_op", selector="app=detector", count=1))

    ended = run(path, tmp_path / "run")

    assert (ended.exit_code, ended.verdict["verdict"]) == (2, "INVALID"), ended.output
    assert ended.check("fault_proven")["verdict"] == "INVALID"


def test_a_load_that_cannot_keep_its_schedule(tmp_path):
    """More than one machine can send: the generator's lateness is never the platform's failure."""
    path = shortened("gpu-pod-kill", tmp_path / "files", load={"rate": "20000/s", "timeout": "200ms", "users": 100})

    ended = run(path, tmp_path / "run")

    assert (ended.exit_code, ended.verdict["verdict"]) == (2, "INVALID"), ended.output
    assert {"load_delivered", "baseline_steady", "stopped"} & set(ended.not_passed())


def test_a_baseline_that_is_not_steady(tmp_path):
    """A latency objective that the healthy platform cannot meet: ill before the fault, so nothing is concluded."""
    path = shortened("gpu-pod-kill", tmp_path / "files")
    slo = path.parent / "slos" / "detector.yaml"
    slo.write_text(slo.read_text(encoding="utf-8").replace("within: 500ms", "within: 1ms"), encoding="utf-8")

    ended = run(path, tmp_path / "run")

    assert (ended.exit_code, ended.verdict["verdict"]) == (2, "INVALID"), ended.output
    assert ended.check("baseline_steady")["verdict"] == "INVALID"
