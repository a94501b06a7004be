"""A plain client of the Kubernetes API: what is sent and answered, nothing hidden by a library."""

from __future__ import annotations

import base64
import contextlib
import copy
import json
import ssl
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import urllib3
import yaml

Object = dict[str, Any]
# A deadline, no promise: many tests wait side by side, and a real cluster of three nodes on two cores once took more
# than a minute to let go of a namespace, and to show a back-off.
PATIENCE_S = 240.0

GROUPS = {
    "deployments": "apps/v1",
    "replicasets": "apps/v1",
    "daemonsets": "apps/v1",
    "endpointslices": "discovery.k8s.io/v1",
    "poddisruptionbudgets": "policy/v1",
    "leases": "coordination.k8s.io/v1",
    "customresourcedefinitions": "apiextensions.k8s.io/v1",
    "horizontalpodautoscalers": "autoscaling/v2",
    "roles": "rbac.authorization.k8s.io/v1",
    "rolebindings": "rbac.authorization.k8s.io/v1",
    "clusterroles": "rbac.authorization.k8s.io/v1",
    "clusterrolebindings": "rbac.authorization.k8s.io/v1",
}
KINDS = {
    "pods": "Pod",
    "configmaps": "ConfigMap",
    "secrets": "Secret",
    "services": "Service",
    "namespaces": "Namespace",
    "nodes": "Node",
    "events": "Event",
    "resourcequotas": "ResourceQuota",
    "deployments": "Deployment",
    "replicasets": "ReplicaSet",
    "daemonsets": "DaemonSet",
    "endpointslices": "EndpointSlice",
    "poddisruptionbudgets": "PodDisruptionBudget",
    "leases": "Lease",
    "customresourcedefinitions": "CustomResourceDefinition",
    "horizontalpodautoscalers": "HorizontalPodAutoscaler",
    "serviceaccounts": "ServiceAccount",
    "roles": "Role",
    "rolebindings": "RoleBinding",
    "clusterroles": "ClusterRole",
    "clusterrolebindings": "ClusterRoleBinding",
}
CLUSTER_WIDE = {"nodes", "namespaces", "customresourcedefinitions", "clusterroles", "clusterrolebindings"}
PATCHES = {
    "json": "application/json-patch+json",
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "apply": "application/apply-patch+yaml",
}


class RefusedError(AssertionError):
    """The API answered with anything but 2xx; `status` is what it said."""

    def __init__(self, method: str, path: str, code: int, status: Any) -> None:
        super().__init__(f"{method} {path}: {code} {status}")
        self.code, self.status = code, status

    @property
    def reason(self) -> str:
        """The machine-readable reason of the Status."""
        return str(self.status.get("reason", "")) if isinstance(self.status, dict) else ""

    @property
    def message(self) -> str:
        """The Status' words."""
        return str(self.status.get("message", "")) if isinstance(self.status, dict) else str(self.status)


