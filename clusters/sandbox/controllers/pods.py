"""What controllers ask of pods: ready, available, active, whose; and how a pod is made from a template."""

from __future__ import annotations

import json
import random
import time
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

from clusters.sandbox.amounts import seconds
from clusters.sandbox.kinds import Kind
from clusters.sandbox.objects import Object, now, thaw
from clusters.sandbox.selectors import label_matcher
from clusters.sandbox.store import Store

# Kubernetes' alphabet for generated names: no vowels, nothing that looks like something else.
ALPHABET = "bcdfghjklmnpqrstvwxz2456789"


def suffix(length: int = 5) -> str:
    """The random end of a generated name."""
    return "".join(random.choices(ALPHABET, k=length))


# Maps that are the same whether they are empty or left out; an empty object elsewhere (emptyDir: {}) means something.
_MAPS = {"annotations", "labels", "nodeSelector", "matchLabels", "limits", "requests"}


def plain(value: Any) -> Any:
    """JSON data without what makes no difference to Kubernetes: nulls, empty lists, empty maps."""
    if isinstance(value, Mapping):
        found = {k: plain(v) for k, v in value.items() if v is not None and v != []}
        return {k: v for k, v in found.items() if v != {} or k not in _MAPS}
    if isinstance(value, list):
        return [plain(one) for one in value]
    return value


def template_hash(template: Mapping[str, Any], collisions: int = 0) -> str:
    """The value of pod-template-hash: the same for the same template, in Kubernetes' alphabet.

    The digits differ from a real cluster's, which hashes Go's own print of the structure.
    """
    text = json.dumps(plain(template), sort_keys=True, separators=(",", ":")) + (str(collisions) if collisions else "")
    number = zlib.crc32(text.encode()) | zlib.adler32(text.encode()) << 32
    return "".join(ALPHABET[int(digit, 36) % len(ALPHABET)] for digit in str(number % 10**10).zfill(10))


def condition(obj: Mapping[str, Any], type_: str) -> Mapping[str, Any] | None:
    """The condition of that type in the object's status."""
    for found in (obj.get("status") or {}).get("conditions") or ():
        if found["type"] == type_:
            return found  # type: ignore[no-any-return]
    return None


def set_condition(obj: Object, type_: str, status: str, reason: str, message: str, *, updates: bool = False) -> None:
    """Sets a condition; its transition time moves with its status only. `updates`: keeps lastUpdateTime too."""
    conditions: list[Object] = obj.setdefault("status", {}).setdefault("conditions", [])
    known = next((c for c in conditions if c["type"] == type_), None)
    if known is not None and (known["status"], known.get("reason"), known.get("message")) == (status, reason, message):
        return
    fresh: Object = {"type": type_, "status": status, "reason": reason, "message": message}
    if updates:
        fresh["lastUpdateTime"] = now()
    same = known is not None and known["status"] == status
    fresh["lastTransitionTime"] = known["lastTransitionTime"] if same and known else now()
    if known is None:
        conditions.append(fresh)
    else:
        conditions[conditions.index(known)] = fresh


def is_ready(pod: Mapping[str, Any]) -> bool:
    """Whether the pod's Ready condition is True."""
    found = condition(pod, "Ready")
    return found is not None and found["status"] == "True"


def available_in(pod: Mapping[str, Any], min_ready_s: int) -> float | None:
    """Seconds until a ready pod counts as available (0: it does); None while it is not ready."""
    found = condition(pod, "Ready")
    if found is None or found["status"] != "True":
        return None
    if not min_ready_s:
        return 0.0
    return max(seconds(found["lastTransitionTime"]) + min_ready_s - time.time(), 0.0)


def is_terminating(obj: Mapping[str, Any]) -> bool:
    """Whether the object has been deleted and is on its way out."""
    return "deletionTimestamp" in obj["metadata"]


def is_active(pod: Mapping[str, Any]) -> bool:
    """Whether a controller counts the pod: it neither ended nor was deleted."""
    return not is_terminating(pod) and (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")


def owner_reference(obj: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The reference to the controller of an object."""
    for reference in obj["metadata"].get("ownerReferences") or ():
        if reference.get("controller"):
            return reference  # type: ignore[no-any-return]
    return None


def controller_key(obj: Mapping[str, Any], kind: str) -> tuple[str, str] | None:
    """(namespace, name) of the object's controller if that is of `kind`."""
    reference = owner_reference(obj)
    if reference is None or reference["kind"] != kind:
        return None
    return obj["metadata"]["namespace"], reference["name"]


def reference_to(owner: Mapping[str, Any], kind: Kind) -> Object:
    """An ownerReference that makes `owner` the controller."""
    meta = owner["metadata"]
    return {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "name": meta["name"],
        "uid": meta["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def claim(store: Store, plural: str, owner: Mapping[str, Any], owner_plural: str) -> list[Object]:
    """The objects that `owner` controls: matching orphans are adopted, its own that no longer match are released."""
    meta, selector = owner["metadata"], owner["spec"]["selector"]
    matches = label_matcher(selector) or (lambda labels: True)
    claimed: list[Object] = []
    for obj in store.list(plural, meta["namespace"]):
        fits = matches(obj["metadata"].get("labels") or {})
        reference = owner_reference(obj)
        if reference is None:
            if fits and not is_terminating(obj) and not is_terminating(owner):
                claimed.append(_adopt(store, plural, obj, reference_to(owner, store.kind(owner_plural))))
        elif reference["uid"] == meta["uid"]:
            if fits:
                claimed.append(obj)
            elif not is_terminating(owner):
                _release(store, plural, obj, meta["uid"])
    return claimed


def _adopt(store: Store, plural: str, obj: Mapping[str, Any], reference: Object) -> Object:
    meta = obj["metadata"]
    return store.mutate(
        plural,
        meta["name"],
        meta["namespace"],
        lambda o: o["metadata"].setdefault("ownerReferences", []).append(reference),
    )


def _release(store: Store, plural: str, obj: Mapping[str, Any], uid: str) -> None:
    def drop(fresh: Object) -> None:
        references = [r for r in fresh["metadata"].get("ownerReferences", ()) if r["uid"] != uid]
        if references:
            fresh["metadata"]["ownerReferences"] = references
        else:
            fresh["metadata"].pop("ownerReferences", None)

    store.mutate(plural, obj["metadata"]["name"], obj["metadata"]["namespace"], drop)


def pod_from(template: Mapping[str, Any], owner: Mapping[str, Any], owner_kind: Kind) -> Object:
    """A pod as its controller creates it, named after the controller."""
    base = owner["metadata"]["name"]
    meta = template.get("metadata") or {}
    metadata: Object = {
        "generateName": f"{base}-",
        "name": f"{base[:57]}-{suffix()}",
        "namespace": owner["metadata"]["namespace"],
        "ownerReferences": [reference_to(owner, owner_kind)],
    }
    for field in ("labels", "annotations", "finalizers"):
        if meta.get(field):
            metadata[field] = thaw(meta[field])
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": thaw(template["spec"])}


def newest_first(objects: Iterable[Object]) -> list[Object]:
    """By creation, the newest first; names decide ties."""
    ordered = sorted(objects, key=lambda o: o["metadata"]["name"])
    return sorted(ordered, key=lambda o: o["metadata"]["creationTimestamp"], reverse=True)
