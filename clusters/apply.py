"""The reference platform gets on a cluster: objects applied, stale ones removed, and every pod serving."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from clusters.api import Api, ApiRefused, ApiUnreachable, Object
from clusters.context import reach
from clusters.provider import PLATFORM_LABEL, ClusterError, Progress

# Host and port of a Service's port, by namespace, name and port.
Endpoint = Callable[[Api, str, str, str | int], tuple[str, int]]

WAIT_S = 120.0
TAKE_DOWN_S = 60.0
POLL_S = 0.1
# On a Deployment: which manifest it was made from.
MANIFEST = "bulletproof.dev/manifest"
# Nothing else than the platform's own kinds is ever removed.
_PRUNED = (
    ("/apis/policy/v1", "poddisruptionbudgets"),
    ("/apis/apps/v1", "deployments"),
    ("/api/v1", "services"),
    ("/api/v1", "configmaps"),
)
# What others refer to comes first.
_ORDER = ("Namespace", "CustomResourceDefinition", "PriorityClass", "ConfigMap", "Secret", "Service")


def deploy(
    api: Api, objects: list[Object], progress: Progress, *, wait_s: float = WAIT_S, endpoint: Endpoint = reach.endpoint
) -> None:
    """The cluster has these objects and no others that an earlier platform left; every Deployment's pods serve.

    `endpoint` says where this machine reaches a Service. Raises ClusterError that says which pod is not ready and why.
    """
    for obj in sorted(objects, key=_rank):
        obj["metadata"].setdefault("labels", {})[PLATFORM_LABEL] = "reference"
        if obj["kind"] == "Deployment":
            _apply_afresh(api, obj, progress)
        else:
            api.apply(obj)
    _prune(api, objects)
    progress(f"applied {len(objects)} objects")
    deadline = time.monotonic() + wait_s
    for obj in objects:
        if obj["kind"] == "Deployment":
            wait_for_rollout(api, obj["metadata"]["namespace"], obj["metadata"]["name"], progress, deadline)
            wait_for_answers(api, obj["metadata"]["namespace"], obj["metadata"]["name"], progress, deadline)
    for obj in objects:
        if obj["kind"] == "Service":
            wait_for_service(api, obj, progress, deadline, endpoint)


def _apply_afresh(api: Api, obj: Object, progress: Progress) -> None:
    """The Deployment is as given, and none of its pods is of another make or left from a run that hurt it.

    A rolling update from one platform to another would let them meet, which no experiment is about.
    """
    digest = hashlib.sha256(json.dumps(obj, sort_keys=True).encode()).hexdigest()[:16]
    obj["metadata"].setdefault("annotations", {})[MANIFEST] = digest
    before = api.find(api.path(obj))
    if before is not None and (before["metadata"].get("annotations") or {}).get(MANIFEST) == digest:
        after = api.apply(obj)
        same = after["metadata"]["generation"] == before["metadata"]["generation"]
        if same and _complete(after) and is_spread(api, after):
            return
    if before is not None:
        progress(f"{obj['metadata']['name']}: taking down what was there")
        _take_down(api, obj)
    api.apply(obj)


def _take_down(api: Api, obj: Object) -> None:
    """The Deployment and its pods are gone."""
    deadline = time.monotonic() + TAKE_DOWN_S
    namespace, name = obj["metadata"]["namespace"], obj["metadata"]["name"]
    api.request("DELETE", api.path(obj), query={"propagationPolicy": "Background"})
    told: set[str] = set()
    while pods := _pods(api, namespace, obj, ending=True):
        for pod in pods:
            if pod["metadata"]["uid"] not in told:
                told.add(pod["metadata"]["uid"])
                path = f"/api/v1/namespaces/{namespace}/pods/{pod['metadata']['name']}"
                with contextlib.suppress(ApiRefused):  # gone already
                    api.request("DELETE", path, query={"gracePeriodSeconds": "1"})
        if time.monotonic() > deadline:
            raise ClusterError(f"{len(pods)} pods of {namespace}/{name} do not end.")
        time.sleep(POLL_S)


def _complete(deployment: Object) -> bool:
    """Every replica is of the newest template and Ready, and no other one is left."""
    status = deployment.get("status") or {}
    counts = {status.get(key, 0) for key in ("replicas", "updatedReplicas", "readyReplicas")}
    current = status.get("observedGeneration", 0) >= deployment["metadata"]["generation"]
    return current and counts == {deployment["spec"].get("replicas", 1)}


def is_spread(api: Api, deployment: Object) -> bool:
    """Its pods are spread over the nodes as its constraints ask for.

    A drained node's pods stay where they went to: two of three on one node, and the next fault strikes both.
    """
    constraints = deployment["spec"]["template"]["spec"].get("topologySpreadConstraints") or []
    try:
        nodes = [node for node in api.items("/api/v1/nodes") if _takes_pods(node)] if constraints else []
    except ApiRefused as error:
        if error.code != 403:
            raise
        return True  # whoever may not see nodes strikes none
    pods = _pods(api, deployment["metadata"]["namespace"], deployment)
    for constraint in constraints:
        domain_of = {
            node["metadata"]["name"]: domain
            for node in nodes
            if (domain := (node["metadata"].get("labels") or {}).get(constraint["topologyKey"]))
        }
        counts = dict.fromkeys(domain_of.values(), 0)
        for pod in pods:
            domain = domain_of.get(pod["spec"].get("nodeName", ""))
            if domain is not None:
                counts[domain] += 1
        if counts and max(counts.values()) - min(counts.values()) > constraint["maxSkew"]:
            return False
    return True


def _takes_pods(node: Object) -> bool:
    spec, conditions = node.get("spec") or {}, node["status"].get("conditions") or ()
    tainted = any(taint["effect"] != "PreferNoSchedule" for taint in spec.get("taints") or ())
    ready = any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
    return ready and not tainted and not spec.get("unschedulable")


def _rank(obj: Object) -> int:
    return _ORDER.index(obj["kind"]) if obj["kind"] in _ORDER else len(_ORDER)


def _prune(api: Api, objects: list[Object]) -> None:
    kept = {(obj["kind"], obj["metadata"].get("namespace"), obj["metadata"]["name"]) for obj in objects}
    for namespace in {obj["metadata"]["namespace"] for obj in objects if "namespace" in obj["metadata"]}:
        for prefix, plural in _PRUNED:
            for obj in api.items(f"{prefix}/namespaces/{namespace}/{plural}", f"{PLATFORM_LABEL}=reference"):
                kind = {"poddisruptionbudgets": "PodDisruptionBudget", "configmaps": "ConfigMap"}.get(
                    plural, plural[:-1].capitalize()
                )
                if (kind, namespace, obj["metadata"]["name"]) not in kept:
                    api.request("DELETE", f"{prefix}/namespaces/{namespace}/{plural}/{obj['metadata']['name']}")


def wait_for_rollout(api: Api, namespace: str, name: str, progress: Progress, deadline: float) -> None:
    """Every replica is of the newest template and Ready, and no other one is left."""
    told = ""
    while True:
        deployment = api.request("GET", f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}")
        wanted = deployment["spec"].get("replicas", 1)
        ready = (deployment.get("status") or {}).get("readyReplicas", 0)
        if f"{name}: {ready} of {wanted} pods ready" != told:
            told = f"{name}: {ready} of {wanted} pods ready"
            progress(told)
        if _complete(deployment):
            return
        if time.monotonic() > deadline:
            raise ClusterError(f"{told}, in time.\n{_why(api, namespace, deployment)}", hint=_hint(api, namespace))
        time.sleep(POLL_S)


def wait_for_answers(api: Api, namespace: str, name: str, progress: Progress, deadline: float) -> None:
    """Every pod says itself that it is ready: a platform without readiness probes is Ready before it serves."""
    deployment = api.request("GET", f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}")
    told = False
    for pod in _pods(api, namespace, deployment):
        path = f"/api/v1/namespaces/{namespace}/pods/{pod['metadata']['name']}:8000/proxy/v2/health/ready"
        while True:
            try:
                api.raw("GET", path)
                break
            except (ApiRefused, ApiUnreachable) as error:
                if isinstance(error, ApiRefused) and error.code in (401, 403):
                    return  # without the right to pods/proxy the probes' word must do
                if time.monotonic() > deadline:
                    raise ClusterError(
                        f"{pod['metadata']['name']} is Ready to Kubernetes and does not serve: {error.message}"
                    ) from error
                if not told:
                    progress(f"{name}: waiting until its pods serve")
                    told = True
                time.sleep(POLL_S)


def wait_for_service(api: Api, service: Object, progress: Progress, deadline: float, endpoint: Endpoint) -> None:
    """The Service answers here on its HTTP port: nodes hear of ready endpoints about a second after the API server."""
    namespace, name = service["metadata"]["namespace"], service["metadata"]["name"]
    told = False
    while True:
        try:
            host, port = endpoint(api, namespace, name, "http")
            connection = http.client.HTTPConnection(host, port, timeout=POLL_S * 10)
            try:
                connection.request("GET", "/v2/health/ready")
                if connection.getresponse().status == HTTPStatus.OK:
                    return
                problem = ClusterError(f"Service {namespace}/{name} answers at {host}:{port} that it is not ready.")
            finally:
                connection.close()
        except ClusterError as error:
            problem = error
        except (OSError, http.client.HTTPException) as error:
            problem = ClusterError(f"Service {namespace}/{name} does not answer at {host}:{port}: {error}")
        if time.monotonic() > deadline:
            raise problem
        if not told:
            progress(f"{name}: waiting until the Service answers")
            told = True
        time.sleep(POLL_S)


def _pods(api: Api, namespace: str, deployment: Object, *, ending: bool = False) -> list[Object]:
    labels = deployment["spec"]["selector"]["matchLabels"]
    selector = ",".join(f"{key}={value}" for key, value in labels.items())
    pods = api.items(f"/api/v1/namespaces/{namespace}/pods", selector)
    return [pod for pod in pods if ending or "deletionTimestamp" not in pod["metadata"]]


def _why(api: Api, namespace: str, deployment: Object) -> str:
    """A line for each pod that is not ready, with the last warning about it."""
    lines = []
    for pod in _pods(api, namespace, deployment):
        conditions = {each["type"]: each for each in pod["status"].get("conditions") or ()}
        if conditions.get("Ready", {}).get("status") == "True":
            continue
        lines.append(f"  {pod['metadata']['name']}: {pod_state(pod)}")
    events = api.items(f"/api/v1/namespaces/{namespace}/events")
    warnings = [each for each in events if each.get("type") == "Warning"]
    lines += [f"  {each['involvedObject'].get('name')}: {each.get('message')}" for each in warnings[-3:]]
    return "\n".join(lines)


def pod_state(pod: dict[str, Any]) -> str:
    """Why a pod is not Ready, in one line."""
    for status in pod["status"].get("containerStatuses") or ():
        state = status.get("state") or {}
        if waiting := state.get("waiting"):
            return f"{waiting.get('reason')}: {waiting.get('message', '')}".rstrip(": ")
        if ended := state.get("terminated"):
            return f"ended with exit code {ended.get('exitCode')}"
        if "running" in state and not status.get("ready"):
            return f"running, not ready, {status.get('restartCount', 0)} restarts"
    for condition in pod["status"].get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition["status"] != "True":
            return f"not scheduled: {condition.get('message', '')}"
    return str(pod["status"].get("phase", "unknown"))


def _hint(api: Api, namespace: str) -> str:
    pods = api.items(f"/api/v1/namespaces/{namespace}/pods")
    if any("ImagePull" in pod_state(pod) for pod in pods):
        return (
            "The image must be on the nodes already, or in a registry that they reach. "
            "`bulletproof cluster image build` builds it; --image NAME says what your copy is called."
        )
    return f"kubectl --namespace {namespace} describe pods"