class Access:
    """How a kubeconfig's current context is reached."""

    def __init__(self, kubeconfig: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        named = {part: {e["name"]: e for e in config.get(part) or ()} for part in ("contexts", "clusters", "users")}
        context = named["contexts"][config["current-context"]]["context"]
        cluster = named["clusters"][context["cluster"]]["cluster"]
        user = named["users"][context["user"]]["user"]
        self.kubeconfig, self.server = kubeconfig, cluster["server"].rstrip("/")
        self.headers = {"Authorization": f"Bearer {user['token']}"} if "token" in user else {}
        authority = _material(cluster, "certificate-authority", kubeconfig)
        self.authority = authority.decode() if authority else None
        trust = ssl.create_default_context(cadata=self.authority)
        certificate = _material(user, "client-certificate", kubeconfig)
        if certificate:
            with tempfile.NamedTemporaryFile(suffix=".pem") as both:
                both.write(certificate + b"\n" + (_material(user, "client-key", kubeconfig) or b""))
                both.flush()
                trust.load_cert_chain(both.name)
        self.pool = urllib3.PoolManager(ssl_context=trust, retries=False, maxsize=32, timeout=30.0)

    def with_token(self, token: str) -> Access:
        """The same cluster, as whoever has the token; without the kubeconfig's certificate, which would come first."""
        other = copy.copy(self)
        trust = ssl.create_default_context(cadata=self.authority)
        other.pool = urllib3.PoolManager(ssl_context=trust, retries=False, maxsize=4, timeout=30.0)
        other.headers = {"Authorization": f"Bearer {token}"}
        return other


def _material(part: Mapping[str, Any], name: str, kubeconfig: Path) -> bytes | None:
    if f"{name}-data" in part:
        return base64.b64decode(part[f"{name}-data"])
    return (kubeconfig.parent / part[name]).read_bytes() if name in part else None


class Api:
    """The API in one namespace."""

    def __init__(self, access: Access, namespace: str, image: str) -> None:
        self.access, self.namespace, self.image = access, namespace, image

    def into(self, namespace: str) -> Api:
        """The same cluster, another namespace."""
        return Api(self.access, namespace, self.image)

    # Requests

    def send(self, method: str, path: str, body: Any = None, **options: Any) -> tuple[int, Any, Mapping[str, str]]:
        """(status, decoded body, headers). `content_type`, `accept` and `headers` are headers, the rest the query."""
        headers = dict(self.access.headers) | options.pop("headers", {})
        content_type, accept = options.pop("content_type", None), options.pop("accept", None)
        if body is not None:
            headers["Content-Type"] = content_type or "application/json"
        if accept:
            headers["Accept"] = accept
        raw = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        url = self.access.server + path + (f"?{urlencode(options)}" if options else "")
        answer = self.access.pool.request(method, url, body=raw, headers=headers)
        try:
            content = json.loads(answer.data)
        except ValueError:
            content = answer.data.decode(errors="replace")
        return answer.status, content, answer.headers

    def call(self, method: str, path: str, body: Any = None, **options: Any) -> Any:
        """The answer's body; RefusedError for anything but 2xx."""
        code, content, _ = self.send(method, path, body, **options)
        if not 200 <= code < 300:
            raise RefusedError(method, path, code, content)
        return content

    def path(self, plural: str, name: str = "", subresource: str = "") -> str:
        """The resource's path in this namespace."""
        group = GROUPS.get(plural)
        root = f"/apis/{group}" if group else "/api/v1"
        space = "" if plural in CLUSTER_WIDE else f"/namespaces/{self.namespace}"
        return f"{root}{space}/{plural}" + (f"/{name}" if name else "") + (f"/{subresource}" if subresource else "")

    def create(self, plural: str, obj: Object, subresource: str = "", name: str = "", **options: Any) -> Object:
        """POST; apiVersion and kind are added where they are missing."""
        full = {"apiVersion": GROUPS.get(plural, "v1"), "kind": KINDS.get(plural, "")} | obj
        return self.call("POST", self.path(plural, name, subresource), full, **options)

    def get(self, plural: str, name: str, subresource: str = "", **options: Any) -> Any:
        """GET of one object or its subresource."""
        return self.call("GET", self.path(plural, name, subresource), **options)

    def find(self, plural: str, name: str) -> Object | None:
        """The object, or None."""
        try:
            return self.get(plural, name)
        except RefusedError as refused:
            if refused.code == 404:
                return None
            raise

    def list(self, plural: str, selector: str = "", **options: Any) -> list[Object]:
        """The items that match a label selector and other options."""
        if selector:
            options["labelSelector"] = selector
        return self.call("GET", self.path(plural), **options)["items"]

    def update(self, plural: str, obj: Object, subresource: str = "", **options: Any) -> Object:
        """PUT."""
        full = {"apiVersion": GROUPS.get(plural, "v1"), "kind": KINDS.get(plural, "")} | obj
        return self.call("PUT", self.path(plural, obj["metadata"]["name"], subresource), full, **options)

    def patch(self, plural: str, name: str, patch: Any, how: str = "merge", sub: str = "", **options: Any) -> Object:
        """PATCH; `how` is json, merge, strategic or apply."""
        return self.call("PATCH", self.path(plural, name, sub), patch, content_type=PATCHES[how], **options)

    def apply(self, plural: str, obj: Object, manager: str, **options: Any) -> Object:
        """Server-side apply."""
        full = {"apiVersion": GROUPS.get(plural, "v1"), "kind": KINDS[plural]} | obj
        return self.patch(plural, obj["metadata"]["name"], full, "apply", fieldManager=manager, **options)

    def delete(self, plural: str, name: str, **options: Any) -> Object:
        """DELETE; the options go as DeleteOptions."""
        body = {"apiVersion": "v1", "kind": "DeleteOptions"} | options if options else None
        return self.call("DELETE", self.path(plural, name), body)

    @contextlib.contextmanager
    def watch(self, plural: str, **options: Any) -> Iterator[Watching]:
        """A watch that is open; its events gather in the background."""
        url = self.access.server + self.path(plural) + "?" + urlencode({"watch": 1, "timeoutSeconds": 120} | options)
        answer = self.access.pool.request(
            "GET", url, headers=self.access.headers, preload_content=False, timeout=urllib3.Timeout(10, 125)
        )
        if answer.status != 200:
            content = json.loads(answer.read())
            answer.release_conn()
            raise RefusedError("GET", url, answer.status, content)
        watching = Watching(answer)
        try:
            yield watching
        finally:
            watching.close()

    def log(self, pod: str, **options: Any) -> str:
        """The container's output so far; nothing while it has not started."""
        try:
            code, content, _ = self.send("GET", self.path("pods", pod, "log"), **options)
        except urllib3.exceptions.HTTPError:
            return ""
        if code in (200, 204):
            return content if isinstance(content, str) else json.dumps(content)
        if code in (400, 404, 500):
            return ""
        raise RefusedError("GET", f"{pod}/log", code, content)

    def exec(self, pod: str, *argv: str, container: str = "main") -> tuple[str, int]:
        """Runs a command in a container: (stdout and stderr, exit code)."""
        from kubernetes import client, config, stream

        core = client.CoreV1Api(config.new_client_from_config(str(self.access.kubeconfig)))
        ran = stream.stream(
            core.connect_get_namespaced_pod_exec,
            pod,
            self.namespace,
            container=container,
            command=list(argv),
            stdout=True,
            stderr=True,
            stdin=False,
            tty=False,
            _preload_content=False,
        )
        ran.run_forever(timeout=30)
        code = ran.returncode
        output = ran.read_all()
        ran.close()
        core.api_client.close()
        assert code is not None, f"{argv} did not end"
        return output, code

    # Waiting

    def until(
        self, plural: str, name: str, what: Callable[[Object], Any], about: str, within_s: float = PATIENCE_S
    ) -> Object:
        """The object, once `what` is true of it."""

        def look() -> Object | None:
            found = self.find(plural, name)
            return found if found is not None and what(found) else None

        return wait_for(look, f"{plural}/{name} {about}", within_s, lambda: self.find(plural, name))

    def ready(self, pod: str, within_s: float = PATIENCE_S) -> Object:
        """The pod, once it is Ready."""
        return self.until("pods", pod, lambda p: condition(p, "Ready") == "True", "Ready", within_s)

    def gone(self, plural: str, name: str, within_s: float = PATIENCE_S) -> None:
        """Returns once the object is not there."""
        wait_for(lambda: self.find(plural, name) is None, f"{plural}/{name} gone", within_s)

    def said(self, pod: str, words: str, within_s: float = PATIENCE_S, **options: Any) -> str:
        """The pod's log, once the words are in it."""
        return wait_for(
            lambda: words in (log := self.log(pod, **options)) and log,
            f"{words!r} in the log of {pod}",
            within_s,
            lambda: (self.log(pod, **options), self.find("pods", pod)),
        )

    def event(self, name: str, reason: str, within_s: float = PATIENCE_S) -> Object:
        """An event about an object, once it is there."""
        fields = f"involvedObject.name={name},reason={reason}"
        return wait_for(lambda: self.list("events", fieldSelector=fields), f"event {reason} of {name}", within_s)[-1]

    def rolled_out(self, deployment: str, within_s: float = PATIENCE_S) -> Object:
        """The Deployment, once every replica is of its newest template and available."""
        return self.until("deployments", deployment, settled, "rolled out", within_s)


class Watching:
    """An open watch: what came so far."""

    def __init__(self, answer: Any) -> None:
        self.events: list[Object] = []
        self.ended = threading.Event()
        self._answer = answer
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        pending = b""
        try:
            for part in self._answer.stream(65536):
                *lines, pending = (pending + part).split(b"\n")
                self.events += [json.loads(line) for line in lines if line.strip()]
        except (urllib3.exceptions.HTTPError, OSError, ValueError, AttributeError):
            pass  # closed by us or by the server: what came is in `events`
        self.ended.set()

    def close(self) -> None:
        """No more events."""
        with contextlib.suppress(Exception):
            self._answer.shutdown()
        with contextlib.suppress(Exception):
            self._answer.close()

    def verbs(self, name: str = "") -> list[str]:
        """The events' types, of one object or of all, bookmarks left out."""
        return [
            event["type"]
            for event in tuple(self.events)
            if event["type"] != "BOOKMARK" and name in ("", event["object"]["metadata"].get("name"))
        ]

    def until(self, what: Callable[[list[Object]], Any], about: str, within_s: float = 30) -> Any:
        """What `what` returns of the events so far, once that is true."""
        return wait_for(lambda: what(list(self.events)), about, within_s, lambda: self.events)


def wait_for(
    look: Callable[[], Any], about: str, within_s: float = PATIENCE_S, seen: Callable[[], Any] = lambda: ""
) -> Any:
    """What `look` returns once that is true; by the deadline the test fails with what there is to see."""
    deadline = time.monotonic() + within_s
    pause = 0.05
    while not (found := look()):
        assert time.monotonic() < deadline, f"not within {within_s} s: {about}; last seen: {seen()}"
        time.sleep(pause)
        pause = min(pause * 1.3, 0.3)
    return found


def condition(obj: Object, type_: str) -> str | None:
    """The status of a condition; None when there is none."""
    found = (obj.get("status") or {}).get("conditions") or ()
    return next((c["status"] for c in found if c["type"] == type_), None)


def settled(deployment: Object) -> bool:
    """Whether a Deployment has nothing more to do."""
    status, wanted = deployment.get("status") or {}, deployment["spec"]["replicas"]
    counts = [status.get(count, 0) for count in ("replicas", "updatedReplicas", "availableReplicas")]
    return status.get("observedGeneration") == deployment["metadata"]["generation"] and counts == [wanted] * 3


def status_of(pod: Object, container: int = 0) -> Object:
    """The status of one container; empty while there is none."""
    return ((pod.get("status") or {}).get("containerStatuses") or [{}] * 9)[container]


def restarts(pod: Object) -> int:
    """How often the first container was restarted."""
    return int(status_of(pod).get("restartCount", 0))
