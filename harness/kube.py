"""The cluster, through the Kubernetes API and nothing else: objects are plain dicts, as they are on the wire.

The kubernetes client brings the kubeconfig, credentials and TLS; its typed models are left aside (they decode 10,000
pods in 6.2 s and 700 MB, json in 0.8 s). Nothing is retried here but a GET on a connection that the server had closed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, urlencode

from clusters.provider import NodeCommands
from harness.errors import InvalidRun

Object = dict[str, Any]
Objects = list[Object]  # `list` is a method below
Patch = Object | Objects

CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 5.0

# kind -> (path prefix, plural, namespaced)
KINDS: dict[str, tuple[str, str, bool]] = {
    "Namespace": ("/api/v1", "namespaces", False),
    "Node": ("/api/v1", "nodes", False),
    "Pod": ("/api/v1", "pods", True),
    "Service": ("/api/v1", "services", True),
    "ConfigMap": ("/api/v1", "configmaps", True),
    "Secret": ("/api/v1", "secrets", True),
    "Event": ("/api/v1", "events", True),
    "ResourceQuota": ("/api/v1", "resourcequotas", True),
    "Deployment": ("/apis/apps/v1", "deployments", True),
    "ReplicaSet": ("/apis/apps/v1", "replicasets", True),
    "DaemonSet": ("/apis/apps/v1", "daemonsets", True),
    "StatefulSet": ("/apis/apps/v1", "statefulsets", True),
    "EndpointSlice": ("/apis/discovery.k8s.io/v1", "endpointslices", True),
    "Lease": ("/apis/coordination.k8s.io/v1", "leases", True),
    "PodDisruptionBudget": ("/apis/policy/v1", "poddisruptionbudgets", True),
    "HorizontalPodAutoscaler": ("/apis/autoscaling/v2", "horizontalpodautoscalers", True),
}


class Unreachable(InvalidRun):
    """The API server did not answer. It may or may not have done what was asked."""


class Refused(InvalidRun):
    """The API server answered with an error."""

    def __init__(self, message: str, *, code: int, reason: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.code = code
        self.reason = reason

    @property
    def not_found(self) -> bool:
        """There is no such object, says the API server itself. A gateway before it says 404 of what it cannot reach."""
        return self.code == 404 and self.reason == "NotFound"


@dataclass(frozen=True, slots=True)
class Blocked:
    """An eviction that a PodDisruptionBudget does not allow now."""

    reason: str


class Cluster:
    """One cluster, reached through one context of a kubeconfig. Safe to use from several threads."""

    # How its machines are switched off and on, where whoever connected knows: the API has no verb for that.
    node_commands: NodeCommands | None = None

    def __init__(self, configuration: Any, *, kubeconfig: Path | None = None, context: str | None = None) -> None:
        import urllib3
        from kubernetes.client.rest import RESTClientObject

        configuration.retries = False
        configuration.connection_pool_maxsize = 32
        configuration.socket_options = _socket_options()
        self.kubeconfig = kubeconfig
        self.context = context
        self._configuration = configuration
        self._http: urllib3.PoolManager = RESTClientObject(configuration).pool_manager
        self._server_ahead_s = 0.0

    @classmethod
    def connect(
        cls,
        kubeconfig: Path | None = None,
        context: str | None = None,
        *,
        node_commands: NodeCommands | None = None,
    ) -> Cluster:
        """Reach the API server that the kubeconfig's context names (None: as kubectl would choose).

        Raises InvalidRun when there is no such context, Unreachable when nothing answers.
        """
        from kubernetes import client, config
        from kubernetes.config.config_exception import ConfigException

        configuration = client.Configuration()
        try:
            if kubeconfig is None and context is None and _in_cluster():
                config.load_incluster_config(client_configuration=configuration)
            else:
                config.load_kube_config(
                    config_file=str(kubeconfig) if kubeconfig else None,
                    context=context,
                    client_configuration=configuration,
                    persist_config=False,
                )
        except (ConfigException, OSError) as error:
            raise InvalidRun(
                f"the kubeconfig cannot be used: {error}", hint="check KUBECONFIG and `kubectl config get-contexts`"
            ) from error
        cluster = cls(configuration, kubeconfig=kubeconfig, context=context)
        cluster.node_commands = node_commands
        cluster.version()
        return cluster

    # -- objects --

    def get(self, kind: str, name: str, namespace: str | None = None) -> Object | None:
        """The object, or None when there is none of that name."""
        try:
            return self.request("GET", path_of(kind, namespace, name))
        except Refused as error:
            if error.not_found:
                return None
            raise

    def list(
        self, kind: str, namespace: str | None = None, selector: str | None = None, *, fields: str | None = None
    ) -> Objects:
        """All objects of a kind (of all namespaces when None), by label selector and field selector."""
        return self.list_at(kind, namespace, selector, fields)[0]

    def list_at(
        self, kind: str, namespace: str | None, selector: str | None, fields: str | None
    ) -> tuple[Objects, str]:
        """The same, with the version of the state that they are: a watch goes on from there."""
        items: Objects = []
        query = {"limit": "500"}
        if selector:
            query["labelSelector"] = selector
        if fields:
            query["fieldSelector"] = fields
        while True:
            page = self.request("GET", f"{path_of(kind, namespace)}?{urlencode(query)}")
            items.extend({"kind": kind, **item} for item in page.get("items") or [])
            token = page.get("metadata", {}).get("continue")
            if not token:
                return items, page["metadata"]["resourceVersion"]
            query["continue"] = token

    def create(self, kind: str, obj: Object, namespace: str | None = None) -> Object:
        """The object as created. Raises Refused with code 409 when the name is taken."""
        prefix, _, _ = KINDS[kind]
        body = {"apiVersion": prefix.removeprefix("/apis/").removeprefix("/api/"), "kind": kind, **obj}
        return self.request("POST", path_of(kind, namespace), body=body)

    def patch(self, kind: str, name: str, namespace: str | None, patch: Patch) -> Object:
        """The object as patched: a dict is a JSON merge patch, a list a JSON patch."""
        content = "application/json-patch+json" if isinstance(patch, list) else "application/merge-patch+json"
        return self.request("PATCH", path_of(kind, namespace, name), body=patch, content_type=content)

    def delete(
        self, kind: str, name: str, namespace: str | None = None, *, grace: int | None = None, uid: str | None = None
    ) -> bool:
        """Ask for deletion, of the object with this uid only. False when it was gone already."""
        options: Object = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        if grace is not None:
            options["gracePeriodSeconds"] = grace
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        try:
            self.request("DELETE", path_of(kind, namespace, name), body=options)
        except Refused as error:
            if error.not_found or (error.code == 409 and uid is not None):
                return False
            raise
        return True

    def evict(self, name: str, namespace: str, uid: str) -> Literal["evicted", "gone"] | Blocked:
        """Ask for the eviction of the pod with this uid, as `kubectl drain` does; a disruption budget may block it."""
        body = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": name, "namespace": namespace},
            "deleteOptions": {"preconditions": {"uid": uid}},
        }
        try:
            self.request("POST", f"{path_of('Pod', namespace, name)}/eviction", body=body)
        except Refused as error:
            if error.not_found or error.code == 409:
                return "gone"
            if error.code == 429:
                return Blocked(error.message)
            raise
        return "evicted"

    def pod_proxy(
        self, namespace: str, pod: str, port: int, method: str, path: str, body: Object | None = None
    ) -> Object:
        """Speak JSON with a pod's port, through the API server."""
        return self.request(method, f"{path_of('Pod', namespace, pod)}:{port}/proxy/{path.lstrip('/')}", body=body)

    def version(self) -> str:
        """The server's own version, e.g. v1.33.0."""
        return str(self.request("GET", "/version").get("gitVersion", "unknown"))

    def server_now(self) -> datetime:
        """The API server's wall clock (to about a second): the one clock that all holders of a lease share."""
        return datetime.fromtimestamp(time.time() + self._server_ahead_s, UTC)

    # -- requests --

    def request(self, method: str, path: str, *, body: Any = None, content_type: str = "application/json") -> Object:
        """One request, one JSON answer. Raises Unreachable or Refused."""
        response = self.open(method, path, body, content_type, READ_TIMEOUT_S)
        answer: Object = json.loads(response.data) if response.data else {}
        return answer

    def open(self, method: str, path: str, body: Any, content_type: str | None, read_timeout_s: float) -> Any:
        """The open answer of a request that succeeded; its body is read already unless this is a watch."""
        import urllib3

        headers = {"Accept": "application/json", "User-Agent": "bulletproof"}
        for setting in self._configuration.auth_settings().values():
            headers[setting["key"]] = setting["value"]
        if body is not None and content_type:
            headers["Content-Type"] = content_type
        watching = read_timeout_s > READ_TIMEOUT_S
        for attempt in (1, 2):
            try:
                response = self._http.request(
                    method,
                    f"{self._configuration.host}{path}",
                    body=None if body is None else json.dumps(body),
                    headers=headers,
                    timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT_S, read=read_timeout_s),
                    preload_content=not watching,
                    retries=False,
                )
            except urllib3.exceptions.ProtocolError as error:
                # The server may close a kept connection in the moment in which it is used again.
                if attempt == 1 and method == "GET":
                    continue
                raise self._unreachable(error) from error
            except urllib3.exceptions.HTTPError as error:
                raise self._unreachable(error) from error
            break
        self._set_clock(response.headers.get("Date"))
        if response.status >= 400:
            raise refusal(response.status, _json_or_text(response.data), f"{method} {path.partition('?')[0]}")
        return response

    def _unreachable(self, error: Exception) -> Unreachable:
        return Unreachable(
            f"the API server at {self._configuration.host} did not answer: {error}",
            hint="check that the cluster is up and that the kubeconfig names the right one",
        )

    def _set_clock(self, date: str | None) -> None:
        if date:
            # The header has whole seconds: half a second more is the best guess.
            self._server_ahead_s = parsedate_to_datetime(date).timestamp() + 0.5 - time.time()


