"""One Deployment's rollout: set the version, see how far it is, put the previous template back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from clusters.api import Api, Object
from clusters.apply import pod_state
from clusters.provider import ClusterError

VARIABLE = "MODEL_VERSION"
CRASHES_LEAST = 2  # restarts of one pod: a single one may be bad luck


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """How far a rollout is."""

    wanted: int
    replicas: int  # pods of any template
    updated: int  # pods of the newest template
    ready: int
    available: int  # ready for minReadySeconds
    complete: bool


class Rollout:
    """The Deployment `name`; its first container carries the version in its environment."""

    def __init__(self, api: Api, namespace: str, name: str) -> None:
        self._api = api
        self._namespace = namespace
        self._path = f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}"
        self.name = name
        found = api.find(self._path)
        if found is None:
            raise ClusterError(f"There is no Deployment {name} in namespace {namespace}.")
        self._template: Object = found["spec"]["template"]
        self._labels: dict[str, str] = found["spec"]["selector"]["matchLabels"]
        self.version = version_of(self._template["spec"])

    def set_version(self, version: str) -> None:
        """The newest template has the version."""
        container = self._template["spec"]["containers"][0]["name"]
        spec = {"containers": [{"name": container, "env": [{"name": VARIABLE, "value": version}]}]}
        self._api.request(
            "PATCH",
            self._path,
            {"spec": {"template": {"spec": spec}}},
            content_type="application/strategic-merge-patch+json",
        )

    def undo(self) -> None:
        """The newest template is the one from before `set_version`."""
        patch = [{"op": "replace", "path": "/spec/template", "value": self._template}]
        self._api.request("PATCH", self._path, patch, content_type="application/json-patch+json")

    def state(self) -> State:
        """As the Deployment's status has it."""
        deployment = self._api.request("GET", self._path)
        wanted = deployment["spec"].get("replicas", 1)
        status = deployment.get("status") or {}
        current = status.get("observedGeneration", 0) >= deployment["metadata"]["generation"]
        counts = {key: status.get(f"{key}Replicas", 0) for key in ("updated", "ready", "available")}
        replicas = status.get("replicas", 0)
        complete = current and replicas == wanted and all(count == wanted for count in counts.values())
        # The counts of an older generation say nothing about this one.
        updated = counts["updated"] if current else 0
        return State(
            wanted=wanted,
            replicas=replicas,
            updated=updated,
            ready=counts["ready"],
            available=counts["available"],
            complete=complete,
        )

    def crash(self, version: str) -> str | None:
        """Why a pod of that version does not stay up; None when all do."""
        for pod in self._pods():
            if version_of(pod["spec"]) != version or "deletionTimestamp" in pod["metadata"]:
                continue
            restarts = [status.get("restartCount", 0) for status in pod["status"].get("containerStatuses") or ()]
            state = pod_state(pod)
            if state.startswith("CrashLoopBackOff") or max(restarts, default=0) >= CRASHES_LEAST:
                return f"pod {pod['metadata']['name']} crashes: {state}"
        return None

    def waiting(self, version: str) -> str:
        """What the pods of that version wait for."""
        states = [
            f"{pod['metadata']['name']}: {pod_state(pod)}" for pod in self._pods() if version_of(pod["spec"]) == version
        ]
        return "; ".join(states) or "no pod of it was made"

    def _pods(self) -> list[dict[str, Any]]:
        selector = ",".join(f"{key}={value}" for key, value in self._labels.items())
        return self._api.items(f"/api/v1/namespaces/{self._namespace}/pods", selector)


def version_of(spec: Object) -> str | None:
    """The version that a pod's first container is told to serve."""
    for entry in spec["containers"][0].get("env") or ():
        if entry["name"] == VARIABLE:
            return str(entry.get("value", ""))
    return None
