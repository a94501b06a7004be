"""Counts how many voluntary disruptions each PodDisruptionBudget allows now."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from clusters.sandbox.amounts import scaled, seconds
from clusters.sandbox.controllers.loop import Informers, Reconciler
from clusters.sandbox.controllers.pods import (
    controller_key,
    is_ready,
    is_terminating,
    owner_reference,
    set_condition,
)
from clusters.sandbox.objects import Object
from clusters.sandbox.selectors import label_matcher
from clusters.sandbox.store import Change, Store

# An eviction that was allowed but whose pod is still there after this time no longer counts against the budget.
_FORGOTTEN_AFTER_S = 120
_PLURALS = {"ReplicaSet": "replicasets", "Deployment": "deployments"}


class Disruptions:
    """The disruption controller: writes status.disruptionsAllowed, which evictions obey."""

    def __init__(self, informers: Informers) -> None:
        self._store: Store = informers.store
        self._queue = Reconciler("disruption", self._sync)
        informers.on("poddisruptionbudgets", self._budget_changed)
        informers.on("pods", self._pod_changed)
        for plural in ("deployments", "replicasets"):
            informers.on(plural, self._owner_changed)

    def close(self) -> None:
        """Stops working."""
        self._queue.close()

    def _budget_changed(self, change: Change) -> None:
        self._queue.add((change.obj["metadata"]["namespace"], change.obj["metadata"]["name"]))

    def _pod_changed(self, change: Change) -> None:
        labels = [pod["metadata"].get("labels") or {} for pod in (change.old, change.obj) if pod is not None]
        for budget in self._store.list("poddisruptionbudgets", change.obj["metadata"]["namespace"]):
            matches = _matcher(budget)
            if any(matches(one) for one in labels):
                self._queue.add((budget["metadata"]["namespace"], budget["metadata"]["name"]))

    def _owner_changed(self, change: Change) -> None:
        """A new size changes what is expected; the pods that follow tell the rest."""
        if change.old is not None and change.old["spec"].get("replicas") == change.obj["spec"].get("replicas"):
            return
        for budget in self._store.list("poddisruptionbudgets", change.obj["metadata"]["namespace"]):
            self._queue.add((budget["metadata"]["namespace"], budget["metadata"]["name"]))

    def _sync(self, key: tuple[str, str]) -> None:
        budget = self._store.find("poddisruptionbudgets", key[1], key[0])
        if budget is None:
            return
        matches = _matcher(budget)
        pods = [p for p in self._store.list("pods", key[0]) if matches(p["metadata"].get("labels") or {})]
        expected, desired = self._expected(budget, pods)
        disrupted = self._still_disrupted(key, budget, pods)
        healthy = sum(
            1 for pod in pods if is_ready(pod) and not is_terminating(pod) and pod["metadata"]["name"] not in disrupted
        )
        allowed = max(healthy - desired, 0) if expected > 0 else 0

        def write(fresh: Object) -> None:
            status = fresh.setdefault("status", {})
            status |= {
                "currentHealthy": healthy,
                "desiredHealthy": desired,
                "disruptionsAllowed": allowed,
                "expectedPods": expected,
                "observedGeneration": budget["metadata"]["generation"],
            }
            if disrupted:
                status["disruptedPods"] = disrupted
            else:
                status.pop("disruptedPods", None)
            if allowed:
                set_condition(fresh, "DisruptionAllowed", "True", "SufficientPods", "")
            else:
                set_condition(fresh, "DisruptionAllowed", "False", "InsufficientPods", "")

        self._store.mutate("poddisruptionbudgets", key[1], key[0], write, status=True)

    def _still_disrupted(self, key: tuple[str, str], budget: Object, pods: Sequence[Object]) -> dict[str, str]:
        """Evictions that were allowed and whose pods have not begun to go."""
        noted: Mapping[str, str] = (budget.get("status") or {}).get("disruptedPods") or {}
        staying = {p["metadata"]["name"] for p in pods if not is_terminating(p)}
        kept: dict[str, str] = {}
        for name, at in noted.items():
            left_s = seconds(at) + _FORGOTTEN_AFTER_S - time.time()
            if name in staying and left_s > 0:
                kept[name] = at
                self._queue.add_after(key, left_s + 0.1)
        return kept

    def _expected(self, budget: Object, pods: Sequence[Object]) -> tuple[int, int]:
        """(pods that should exist, pods that must stay healthy)."""
        spec = budget["spec"]
        if spec.get("maxUnavailable") is not None:
            expected = self._wished(pods)
            return expected, max(expected - scaled(spec["maxUnavailable"], expected, up=True), 0)
        minimum = spec.get("minAvailable", 1)
        if isinstance(minimum, int):
            return len(pods), minimum
        expected = self._wished(pods)
        return expected, scaled(minimum, expected, up=True)

    def _wished(self, pods: Sequence[Object]) -> int:
        """The sizes of the controllers behind the pods, each once."""
        sizes: dict[str, int] = {}
        for pod in pods:
            owner = self._top(pod)
            if owner is not None:
                sizes[owner["metadata"]["uid"]] = owner["spec"].get("replicas", 1)
        return sum(sizes.values())

    def _top(self, pod: Object) -> Object | None:
        """The Deployment behind a pod, else its ReplicaSet."""
        key = controller_key(pod, "ReplicaSet")
        found: Object | None = self._store.find("replicasets", key[1], key[0]) if key else None
        if found is None:
            return None
        reference = owner_reference(found)
        if reference is None or reference["kind"] not in _PLURALS:
            return found
        above = self._store.find(_PLURALS[reference["kind"]], reference["name"], found["metadata"]["namespace"])
        return above if above is not None else found


def _matcher(budget: Mapping[str, Any]) -> Any:
    """policy/v1: an empty selector means every pod of the namespace, none at all means none."""
    selector = budget["spec"].get("selector")
    if selector is None:
        return lambda labels: False
    return label_matcher(selector) or (lambda labels: True)
