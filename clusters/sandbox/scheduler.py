"""Gives pods their nodes."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from clusters.sandbox.amounts import pod_requests
from clusters.sandbox.controllers.loop import Informers, Reconciler
from clusters.sandbox.controllers.pods import is_terminating, owner_reference, set_condition
from clusters.sandbox.objects import Object
from clusters.sandbox.scheduling_rules import (
    NodeView,
    affinity_filter,
    matches_term,
    reasons_against,
    spread_counts,
    spread_filter,
    tolerates,
)
from clusters.sandbox.store import Change, Store

_COMPONENT = "default-scheduler"
# For which reasons of its refusal a pod is looked at again when another pod changes, as the queueing hints of 1.36 have
# it; a change of a node wakes every one, and so do five minutes. Not among them: a required affinity that a pod's end
# would satisfy after all (the first of its kind may go anywhere): on 1.36.3 it stayed Pending until a node changed.
_POD_ENDED = ("Insufficient", "Too many pods", "free ports", "anti-affinity rules", "spread constraints")
_POD_ENDING = ("spread constraints",)  # which do not count what is on its way out
_POD_PLACED = ("pod affinity rules", "spread constraints")
_LOOKED_AT_AGAIN_S = 300.0
_FIRST_RETRY_S, _LAST_RETRY_S = 1.0, 10.0  # a pod that did not fit waits at least this long, as in Kubernetes


@dataclass(frozen=True, slots=True)
class _Refused:
    """A pod that found no node."""

    tries: int
    earliest: float  # next try, monotonic
    reasons: frozenset[str]


class Scheduler:
    """Binds every pod without a node to the best one that fits; tries again when something changed."""

    def __init__(self, informers: Informers) -> None:
        self._store: Store = informers.store
        self._queue = Reconciler("scheduler", self._schedule)
        self._views: dict[str, NodeView] = {}
        self._where: dict[str, str] = {}  # pod uid -> node
        self._waiting: dict[tuple[str, str], _Refused] = {}
        informers.on("nodes", self._node_changed)
        informers.on("pods", self._pod_changed)

    def close(self) -> None:
        """Stops working."""
        self._queue.close()

    # What is where

    def _node_changed(self, change: Change) -> None:
        name = change.obj["metadata"]["name"]
        if change.verb == "DELETED":
            self._views.pop(name, None)
            return
        view = self._views.get(name)
        if view is None:
            self._views[name] = view = NodeView(change.obj)
            view.renew(change.obj)
            for pod in self._store.list("pods"):
                if pod["spec"].get("nodeName") == name:
                    self._place(pod)
        else:
            before = view.node
            view.renew(change.obj)
            if _offer(before) == _offer(change.obj):
                return
        self._try_again()

    def _pod_changed(self, change: Change) -> None:
        pod = change.obj
        meta = pod["metadata"]
        key = (meta["namespace"], meta["name"])
        ended = change.verb == "DELETED" or (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
        if pod["spec"].get("nodeName"):
            self._waiting.pop(key, None)
            if ended:
                if self._remove(meta["uid"]):
                    self._try_again(_POD_ENDED)
            else:
                if self._place(pod):
                    self._try_again(_POD_PLACED)
                if change.old is not None and is_terminating(pod) != is_terminating(change.old):
                    self._try_again(_POD_ENDING)
        elif ended:
            self._waiting.pop(key, None)
        elif key not in self._waiting or (change.old is not None and change.old["spec"] != pod["spec"]):
            self._queue.add(key)

    def _place(self, pod: Object) -> bool:
        """True where it was not there before."""
        uid, node = pod["metadata"]["uid"], pod["spec"]["nodeName"]
        view = self._views.get(node)
        if view is None:
            return False
        is_new = uid not in view.pods
        if is_new:
            for name, amount in pod_requests(pod["spec"]).items():
                view.used[name] = view.used.get(name, Fraction(0)) + amount
            self._where[uid] = node
        view.pods[uid] = pod
        return is_new

    def _remove(self, uid: str) -> bool:
        view = self._views.get(self._where.pop(uid, ""))
        pod = view.pods.pop(uid, None) if view is not None else None
        if view is None or pod is None:
            return False
        for name, amount in pod_requests(pod["spec"]).items():
            view.used[name] -= amount
        return True

    def _try_again(self, reasons: tuple[str, ...] = ("",)) -> None:
        """Something changed: pods refused for one of the reasons are looked at again, each after its back-off."""
        for key, refused in self._waiting.items():
            if any(word in text for text in refused.reasons for word in reasons):
                self._queue.add_after(key, refused.earliest - time.monotonic())

    # Choosing

    def _schedule(self, key: tuple[str, str]) -> None:
        pod = self._store.find("pods", key[1], key[0])
        if pod is None or pod["spec"].get("nodeName") or is_terminating(pod):
            self._waiting.pop(key, None)
            return
        if pod["spec"].get("schedulerName", _COMPONENT) != _COMPONENT:
            return
        if pod["spec"].get("schedulingGates"):
            self._say_unschedulable(pod, "SchedulingGated", "Scheduling is blocked due to non-empty scheduling gates")
            return
        views = list(self._views.values())
        requests = pod_requests(pod["spec"])
        spread, affinity = spread_filter(pod, views), affinity_filter(pod, views)
        fitting: list[NodeView] = []
        against: dict[str, int] = {}
        helpless = 0
        for view in views:
            reasons = reasons_against(pod, requests, view)
            if reasons and not reasons[0].startswith(("Insufficient", "Too many")):
                helpless += 1
            if not reasons:
                reasons = [reason for reason in (spread(view) or affinity(view),) if reason]
            if not reasons:
                fitting.append(view)
            for reason in reasons:
                against[reason] = against.get(reason, 0) + 1
        if not fitting:
            self._did_not_fit(key, pod, against, helpless)
            return
        self._bind(pod, self._best(pod, requests, fitting, views))
        self._waiting.pop(key, None)

    def _best(
        self, pod: Object, requests: Mapping[str, Fraction], fitting: list[NodeView], views: list[NodeView]
    ) -> NodeView:
        """The node with the most points; chance decides between equals."""
        if len(fitting) == 1:
            return fitting[0]
        spread = self._spread_points(pod, fitting, views)
        points = {
            view.name: 2 * spread[view.name] + _room(requests, view) + _wishes(pod, view) - _dislikes(pod, view)
            for view in fitting
        }
        most = max(points.values())
        return random.choice([view for view in fitting if points[view.name] >= most - 1e-9])

    def _spread_points(self, pod: Object, fitting: list[NodeView], views: list[NodeView]) -> dict[str, float]:
        """0 to 100: few like it in the node's domain. Without constraints: few of its controller on the node."""
        soft = [
            constraint
            for constraint in pod["spec"].get("topologySpreadConstraints") or ()
            if constraint.get("whenUnsatisfiable") == "ScheduleAnyway"
        ]
        crowd: dict[str, float] = {view.name: 0.0 for view in fitting}
        for constraint in soft:
            counts = spread_counts(pod, constraint, views)
            for view in fitting:
                crowd[view.name] += counts.get(view.labels.get(constraint["topologyKey"], ""), 0)
        owner = owner_reference(pod)
        if not soft and owner is not None:
            for view in fitting:
                crowd[view.name] = sum(1 for other in view.pods.values() if _same_owner(other, owner))
        low, high = min(crowd.values()), max(crowd.values())
        if high == low:
            return dict.fromkeys(crowd, 100.0)
        return {name: 100.0 * (high - count) / (high - low) for name, count in crowd.items()}

    def _bind(self, pod: Object, view: NodeView) -> None:
        meta = pod["metadata"]

        def bind(fresh: Object) -> None:
            fresh["spec"]["nodeName"] = view.name

        def note(fresh: Object) -> None:
            _note_scheduled(fresh, "True", "", "")

        self._store.mutate("pods", meta["name"], meta["namespace"], bind)
        bound = self._store.mutate("pods", meta["name"], meta["namespace"], note, status=True)
        text = f"Successfully assigned {meta['namespace']}/{meta['name']} to {view.name}"
        self._store.events.record(bound, "Normal", "Scheduled", text, _COMPONENT)

    # Failing

    def _did_not_fit(self, key: tuple[str, str], pod: Object, against: Mapping[str, int], helpless: int) -> None:
        count = len(self._views)
        if not count:
            text = "no nodes available to schedule pods"
        else:
            listed = ", ".join(sorted(f"{number} {reason}" for reason, number in against.items()))
            text = f"0/{count} nodes are available: {listed}."
            parts = [(helpless, "Preemption is not helpful for scheduling")]
            parts.append((count - helpless, "No preemption victims found for incoming pod"))
            why = ", ".join(sorted(f"{number} {reason}" for number, reason in parts if number))
            text += f" preemption: 0/{count} nodes are available: {why}."
        tries = self._waiting[key].tries if key in self._waiting else 0
        earliest = time.monotonic() + min(_FIRST_RETRY_S * 2**tries, _LAST_RETRY_S)
        self._waiting[key] = _Refused(tries + 1, earliest, frozenset(against) or frozenset({"no node"}))
        self._queue.add_after(key, _LOOKED_AT_AGAIN_S)
        self._store.events.record(pod, "Warning", "FailedScheduling", text, _COMPONENT)
        self._say_unschedulable(pod, "Unschedulable", text)

    def _say_unschedulable(self, pod: Object, reason: str, text: str) -> None:
        meta = pod["metadata"]
        self._store.mutate(
            "pods",
            meta["name"],
            meta["namespace"],
            lambda fresh: _note_scheduled(fresh, "False", reason, text),
            status=True,
        )


