"""The Kubernetes API as providers, the platform's deployment and the release step use it: paths and plain JSON.

The kubernetes client brings kubeconfig, credentials and TLS. `clusters` knows nothing of the harness, hence its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from clusters.provider import ClusterError

Object = dict[str, Any]

TIMEOUT_S = 5.0
FIELD_MANAGER = "bulletproof"


class ApiRefused(ClusterError):  # noqa: N818 - facts, not mistakes
    """The API server answered with an error."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class ApiUnreachable(ClusterError):  # noqa: N818
    """The API server did not answer; whether it did what was asked is not known."""


class Api:
    """One API server. Nothing is retried but a GET on a kept connection that the server had closed."""

    def __init__(self, configuration: Any) -> None:
        from kubernetes.client.rest import RESTClientObject

        configuration.retries = False
        self._configuration = configuration
        self._pool = RESTClientObject(configuration).pool_manager
        self._plurals: dict[str, dict[str, tuple[str, bool]]] = {}

    @classmethod
    def connect(cls, kubeconfig: Path | None, context: str | None) -> Api:
        """The server of that context (None: the current one). Nothing is asked yet. Raises ClusterError."""
        from kubernetes import client, config
        from kubernetes.config.config_exception import ConfigException

        configuration = client.Configuration()
        try:
            config.load_kube_config(
                config_file=str(kubeconfig) if kubeconfig else None,
                context=context,
                client_configuration=configuration,
                persist_config=False,
            )
        except ConfigException as error:
            raise ClusterError(
                f"The kubeconfig cannot be used: {error}",
                hint="Check KUBECONFIG and `kubectl config get-contexts`.",
            ) from error
        return cls(configuration)

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, str] | None = None,
        content_type: str = "application/json",
    ) -> Object:
        """One request, one JSON answer. Raises ApiRefused or ApiUnreachable."""
        return json.loads(self.raw(method, path, body, query=query, content_type=content_type) or b"{}")  # type: ignore[no-any-return]

    def raw(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, str] | None = None,
        content_type: str = "application/json",
        timeout_s: float = TIMEOUT_S,
    ) -> bytes:
        """As `request`, for answers that are no JSON (logs, proxied pods)."""
        import urllib3

        headers = {"Accept": "application/json, */*", "User-Agent": "bulletproof"}
        headers |= {each["key"]: each["value"] for each in self._configuration.auth_settings().values()}
        if body is not None:
            headers["Content-Type"] = content_type
        url = f"{self._configuration.host}{path}{'?' + urlencode(query) if query else ''}"
        for attempt in (1, 2):
            try:
                answer = self._pool.request(
                    method,
                    url,
                    body=None if body is None else json.dumps(body).encode(),
                    headers=headers,
                    timeout=urllib3.Timeout(connect=TIMEOUT_S, read=timeout_s),
                    retries=False,
                )
                break
            except urllib3.exceptions.ProtocolError as error:
                if method != "GET" or attempt == 2:
                    raise ApiUnreachable(f"The API server broke off: {error}") from error
            except urllib3.exceptions.HTTPError as error:
                raise ApiUnreachable(f"No answer from {self._configuration.host}: {error}") from error
        if answer.status >= 400:
            raise ApiRefused(answer.status, _message(answer.data, answer.status))
        return bytes(answer.data)

    def find(self, path: str) -> Object | None:
        """The object at that path, or None."""
        try:
            return self.request("GET", path)
        except ApiRefused as error:
            if error.code == 404:
                return None
            raise

    def items(self, path: str, selector: str = "") -> list[Object]:
        """All objects of a collection."""
        query = {"limit": "500"} | ({"labelSelector": selector} if selector else {})
        found: list[Object] = []
        while True:
            page = self.request("GET", path, query=query)
            found += page.get("items") or []
            token = page["metadata"].get("continue")
            if not token:
                return found
            query["continue"] = token

    def merge(self, path: str, patch: Object) -> Object:
        """The object as a JSON merge patch left it."""
        return self.request("PATCH", path, patch, content_type="application/merge-patch+json")

    def apply(self, obj: Object) -> Object:
        """The object is as given (server-side apply; fields that others own are taken over)."""
        query = {"fieldManager": FIELD_MANAGER, "force": "true"}
        return self.request("PATCH", self.path(obj), obj, query=query, content_type="application/apply-patch+yaml")

    def path(self, obj: Object) -> str:
        """Where an object lives, by discovery."""
        version, kind, metadata = obj["apiVersion"], obj["kind"], obj["metadata"]
        prefix = f"/apis/{version}" if "/" in version else f"/api/{version}"
        if prefix not in self._plurals:
            resources = self.request("GET", prefix)["resources"]
            self._plurals[prefix] = {
                each["kind"]: (each["name"], each["namespaced"]) for each in resources if "/" not in each["name"]
            }
        if kind not in self._plurals[prefix]:
            raise ClusterError(f"The cluster has no {kind} in {version}.")
        plural, namespaced = self._plurals[prefix][kind]
        where = f"/namespaces/{metadata.get('namespace', 'default')}" if namespaced else ""
        return f"{prefix}{where}/{plural}/{metadata['name']}"


def _message(data: bytes, status: int) -> str:
    try:
        return str(json.loads(data)["message"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {status}: {data[:200].decode(errors='replace')}"
