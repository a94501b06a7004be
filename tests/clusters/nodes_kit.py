"""What the tests of nodes, controllers and Services share: a sandbox with test images, manifests, waiting."""

from __future__ import annotations

import base64
import contextlib
import json
import ssl
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import urllib3
import yaml

from clusters.sandbox import client as sandboxes
from clusters.sandbox import node as nodes

IMAGES = {
    "test/server:1": {"entrypoint": ["python3", str(Path(__file__).with_name("pod_program.py"))]},
    "test/python:1": {"entrypoint": ["python3"]},
    "test/sh:1": {"entrypoint": ["sh", "-c"]},
}
PATHS = {
    "deployments": "/apis/apps/v1",
    "replicasets": "/apis/apps/v1",
    "daemonsets": "/apis/apps/v1",
    "endpointslices": "/apis/discovery.k8s.io/v1",
    "poddisruptionbudgets": "/apis/policy/v1",
    "leases": "/apis/coordination.k8s.io/v1",
}
CLUSTER_WIDE = {"nodes", "namespaces"}
Object = dict[str, Any]


class RefusedError(Exception):
    """The API said no."""

    def __init__(self, code: int, status: Any) -> None:
        super().__init__(f"{code}: {status}")
        self.code, self.status = code, status


class Cluster:
    """A sandbox seen from outside, in one namespace."""

    def __init__(self, info: sandboxes.SandboxInfo, namespace: str) -> None:
        self.info, self.namespace = info, namespace
        config = yaml.safe_load(info.kubeconfig.read_text())
        self._token = config["users"][0]["user"]["token"]
        cluster = config["clusters"][0]["cluster"]
        self._server = cluster["server"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        trust = ssl.create_default_context(cadata=authority)
        self._pool = urllib3.PoolManager(ssl_context=trust, retries=False, timeout=10.0)

    def into(self, namespace: str) -> Cluster:
        """The same sandbox, another namespace."""
        return Cluster(self.info, namespace)

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """One request; RefusedError for anything but 2xx."""
        sent = {"Authorization": f"Bearer {self._token}", **headers}
        raw = None if body is None else json.dumps(body).encode()
        answer = self._pool.request(method, self._server + path, body=raw, headers=sent)
        try:
            content = json.loads(answer.data)
        except ValueError:
            content = answer.data.decode()
        if not 200 <= answer.status < 300:
            raise RefusedError(answer.status, content)
        return content

    def path(self, plural: str, name: str = "") -> str:
        space = "" if plural in CLUSTER_WIDE else f"/namespaces/{self.namespace}"
        return f"{PATHS.get(plural, '/api/v1')}{space}/{plural}" + (f"/{name}" if name else "")

    def create(self, plural: str, obj: Object) -> Object:
        return self.call("POST", self.path(plural), obj)

    def get(self, plural: str, name: str) -> Object:
        return self.call("GET", self.path(plural, name))

    def find(self, plural: str, name: str) -> Object | None:
        """The object, or None."""
        try:
            return self.get(plural, name)
        except RefusedError as refused:
            if refused.code == 404:
                return None
            raise

    def list(self, plural: str, selector: str = "") -> list[Object]:
        query = f"?labelSelector={selector}" if selector else ""
        return self.call("GET", self.path(plural) + query)["items"]

    def patch(self, plural: str, name: str, patch: Any, subresource: str = "") -> Object:
        kind = "application/json-patch+json" if isinstance(patch, list) else "application/merge-patch+json"
        path = self.path(plural, name) + (f"/{subresource}" if subresource else "")
        return self.call("PATCH", path, patch, **{"Content-Type": kind})

    def delete(self, plural: str, name: str, **options: Any) -> Object:
        return self.call("DELETE", self.path(plural, name), options or None)

    def log(self, pod: str, query: str = "") -> str:
        """The container's output so far; nothing while it has not started."""
        try:
            return str(self.call("GET", self.path("pods", pod) + "/log" + query))
        except RefusedError as refused:
            if refused.code == 400 and "waiting to start" in str(refused.status):
                return ""
            raise

    def events(self, name: str, reason: str) -> list[Object]:
        """Events about an object."""
        return [
            event
            for event in self.list("events")
            if event["involvedObject"]["name"] == name and event["reason"] == reason
        ]

    def node(self, action: str, name: str, index: int | None = None) -> Object:
        """The administrator's door."""
        return nodes.ask(self.info.dir, {"action": action, "node": name, "index": index})

    def running(self, name: str, timeout_s: float = 30) -> Object:
        """The pod, once it is Ready."""
        return wait_for(lambda: (p := self.find("pods", name)) and ready(p) and p, f"{name} Ready", timeout_s)

    def in_use(self, deployment: str, timeout_s: float = 30) -> Object:
        """The Deployment, once every replica is new and available."""

        def settled() -> Any:
            found = self.get("deployments", deployment)
            status, wanted = found.get("status", {}), found["spec"]["replicas"]
            counts = [status.get(k, 0) for k in ("replicas", "updatedReplicas", "availableReplicas")]
            return (
                status.get("observedGeneration") == found["metadata"]["generation"] and counts == [wanted] * 3 and found
            )

        return wait_for(settled, f"{deployment} rolled out", timeout_s)


def wait_for(look: Callable[[], Any], what: str, timeout_s: float = 30, every_s: float = 0.03) -> Any:
    """What `look` returns once that is true; fails the test with the last answer."""
    deadline = time.monotonic() + timeout_s
    while not (seen := look()):
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}; last seen: {seen!r}"
        time.sleep(every_s)
    return seen