def _socket_options() -> Sequence[tuple[int, int, int]]:
    """A peer that has vanished without a word is noticed after 10 s; a watch would take it for a quiet one for 70 s."""
    import socket

    options = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    for name, value in (("TCP_KEEPIDLE", 4), ("TCP_KEEPINTVL", 2), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, name):  # not on every system
            options.append((socket.IPPROTO_TCP, getattr(socket, name), value))
    return options


def _in_cluster() -> bool:
    import os

    return "KUBERNETES_SERVICE_HOST" in os.environ and not os.environ.get("KUBECONFIG")


def path_of(kind: str, namespace: str | None, name: str | None = None) -> str:
    """Where the API has the object, or all objects of its kind."""
    prefix, plural, namespaced = KINDS[kind]
    where = f"/namespaces/{quote(namespace, safe='')}" if namespaced and namespace else ""
    which = f"/{quote(name, safe='')}" if name else ""
    return f"{prefix}{where}/{plural}{which}"


def _json_or_text(data: bytes | None) -> Object:
    try:
        answer = json.loads(data or b"")
    except ValueError:
        answer = None
    return answer if isinstance(answer, dict) else {"message": (data or b"").decode("utf-8", "replace")[:500]}


def refusal(code: int, status: Object, what: str) -> Refused:
    """The error for a Status that the API server answered to `what`."""
    hint = {
        401: "the credentials of the kubeconfig are not accepted",
        403: "the user of the kubeconfig lacks this right; docs/safety.md lists what is needed",
    }.get(code, "")
    text = status.get("message") or status.get("error") or "no reason given"
    # A pod that answers through the API server's proxy may send more than text.
    message = text if isinstance(text, str) else json.dumps(text)
    return Refused(f"{what}: {code} {message}", code=code, reason=str(status.get("reason", "")), hint=hint)
