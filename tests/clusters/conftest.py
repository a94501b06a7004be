"""One sandbox for all tests of this folder, and clients on it."""

from __future__ import annotations

import base64
import json
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import nodes_kit
import pytest
import urllib3
import yaml

from clusters.sandbox import client as sandboxes
from clusters.sandbox.client import SandboxInfo

IMAGES = """
images:
  test/tools:1: {}
  test/tools:2: {}
"""


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxInfo]:
    """A running sandbox with three nodes of two GPUs each; image test/tools:1 and :2 run any command."""
    folder = tmp_path_factory.mktemp("cluster") / "tests"
    images = folder.with_name("images.yaml")
    images.write_text(IMAGES)
    running = sandboxes.start(folder, nodes=3, gpus=2, arguments=("--images", str(images)))
    yield running
    sandboxes.stop(folder)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[nodes_kit.Cluster]:
    """A sandbox of the module's own, whose pods are the tests' program."""
    with nodes_kit.sandbox(tmp_path_factory.mktemp("whole")) as cluster:
        yield cluster


@pytest.fixture
def cluster(whole: nodes_kit.Cluster) -> Iterator[nodes_kit.Cluster]:
    """The module's sandbox, in a new namespace."""
    with nodes_kit.fresh_namespace(whole) as own:
        yield own


class Http:
    """Plain requests on the API: what is sent and answered, nothing hidden by a client library."""

    def __init__(self, kubeconfig: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        authority = kubeconfig.with_name("ca.pem")
        self.authority = str(authority)
        authority.write_bytes(base64.b64decode(cluster["certificate-authority-data"]))
        self.server: str = cluster["server"]
        self.token: str = user["token"]
        self._pool = urllib3.PoolManager(ca_certs=str(authority), retries=False, timeout=10.0)

    def __call__(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content_type: str | None = None,
        token: str | None = "",
        headers: dict[str, str] | None = None,
        **options: Any,
    ) -> tuple[int, Any]:
        """Status and the decoded JSON (or text). `options` become the query; token None sends none."""
        sent = dict(headers or {})
        if token is not None:
            sent["Authorization"] = f"Bearer {token or self.token}"
        if content_type:
            sent["Content-Type"] = content_type
        raw = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        url = f"{self.server}{path}?{urlencode(options)}" if options else self.server + path
        answer = self._pool.request(method, url, body=raw, headers=sent)
        text = answer.data.decode()
        self.last_headers = answer.headers
        try:
            return answer.status, json.loads(text)
        except ValueError:
            return answer.status, text

    def ok(self, method: str, path: str, body: Any = None, **options: Any) -> Any:
        """The same; anything but a 2xx fails the test with the server's words."""
        status, answer = self(method, path, body, **options)
        assert 200 <= status < 300, answer
        return answer


@pytest.fixture(scope="session")
def http(sandbox: SandboxInfo) -> Http:
    return Http(sandbox.kubeconfig)


@pytest.fixture
def namespace(http: Http) -> Iterator[str]:
    """A fresh namespace; it goes with the test."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    http.ok("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    yield name
    http("DELETE", f"/api/v1/namespaces/{name}")


@pytest.fixture(scope="session")
def api_client(sandbox: SandboxInfo) -> Any:
    """The kubernetes package's client on the sandbox."""
    from kubernetes import config

    return config.new_client_from_config(str(sandbox.kubeconfig))


@pytest.fixture(scope="session")
def core(api_client: Any) -> Any:
    from kubernetes import client

    return client.CoreV1Api(api_client)


@pytest.fixture(scope="session")
def apps(api_client: Any) -> Any:
    from kubernetes import client

    return client.AppsV1Api(api_client)


def nowhere_pod(name: str, **labels: str) -> dict[str, Any]:
    """A pod that no node takes, so that nobody but the test changes it."""
    spec = {"nodeSelector": {"exists": "nowhere"}, "containers": [{"name": "main", "image": "none:1"}]}
    return {"metadata": {"name": name, "labels": labels}, "spec": spec}


def wait_for(condition: Callable[[], Any], what: str, within_s: float = 30.0) -> Any:
    """The condition's value once it is true; fails by the deadline."""
    end = time.monotonic() + within_s
    while not (value := condition()):
        assert time.monotonic() < end, f"no {what} within {within_s} s"
        time.sleep(0.02)
    return value


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "data": data}


def deployment(name: str, replicas: int = 0) -> dict[str, Any]:
    """A Deployment without replicas: an object to write on."""
    container = {
        "name": "main",
        "image": "none:1",
        "ports": [{"containerPort": 8000, "name": "http"}],
        "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
    }
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}
