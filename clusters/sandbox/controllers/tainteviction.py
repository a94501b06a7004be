"""Deletes pods that do not (or no longer) tolerate a NoExecute taint of their node."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from clusters.sandbox.amounts import seconds
from clusters.sandbox.controllers.loop import Informers, Reconciler
from clusters.sandbox.controllers.pods import is_active, set_condition
from clusters.sandbox.scheduling_rules import tolerates
from clusters.sandbox.store import Change, Object, Store

_COMPONENT = "taint-eviction-controller"


class TaintEvictions:
    """The taint eviction controller."""

    def __init__(self, informers: Informers) -> None:
        self._store: Store = informers.store
        self._queue = Reconciler("tainteviction", self._sync)
        self._tainted: set[str] = set()
        self._warned: set[str] = set()  # uids of pods whose deletion has been announced
        informers.on("nodes", self._node_changed)
        informers.on("pods", self._pod_changed)

    def close(self) -> None:
        """Stops working."""
        self._queue.close()

    def _node_changed(self, change: Change) -> None:
        name = change.obj["metadata"]["name"]
        before = _evicting(change.old) if change.old is not None else []
        after = _evicting(change.obj) if change.verb != "DELETED" else []
        if after:
            self._tainted.add(name)
        else:
            self._tainted.discard(name)
        if before != after:
            for pod in self._store.list("pods"):
                if pod["spec"].get("nodeName") == name:
                    self._queue.add((pod["metadata"]["namespace"], pod["metadata"]["name"]))

    def _pod_changed(self, change: Change) -> None:
        if self._tainted and change.obj["spec"].get("nodeName") in self._tainted:
            self._queue.add((change.obj["metadata"]["namespace"], change.obj["metadata"]["name"]))

    def _sync(self, key: tuple[str, str]) -> None:
        pod = self._store.find("pods", key[1], key[0])
        if pod is None or not is_active(pod):
            return
        uid = pod["metadata"]["uid"]
        node = self._store.find("nodes", pod["spec"].get("nodeName", ""))
        due = None if node is None else _due(pod, _evicting(node))
        if due is None:
            if uid in self._warned:
                self._warned.discard(uid)
                text = f"Cancelling deletion of Pod {key[0]}/{key[1]}"
                self._store.record_event(pod, "Normal", "TaintManagerEviction", text, _COMPONENT)
            return
        if uid not in self._warned:
            self._warned.add(uid)
            text = f"Marking for deletion Pod {key[0]}/{key[1]}"
            self._store.record_event(pod, "Normal", "TaintManagerEviction", text, _COMPONENT)
        left = due - time.time()
        if left > 0:
            self._queue.add_after(key, left)
            return
        self._warned.discard(uid)

        def write(fresh: Object) -> None:
            text = "Taint manager: deleting due to NoExecute taint"
            set_condition(fresh, "DisruptionTarget", "True", "DeletionByTaintManager", text)

        self._store.mutate("pods", key[1], key[0], write, status=True)
        self._store.delete("pods", key[1], key[0], uid=uid)


def _evicting(node: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [taint for taint in node["spec"].get("taints") or () if taint["effect"] == "NoExecute"]


def _due(pod: Mapping[str, Any], taints: list[Mapping[str, Any]]) -> float | None:
    """When the pod has to go (seconds since the epoch); None when it may stay."""
    due: float | None = None
    for taint in taints:
        toleration = tolerates(pod, taint)
        added = seconds(taint.get("timeAdded"))
        if toleration is None:
            return added
        limit = toleration.get("tolerationSeconds")
        if limit is not None:
            end = (added or time.time()) + max(float(limit), 0.0)
            due = end if due is None else min(due, end)
    return due
