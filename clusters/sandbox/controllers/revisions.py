"""What a ReplicaSet of a Deployment carries: template hash, revision, the sizes it was given, copied annotations."""

from __future__ import annotations

from typing import Any

from clusters.sandbox.controllers import rollout
from clusters.sandbox.objects import Object, thaw

HASH = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
HISTORY = "deployment.kubernetes.io/revision-history"
DESIRED = "deployment.kubernetes.io/desired-replicas"
MAXIMUM = "deployment.kubernetes.io/max-replicas"
# A Deployment's annotations go on to its ReplicaSets, but for these.
_NOT_COPIED = {"kubectl.kubernetes.io/last-applied-configuration", REVISION, HISTORY, DESIRED, MAXIMUM}


def bare(template: Object) -> Object:
    """A ReplicaSet's template without the hash that tells it from others."""
    labels = (template.get("metadata") or {}).get("labels") or {}
    if HASH not in labels:
        return template
    labels = {k: v for k, v in labels.items() if k != HASH}
    return template | {"metadata": template["metadata"] | {"labels": labels}}


def notes_of(obj: Object) -> dict[str, str]:
    """An object's annotations; none are an empty mapping."""
    return obj["metadata"].get("annotations") or {}


def revision_of(replica_set: Object) -> int:
    """Its revision number; 0 before it has one."""
    return int(notes_of(replica_set).get(REVISION, 0))


def sizes(deployment: Object) -> dict[str, str]:
    """What a ReplicaSet notes about the Deployment that sized it."""
    replicas = deployment["spec"].get("replicas", 1)
    surge, _ = rollout.fences(deployment)
    return {DESIRED: str(replicas), MAXIMUM: str(replicas + surge)}


def renew(replica_set: Object, deployment: Object, revision: str) -> None:
    """Gives a ReplicaSet that is the new one (again) its revision and the Deployment's annotations."""
    notes = replica_set["metadata"].setdefault("annotations", {})
    known = notes.get(REVISION, "0")
    if int(known) < int(revision):
        if known != "0":
            notes[HISTORY] = ",".join(part for part in (notes.get(HISTORY), known) if part)
        notes[REVISION] = revision
    notes |= {k: v for k, v in notes_of(deployment).items() if k not in _NOT_COPIED}
    min_ready_s = deployment["spec"].get("minReadySeconds", 0)
    if replica_set["spec"].get("minReadySeconds", 0) != min_ready_s:
        replica_set["spec"]["minReadySeconds"] = min_ready_s


def replica_set_for(deployment: Object, digest: str, revision: str) -> Object:
    """A ReplicaSet for the Deployment's template, without a size."""
    meta, spec = deployment["metadata"], deployment["spec"]
    template: dict[str, Any] = thaw(spec["template"])
    template.setdefault("metadata", {}).setdefault("labels", {})[HASH] = digest
    selector: dict[str, Any] = thaw(spec["selector"])
    selector.setdefault("matchLabels", {})[HASH] = digest
    copied = {k: v for k, v in notes_of(deployment).items() if k not in _NOT_COPIED}
    body: dict[str, Any] = {"selector": selector, "template": template}
    if spec.get("minReadySeconds"):
        body["minReadySeconds"] = spec["minReadySeconds"]
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": f"{meta['name']}-{digest}",
            "namespace": meta["namespace"],
            "labels": thaw(template["metadata"]["labels"]),
            "annotations": copied | {REVISION: revision} | sizes(deployment),
        },
        "spec": body,
    }