def _note_scheduled(pod: Object, status: str, reason: str, message: str) -> None:
    set_condition(pod, "PodScheduled", status, reason, message)
    for entry in pod["status"]["conditions"]:
        if entry["type"] == "PodScheduled":
            entry.setdefault("lastProbeTime", None)
            if not reason:
                entry.pop("reason", None)
                entry.pop("message", None)


def _offer(node: Mapping[str, Any]) -> tuple[Any, ...]:
    """What of a node decides about pods."""
    return (
        node["metadata"].get("labels"),
        node["spec"].get("unschedulable"),
        node["spec"].get("taints"),
        (node.get("status") or {}).get("allocatable"),
    )


def _same_owner(pod: Mapping[str, Any], owner: Mapping[str, Any]) -> bool:
    reference = owner_reference(pod)
    return reference is not None and reference["uid"] == owner["uid"] and not is_terminating(pod)


def _room(requests: Mapping[str, Fraction], view: NodeView) -> float:
    """0 to 100: the share of cpu and memory that stays free (LeastAllocated)."""
    shares = []
    for name in ("cpu", "memory"):
        total = view.free_of.get(name, Fraction(0))
        if total:
            left = total - view.used.get(name, 0) - requests.get(name, 0)
            shares.append(max(float(left / total), 0.0))
    return 100.0 * sum(shares) / len(shares) if shares else 0.0


def _wishes(pod: Mapping[str, Any], view: NodeView) -> float:
    """Preferred node affinity."""
    affinity = (pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}
    return sum(
        2.0 * float(preference["weight"])
        for preference in affinity.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
        if matches_term(preference["preference"], view)
    )


def _dislikes(pod: Mapping[str, Any], view: NodeView) -> float:
    """PreferNoSchedule taints that the pod does not tolerate."""
    return 300.0 * sum(
        1 for taint in view.taints if taint["effect"] == "PreferNoSchedule" and tolerates(pod, taint) is None
    )
