"""Keeps as many pods of a template alive as a ReplicaSet says, and counts them in its status."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from clusters.sandbox.amounts import seconds
from clusters.sandbox.controllers.loop import Informers, Reconciler
from clusters.sandbox.controllers.pods import (
    available_in,
    claim,
    condition,
    controller_key,
    is_active,
    is_ready,
    is_terminating,
    owner_reference,
    pod_from,
    set_condition,
)
from clusters.sandbox.errors import ApiError, NotFound
from clusters.sandbox.objects import Object
from clusters.sandbox.selectors import label_matcher
from clusters.sandbox.store import Change, Store

_BURST = 500  # pods made or deleted in one go, as the real controller's burstReplicas


class ReplicaSets:
    """The ReplicaSet controller."""

    def __init__(self, informers: Informers) -> None:
        self._store: Store = informers.store
        self._queue = Reconciler("replicaset", self._sync)
        informers.on("replicasets", self._replica_set_changed)
        informers.on("pods", self._pod_changed)

    def close(self) -> None:
        """Stops working."""
        self._queue.close()

    def _replica_set_changed(self, change: Change) -> None:
        meta = change.obj["metadata"]
        self._queue.add((meta["namespace"], meta["name"]))

    def _pod_changed(self, change: Change) -> None:
        for pod in (change.obj, change.old):
            if pod is None:
                continue
            key = controller_key(pod, "ReplicaSet")
            if key is not None:
                self._queue.add(key)
            elif owner_reference(pod) is None and change.verb != "DELETED":
                labels = pod["metadata"].get("labels") or {}
                for owner in self._store.list("replicasets", pod["metadata"]["namespace"]):
                    matches = label_matcher(owner["spec"]["selector"])
                    if matches is not None and matches(labels):
                        self._queue.add((owner["metadata"]["namespace"], owner["metadata"]["name"]))

    def _sync(self, key: tuple[str, str]) -> None:
        owner = self._store.find("replicasets", key[1], key[0])
        if owner is None:
            return
        pods = [pod for pod in claim(self._store, "pods", owner, "replicasets") if is_active(pod)]
        failure: ApiError | None = None
        if not is_terminating(owner):
            failure = self._scale(owner, pods)
        # What was just made or deleted is not in `pods`; the writes put the key into the queue again.
        self._count(owner, pods, failure)

    def _scale(self, owner: Object, pods: list[Object]) -> ApiError | None:
        """Makes or deletes what is too few or too many; returns what the API refused."""
        missing = owner["spec"].get("replicas", 1) - len(pods)
        if missing > 0:
            return self._create(owner, min(missing, _BURST))
        if missing < 0:
            surplus = sorted(pods, key=self._deletion_rank(owner, pods))[: min(-missing, _BURST)]
            for pod in surplus:
                self._delete(owner, pod)
        return None

    def _create(self, owner: Object, count: int) -> ApiError | None:
        kind = self._store.kind("replicasets")
        for _ in range(count):
            try:
                pod = self._store.create("pods", pod_from(owner["spec"]["template"], owner, kind))
            except ApiError as error:
                self._store.events.record(
                    owner, "Warning", "FailedCreate", f"Error creating: {error.message}", "replicaset-controller"
                )
                meta = owner["metadata"]
                self._queue.add_after((meta["namespace"], meta["name"]), 1.0)
                return error
            self._store.events.record(
                owner, "Normal", "SuccessfulCreate", f"Created pod: {pod['metadata']['name']}", "replicaset-controller"
            )
        return None

    def _delete(self, owner: Object, pod: Object) -> None:
        meta = pod["metadata"]
        try:
            self._store.delete("pods", meta["name"], meta["namespace"], uid=meta["uid"])
        except NotFound:
            return
        self._store.events.record(
            owner, "Normal", "SuccessfulDelete", f"Deleted pod: {meta['name']}", "replicaset-controller"
        )

    def _deletion_rank(self, owner: Object, pods: list[Object]) -> Any:
        """The order in which Kubernetes gives up pods (ActivePodsWithRanks): the least useful first."""
        crowd: dict[str, int] = {}
        for pod in self._siblings(owner, pods):
            node = pod["spec"].get("nodeName", "")
            crowd[node] = crowd.get(node, 0) + 1
        phases = {"Pending": 0, "Unknown": 1, "Running": 2}

        def rank(pod: Mapping[str, Any]) -> tuple[Any, ...]:
            status, meta = pod.get("status") or {}, pod["metadata"]
            ready = condition(pod, "Ready")
            since = seconds(ready["lastTransitionTime"]) if ready and is_ready(pod) else time.time()
            restarts = sum(c.get("restartCount", 0) for c in status.get("containerStatuses") or ())
            return (
                bool(pod["spec"].get("nodeName")),
                phases.get(status.get("phase", "Pending"), 1),
                is_ready(pod),
                _deletion_cost(meta),
                -crowd[pod["spec"].get("nodeName", "")],
                _magnitude(time.time() - since),  # ready for the shortest time first, on a logarithmic scale
                -restarts,
                _magnitude(time.time() - seconds(meta["creationTimestamp"])),
                meta["uid"],
            )

        return rank

    def _siblings(self, owner: Object, pods: Sequence[Object]) -> Sequence[Object]:
        """Active pods of all ReplicaSets of the same Deployment: a node that carries two of them gives one up first."""
        above = owner_reference(owner)
        if above is None:
            return pods
        related = {
            rs["metadata"]["uid"]
            for rs in self._store.list("replicasets", owner["metadata"]["namespace"])
            if (reference := owner_reference(rs)) is not None and reference["uid"] == above["uid"]
        }
        found = []
        for pod in self._store.list("pods", owner["metadata"]["namespace"]):
            reference = owner_reference(pod)
            if reference is not None and reference["uid"] in related and is_active(pod):
                found.append(pod)
        return found

    def _count(self, owner: Object, pods: list[Object], failure: ApiError | None) -> None:
        """Writes the status: how many there are, are labelled as the template, ready, and available."""
        template_labels = (owner["spec"]["template"].get("metadata") or {}).get("labels") or {}
        wanted = label_matcher(template_labels)
        min_ready_s = owner["spec"].get("minReadySeconds", 0)
        waits = [available_in(pod, min_ready_s) for pod in pods]
        counts = {
            "replicas": len(pods),
            "fullyLabeledReplicas": sum(
                1 for pod in pods if wanted is None or wanted(pod["metadata"].get("labels") or {})
            ),
            "readyReplicas": sum(1 for wait in waits if wait is not None),
            "availableReplicas": sum(1 for wait in waits if wait == 0),
        }
        meta = owner["metadata"]
        later = [wait for wait in waits if wait]
        if later:
            self._queue.add_after((meta["namespace"], meta["name"]), min(later) + 0.01)

        def write(fresh: Object) -> None:
            status = fresh.setdefault("status", {})
            for name, count in counts.items():
                if count or name == "replicas":
                    status[name] = count
                else:
                    status.pop(name, None)
            status["observedGeneration"] = owner["metadata"]["generation"]
            if failure is not None:
                set_condition(fresh, "ReplicaFailure", "True", "FailedCreate", failure.message)
            elif condition(fresh, "ReplicaFailure"):
                status["conditions"] = [c for c in status["conditions"] if c["type"] != "ReplicaFailure"]
                if not status["conditions"]:
                    del status["conditions"]

        self._store.mutate("replicasets", meta["name"], meta["namespace"], write, status=True)


def _deletion_cost(meta: Mapping[str, Any]) -> int:
    text = (meta.get("annotations") or {}).get("controller.kubernetes.io/pod-deletion-cost", "0")
    try:
        return int(text)
    except ValueError:
        return 0


def _magnitude(age_s: float) -> int:
    """The base-2 logarithm of an age, whole: younger than that apart is a tie (LogarithmicScaleDown)."""
    return int(max(age_s, 1)).bit_length()
