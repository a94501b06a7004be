"""What a Deployment says about itself: counts, Available, Progressing, ReplicaFailure, and when progress is overdue."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from clusters.sandbox.amounts import seconds
from clusters.sandbox.controllers import rollout
from clusters.sandbox.controllers.pods import condition, set_condition
from clusters.sandbox.objects import Object, thaw

_COMPLETE, _OVERDUE = "NewReplicaSetAvailable", "ProgressDeadlineExceeded"


def status_of(deployment: Object, owned: list[Object], new: Object | None) -> Object:
    """The status as it should read now."""
    before: Mapping[str, Any] = deployment.get("status") or {}
    spec = deployment["spec"]
    draft: Object = {"metadata": {}, "spec": spec, "status": {}}
    status = draft["status"]
    available = _sum(owned, "availableReplicas")
    counts = {
        "replicas": _sum(owned, "replicas"),
        "updatedReplicas": (new.get("status") or {}).get("replicas", 0) if new is not None else 0,
        "readyReplicas": _sum(owned, "readyReplicas"),
        "availableReplicas": available,
        "unavailableReplicas": max(rollout.total(owned) - available, 0),
        "collisionCount": before.get("collisionCount", 0),
    }
    status |= {name: count for name, count in counts.items() if count}
    status["observedGeneration"] = deployment["metadata"]["generation"]
    status["conditions"] = thaw(before.get("conditions") or [])
    _, unavailable = rollout.fences(deployment)
    if available >= spec.get("replicas", 1) - unavailable:
        message = "Deployment has minimum availability."
        set_condition(draft, "Available", "True", "MinimumReplicasAvailable", message, updates=True)
    else:
        message = "Deployment does not have minimum availability."
        set_condition(draft, "Available", "False", "MinimumReplicasUnavailable", message, updates=True)
    _note_failure(draft, owned)
    if spec.get("progressDeadlineSeconds") is not None and not spec.get("paused"):
        _note_progress(deployment, draft, before, owned, new)
    return status  # type: ignore[no-any-return]


def _note_progress(
    deployment: Object, draft: Object, before: Mapping[str, Any], owned: list[Object], new: Object | None
) -> None:
    status, known = draft["status"], condition(draft, "Progressing")
    name = f'ReplicaSet "{new["metadata"]["name"]}"' if new is not None else "Deployment"
    all_new = status.get("replicas", 0) == status.get("updatedReplicas", 0)
    if all_new and known is not None and known["reason"] == _COMPLETE:
        return
    if new is not None and rollout.is_complete(deployment, owned, new):
        text = f"{name} has successfully progressed."
        set_condition(draft, "Progressing", "True", _COMPLETE, text, updates=True)
    elif _has_progressed(before, status):
        # Set anew even when it reads the same: its lastUpdateTime is what the deadline counts from.
        keep = known["lastTransitionTime"] if known is not None and known["status"] == "True" else None
        status["conditions"] = [c for c in status["conditions"] if c["type"] != "Progressing"]
        set_condition(draft, "Progressing", "True", "ReplicaSetUpdated", f"{name} is progressing.", updates=True)
        if keep:
            status["conditions"][-1]["lastTransitionTime"] = keep
    elif _is_overdue(deployment, known):
        text = f"{name} has timed out progressing."
        set_condition(draft, "Progressing", "False", _OVERDUE, text, updates=True)


def _note_failure(draft: Object, owned: list[Object]) -> None:
    """Copies what a ReplicaSet says about pods that it cannot make."""
    status = draft["status"]
    failure = next((c for rs in owned if (c := condition(rs, "ReplicaFailure"))), None)
    if failure is not None:
        set_condition(draft, "ReplicaFailure", failure["status"], failure["reason"], failure["message"], updates=True)
    else:
        status["conditions"] = [c for c in status["conditions"] if c["type"] != "ReplicaFailure"]


def _has_progressed(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """More new, fewer old, more ready or more available pods than at the last look."""

    def count(status: Mapping[str, Any], name: str) -> int:
        return int(status.get(name, 0))

    def old(status: Mapping[str, Any]) -> int:
        return count(status, "replicas") - count(status, "updatedReplicas")

    grown = ("updatedReplicas", "readyReplicas", "availableReplicas")
    return any(count(after, name) > count(before, name) for name in grown) or old(after) < old(before)


def _is_overdue(deployment: Object, known: Mapping[str, Any] | None) -> bool:
    if known is None or known["reason"] == _COMPLETE:
        return False
    if known["reason"] == _OVERDUE:
        return True
    limit_s: int = deployment["spec"]["progressDeadlineSeconds"]
    return seconds(known["lastUpdateTime"]) + limit_s < time.time()


def progress_wait_s(deployment: Object, owned: list[Object], new: Object | None) -> float | None:
    """Seconds until the progress deadline has to be looked at again; None when nothing is awaited."""
    known, limit_s = condition(deployment, "Progressing"), deployment["spec"].get("progressDeadlineSeconds")
    if known is None or limit_s is None or known["reason"] in (_COMPLETE, _OVERDUE):
        return None
    if deployment["spec"].get("paused") or (new is not None and rollout.is_complete(deployment, owned, new)):
        return None
    return max(seconds(known["lastUpdateTime"]) + float(limit_s) - time.time(), 0.0) + 1.0


def _sum(owned: list[Object], name: str) -> int:
    return sum((rs.get("status") or {}).get(name, 0) for rs in owned)