@contextlib.contextmanager
def sandbox(folder: Path, *arguments: str, gpus: int = 2, node_count: int = 3) -> Iterator[Cluster]:
    """A sandbox with the test images."""
    folder.mkdir(parents=True, exist_ok=True)
    images = folder / "images.yaml"
    images.write_text(yaml.safe_dump({"images": IMAGES}))
    info = sandboxes.start(
        folder / "sandbox", nodes=node_count, gpus=gpus, arguments=("--images", str(images), *arguments)
    )
    try:
        yield Cluster(info, "default")
    finally:
        sandboxes.stop(folder / "sandbox")


@contextlib.contextmanager
def fresh_namespace(cluster: Cluster) -> Iterator[Cluster]:
    """A namespace of the test's own; emptied at once when it ends."""
    name = f"t-{uuid.uuid4().hex[:8]}"
    cluster.create("namespaces", {"metadata": {"name": name}})
    own = cluster.into(name)
    try:
        yield own
    finally:
        own.delete("namespaces", name)
        for pod in own.list("pods"):
            with contextlib.suppress(RefusedError):
                own.delete("pods", pod["metadata"]["name"], gracePeriodSeconds=0)
        wait_for(lambda: own.find("namespaces", name) is None, "namespace gone")


def ready(pod: Object) -> bool:
    return condition(pod, "Ready") == "True"


def condition(obj: Object, type_: str) -> str | None:
    """The status of a condition; None when there is none."""
    return next((c["status"] for c in obj.get("status", {}).get("conditions", ()) if c["type"] == type_), None)


def container_status(pod: Object, index: int = 0) -> Object:
    return (pod.get("status", {}).get("containerStatuses") or [{}])[index]


def pod_spec(*arguments: str, image: str = "test/server:1", **more: Any) -> Object:
    """A pod spec with one container `main`; `probe`s and so on go to the container, `spec_` to the spec."""
    spec_more = more.pop("spec_", {})
    env = [
        {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        *more.pop("env", ()),
    ]
    container = {"name": "main", "image": image, "env": env, **more}
    if arguments:
        container["args"] = list(arguments)
    elif image == "test/server:1":
        container["args"] = ["8000"]
    return {"terminationGracePeriodSeconds": 5, "containers": [container], **spec_more}


def pod(name: str, *arguments: str, labels: dict[str, str] | None = None, **more: Any) -> Object:
    return {"metadata": {"name": name, "labels": labels or {"app": name}}, "spec": pod_spec(*arguments, **more)}


def deployment(name: str, replicas: int, *arguments: str, deploy: Object | None = None, **more: Any) -> Object:
    """A Deployment of the server, ready by probe within a moment."""
    more.setdefault("readinessProbe", {"httpGet": {"path": "/check/ready", "port": 8000}, "periodSeconds": 1})
    template = {"metadata": {"labels": {"app": name}}, "spec": pod_spec(*arguments, **more)}
    spec = {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template}
    return {"metadata": {"name": name}, "spec": spec | (deploy or {})}


def service(name: str, selector: dict[str, str] | None = None, **more: Any) -> Object:
    spec = {"selector": selector or {"app": name}, "ports": [{"name": "http", "port": 8000}], **more}
    return {"metadata": {"name": name}, "spec": spec}


def get(address: str, path: str, port: int = 8000, timeout_s: float = 2) -> str:
    """A GET straight at a pod or Service, on a connection of its own."""
    with urllib.request.urlopen(f"http://{address}:{port}/{path}", timeout=timeout_s) as answer:
        return str(answer.read().decode())


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def answer(running: Object, path: str) -> str:
    """A GET, or nothing while the server does not answer."""
    try:
        return get(running["status"]["podIP"], path)
    except OSError:
        return ""


def run_in(cluster: Cluster, name: str, script: str) -> str:
    """A command in a pod, through the API."""
    from kubernetes import client, config
    from kubernetes.stream import stream

    api = config.new_client_from_config(str(cluster.info.kubeconfig))
    core = client.CoreV1Api(api)
    return str(
        stream(
            core.connect_get_namespaced_pod_exec,
            name,
            cluster.namespace,
            command=["sh", "-c", script],
            stdin=False,
            stdout=True,
            stderr=True,
            tty=False,
        )
    )
