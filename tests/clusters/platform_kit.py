"""Servers, proxies and a sandbox with the reference platform, for the tests of the platform."""

from __future__ import annotations

import itertools
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from clusters.api import Api
from clusters.provider import Access, Provider

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = json.loads((ROOT / "experiments" / "golden" / "detector.json").read_text())
_numbers = itertools.count(1)


def address() -> str:
    """A loopback address of this process that no other test uses; sandboxes have 127.40 to 127.239."""
    number = next(_numbers)
    return f"127.{20 + os.getpid() % 16}.{os.getpid() // 16 % 250 + 1}.{number}"


def until(condition: Callable[[], Any], what: str, within_s: float = 20.0) -> Any:
    """What `condition` returned once it was true."""
    deadline = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {within_s} s: {what}"
        time.sleep(0.01)
    return found


def listens(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), 1).close()
    except OSError:
        return False
    return True


def status(url: str, method: str = "GET", body: bytes | None = None) -> tuple[int, bytes]:
    """HTTP status and body of one request; (0, b"") when nobody answers."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, method=method), timeout=5) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()
    except OSError:
        return 0, b""


@contextmanager
def program(module: str, host: str, **env: str) -> Iterator[subprocess.Popen[str]]:
    """`python -m MODULE` on POD_IP=host, with nothing else in its environment; killed at the end if need be."""
    process = subprocess.Popen(
        [sys.executable, "-m", module],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "POD_IP": host} | env,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


@contextmanager
def server(*, ready: bool = True, **env: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A reference server that listens (and is ready); gives its address and process."""
    host = address()
    with program("clusters.platform.server", host, POD_NAME="pod-a", **env) as process:
        path = "ready" if ready else "live"
        until(lambda: status(f"http://{host}:8000/v2/health/{path}")[0] == 200, f"the server is {path}")
        yield host, process


def golden_input(case: dict[str, Any]) -> Any:
    tensor = case["inputs"][0]
    return np.array(tensor["data"], np.float32).reshape(tensor["shape"])


def golden_output(case: dict[str, Any]) -> Any:
    tensor = case["outputs"][0]
    return np.array(tensor["data"], np.float32).reshape(tensor["shape"])


def is_golden(answer: Any, case: dict[str, Any]) -> bool:
    return bool(np.abs(np.asarray(answer) - golden_output(case)).max() < GOLDEN["tolerance"])


class Deployed:
    """A sandbox of its own with whatever platform a test asks for."""

    def __init__(self, provider: Provider) -> None:
        self.provider = provider
        self.access: Access = provider.up()
        self.api = Api.connect(self.access.kubeconfig, self.access.context)
        self.said: list[str] = []

    def deploy(self, platform: str) -> None:
        self.provider.deploy(self.access, platform, self.said.append)

    def endpoint(self, port: str = "http") -> tuple[str, int]:
        return self.provider.load_endpoint(self.access, "inference", "detector", port)

    def pods(self) -> list[dict[str, Any]]:
        """The pods that nobody has told to end."""
        found = self.api.items("/api/v1/namespaces/inference/pods", "app=detector")
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def kill(self, pod: dict[str, Any]) -> None:
        path = f"/api/v1/namespaces/inference/pods/{pod['metadata']['name']}"
        self.api.request("DELETE", path, query={"gracePeriodSeconds": "0"})

    def is_ready(self, pod: dict[str, Any]) -> bool:
        conditions = pod["status"].get("conditions") or ()
        return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


@contextmanager
def sandbox_with_platform() -> Iterator[Deployed]:
    from clusters.sandbox_provider import SandboxProvider

    provider = SandboxProvider()
    deployed = Deployed(provider)
    try:
        yield deployed
    finally:
        provider.down(deployed.access)
