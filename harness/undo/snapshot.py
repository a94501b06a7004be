"""The picture of the cluster before a run, and what differs from it after the undo.

Only what a fault could have set is in it: spec, labels, taints and our own annotations of the nodes and of the
workload's objects; extended resources of nodes; and every object that carries our labels. What moves by itself is not:
status, the replicas of what an autoscaler scales, nodes that join. Whether the platform is well again is the judge's
question, not the undo's.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.kube import Cluster, Object, Refused
from harness.undo.entry import LOAD_LABEL, PREFIX, RUN_LABEL

POLL_S = 0.25
OURS = ("Pod", "Service", "ConfigMap", "ResourceQuota")  # kinds that a run may make
WORKLOAD = ("Deployment", "StatefulSet", "DaemonSet", "PodDisruptionBudget", "HorizontalPodAutoscaler", "Service")
NATIVE_RESOURCES = ("cpu", "memory", "pods", "ephemeral-storage")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the relevant objects were: `kind/namespace/name` -> field -> value."""

    namespace: str
    objects: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    nodes: bool = True  # whether nodes are in it; a run that has nothing to do with them needs no right to see them

    @classmethod
    def of(cls, cluster: Cluster, namespace: str, *, nodes: bool = True) -> Snapshot:
        """The picture now."""
        return cls(namespace=namespace, objects=dict(_objects(cluster, namespace, nodes)), nodes=nodes)

    def differences(self, cluster: Cluster, settle_s: float = 10.0) -> list[str]:
        """What is not as it was, one line each; controllers get `settle_s` seconds to follow (a taint goes late)."""
        end = time.monotonic() + settle_s
        while True:
            now = Snapshot.of(cluster, self.namespace, nodes=self.nodes)
            lines = list(_differences(self.objects, now.objects))
            if not lines or time.monotonic() >= end:
                return lines
            time.sleep(POLL_S)


def _objects(cluster: Cluster, namespace: str, nodes: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    for node in cluster.list("Node") if nodes else ():
        yield _key(node), _node(node)
    scaled = {_scaled_by(each) for each in _list(cluster, "HorizontalPodAutoscaler", namespace)}
    for kind in WORKLOAD:
        for each in _list(cluster, kind, namespace):
            yield _key(each), _plain(each, but="replicas" if _key(each) in scaled else "")
    for kind in OURS:
        for each in _list(cluster, kind, namespace, f"{RUN_LABEL},!{LOAD_LABEL}"):
            yield _key(each), {"made by run": each["metadata"]["labels"][RUN_LABEL]}


def _list(cluster: Cluster, kind: str, namespace: str, selector: str | None = None) -> list[Object]:
    try:
        return cluster.list(kind, namespace, selector)
    except Refused as error:
        # A cluster may not serve a kind at all; then there is none of it.
        if error.code != 404:
            raise
        return []


def _node(node: Object) -> dict[str, Any]:
    spec = node.get("spec") or {}
    # timeAdded moves when a controller takes a taint away and sets it again.
    taints = [{key: value for key, value in taint.items() if key != "timeAdded"} for taint in spec.get("taints") or []]
    capacity = (node.get("status") or {}).get("capacity") or {}
    picture = {
        **_labels(node),
        "spec.unschedulable": spec.get("unschedulable") or None,
        "status.capacity": {key: value for key, value in capacity.items() if key not in NATIVE_RESOURCES},
    }
    picture.update({f"spec.taints[{each['key']}:{each['effect']}]": each.get("value", "") for each in taints})
    return picture


def _plain(obj: Object, *, but: str = "") -> dict[str, Any]:
    spec = obj.get("spec") or {}
    return {**_labels(obj), **{f"spec.{key}": value for key, value in spec.items() if key != but}}


def _scaled_by(autoscaler: Object) -> str:
    """The object whose replicas move by themselves."""
    target = (autoscaler.get("spec") or {}).get("scaleTargetRef") or {}
    return f"{str(target.get('kind')).lower()}/{target.get('name')}"


def _labels(obj: Object) -> dict[str, Any]:
    metadata = obj["metadata"]
    annotations = {key: value for key, value in (metadata.get("annotations") or {}).items() if key.startswith(PREFIX)}
    return {
        **{f"metadata.labels[{key}]": value for key, value in (metadata.get("labels") or {}).items()},
        **{f"metadata.annotations[{key}]": value for key, value in annotations.items()},
    }


def _key(obj: Object) -> str:
    metadata = obj["metadata"]
    return f"{obj['kind'].lower()}/{metadata['name']}"


def _differences(before: Mapping[str, Mapping[str, Any]], after: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for key in sorted(before.keys() | after.keys()):
        if key not in after:
            yield f"{key}: is gone"
        elif key not in before and key.startswith("node/"):
            continue  # no fault makes a node: an autoscaler did, or somebody
        elif key not in before:
            made_by = after[key].get("made by run")
            yield f"{key}: was not there before" + (f" (made by run {made_by})" if made_by else "")
        else:
            for name in sorted(before[key].keys() | after[key].keys()):
                was, now = before[key].get(name), after[key].get(name)
                if was != now and not (was in (None, {}, []) and now in (None, {}, [])):
                    yield f"{key} {name}: {_short(was)} -> {_short(now)}"


def _short(value: Any) -> str:
    text = "absent" if value is None else json.dumps(value, sort_keys=True)
    return text if len(text) <= 120 else text[:117] + "..."
