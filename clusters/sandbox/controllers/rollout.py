"""How many pods each ReplicaSet of a Deployment may have: the arithmetic of rolling updates, as Kubernetes does it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from clusters.sandbox.amounts import scaled
from clusters.sandbox.controllers.pods import newest_first
from clusters.sandbox.objects import Object


def fences(deployment: Mapping[str, Any]) -> tuple[int, int]:
    """(maxSurge, maxUnavailable) as pods: surge is rounded up, unavailable down, and never are both 0."""
    spec = deployment["spec"]
    strategy = spec.get("strategy") or {}
    replicas = spec.get("replicas", 1)
    if strategy.get("type") == "Recreate":
        return 0, replicas
    rolling = strategy.get("rollingUpdate") or {}
    surge = scaled(rolling.get("maxSurge", "25%"), replicas, up=True)
    unavailable = scaled(rolling.get("maxUnavailable", "25%"), replicas, up=False)
    if not surge and not unavailable:
        unavailable = 1
    return surge, min(unavailable, replicas)


def total(replica_sets: Iterable[Mapping[str, Any]]) -> int:
    """The sum of their wished sizes."""
    return sum(rs["spec"]["replicas"] for rs in replica_sets)


def new_replicas(deployment: Object, owned: list[Object], new: Object | None) -> int:
    """The size that the new ReplicaSet may have now; `new` is None while it does not exist."""
    replicas: int = deployment["spec"].get("replicas", 1)
    if (deployment["spec"].get("strategy") or {}).get("type") == "Recreate":
        return 0 if new is None and total(owned) else replicas
    present: int = new["spec"]["replicas"] if new is not None else 0
    if present >= replicas:
        return replicas
    surge, _ = fences(deployment)
    room = replicas + surge - total(owned)
    if room <= 0:
        return present
    return present + min(room, replicas - present)


def old_replicas(deployment: Object, old: list[Object], new: Object) -> dict[str, int]:
    """The sizes that old ReplicaSets shrink to now: name -> replicas, only those that shrink.

    Unhealthy old pods go first: they cost no availability.
    """
    replicas = deployment["spec"].get("replicas", 1)
    _, unavailable = fences(deployment)
    minimum = replicas - unavailable
    sizes = {rs["metadata"]["name"]: rs["spec"]["replicas"] for rs in old}
    before = dict(sizes)
    if not sum(sizes.values()):
        return {}
    new_missing = new["spec"]["replicas"] - _available(new)
    room = sum(sizes.values()) + new["spec"]["replicas"] - minimum - new_missing
    if room <= 0:
        return {}
    oldest_first = newest_first(old)[::-1]
    cleaned = 0
    for rs in oldest_first:
        name = rs["metadata"]["name"]
        if cleaned >= room:
            break
        sick = min(room - cleaned, max(sizes[name] - _available(rs), 0))
        sizes[name] -= sick
        cleaned += sick
    spare = sum(_available(rs) for rs in [*old, new]) - minimum
    for rs in oldest_first:
        name = rs["metadata"]["name"]
        if spare <= 0:
            break
        fewer = min(sizes[name], spare)
        sizes[name] -= fewer
        spare -= fewer
    return {name: size for name, size in sizes.items() if size != before[name]}


def proportional(
    deployment: Object, owned: list[Object], new: Object | None, desired_key: str, maximum_key: str
) -> dict[str, int]:
    """The sizes after somebody changed spec.replicas: name -> replicas.

    With one ReplicaSet in use it simply gets the new size; in the middle of a rollout each gets its share, so that
    the risk stays as it was. Annotations of the same size are renewed too.
    """
    replicas = deployment["spec"].get("replicas", 1)
    active = [rs for rs in owned if rs["spec"]["replicas"]]
    if len(active) <= 1:
        only = active[0] if active else new or (newest_first(owned)[0] if owned else None)
        return {only["metadata"]["name"]: replicas} if only is not None else {}
    if new is not None and _is_saturated(deployment, new, desired_key):
        others = [rs for rs in active if rs["metadata"]["uid"] != new["metadata"]["uid"]]
        return {rs["metadata"]["name"]: 0 for rs in others} | (
            {new["metadata"]["name"]: replicas} if new["spec"]["replicas"] != replicas else {}
        )
    if (deployment["spec"].get("strategy") or {}).get("type") == "Recreate":
        return {}
    surge, _ = fences(deployment)
    allowed = replicas + surge if replicas else 0
    to_add = allowed - total(owned)
    # The biggest first; of equals the newest when growing, the oldest when shrinking.
    ordered = newest_first(active) if to_add > 0 else newest_first(active)[::-1]
    ordered.sort(key=lambda rs: -rs["spec"]["replicas"])
    sizes: dict[str, int] = {}
    added = 0
    for rs in ordered:
        size = rs["spec"]["replicas"]
        if to_add:
            size += _share(rs, replicas, surge, to_add, added, maximum_key)
            added += size - rs["spec"]["replicas"]
        sizes[rs["metadata"]["name"]] = size
    first = ordered[0]["metadata"]["name"]
    sizes[first] = max(sizes[first] + to_add - added, 0)
    return sizes


def _share(rs: Object, replicas: int, surge: int, to_add: int, added: int, maximum_key: str) -> int:
    """How many of `to_add` (may be negative) this ReplicaSet takes."""
    size: int = rs["spec"]["replicas"]
    if not size:
        return 0
    before = int((rs["metadata"].get("annotations") or {}).get(maximum_key, 0)) or replicas + surge
    fraction = round(size * (replicas + surge) / before) - size if replicas else -size
    left = to_add - added
    return min(fraction, left) if to_add > 0 else max(fraction, left)


def _is_saturated(deployment: Object, new: Object, desired_key: str) -> bool:
    wished = (new["metadata"].get("annotations") or {}).get(desired_key)
    replicas = deployment["spec"].get("replicas", 1)
    return bool(new["spec"]["replicas"] == replicas and wished == str(replicas) and _available(new) == replicas)


def is_complete(deployment: Object, owned: list[Object], new: Object) -> bool:
    """Whether every pod is of the new template and available, and none of an old one is left."""
    replicas = deployment["spec"].get("replicas", 1)
    counts = [(rs.get("status") or {}) for rs in owned]
    return bool(
        (new.get("status") or {}).get("replicas", 0) == replicas
        and sum(status.get("replicas", 0) for status in counts) == replicas
        and sum(status.get("availableReplicas", 0) for status in counts) == replicas
    )


def lags(replica_set: Mapping[str, Any]) -> bool:
    """Whether its status does not tell of its present size yet."""
    status = replica_set.get("status") or {}
    behind = status.get("observedGeneration", 0) < replica_set["metadata"].get("generation", 0)
    return bool(behind or status.get("replicas", 0) > replica_set["spec"]["replicas"])


def _available(replica_set: Mapping[str, Any]) -> int:
    return int((replica_set.get("status") or {}).get("availableReplicas", 0))
