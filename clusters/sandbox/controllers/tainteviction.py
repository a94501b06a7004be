"""Deletes pods that do not (or no longer) tolerate a NoExecute taint of their node."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from clusters.sandbox.controllers.loop import Informers, Reconciler
from clusters.sandbox.controllers.pods import is_active, set_condition
from clusters.sandbox.objects import Object
from clusters.sandbox.scheduling_rules import tolerates
from clusters.sandbox.store import Change, Store

_COMPONENT = "taint-eviction-controller"


class TaintEvictions:
    """The taint eviction controller."""

    def __init__(self, informers: Informers) -> None:
        self._store: Store = informers.store
        self._queue = Reconciler("tainteviction", self._sync)
        self._tainted: set[str] = set()
        self._since: dict[str, float] = {}  # uid of a pod that has to go -> monotonic time when that was noticed
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
        if change.verb == "DELETED":
            self._since.pop(change.obj["metadata"]["uid"], None)

    def _sync(self, key: tuple[str, str]) -> None:
        pod = self._store.find("pods", key[1], key[0])
        if pod is None or not is_active(pod):
            return
        uid = pod["metadata"]["uid"]
        node = self._store.find("nodes", pod["spec"].get("nodeName", ""))
        patience_s = None if node is None else _patience_s(pod, _evicting(node))
        if patience_s is None:
            if self._since.pop(uid, None) is not None:
                text = f"Cancelling deletion of Pod {key[0]}/{key[1]}"
                self._store.events.record(pod, "Normal", "TaintManagerEviction", text, _COMPONENT)
            return
        if uid not in self._since:
            self._since[uid] = time.monotonic()
            text = f"Marking for deletion Pod {key[0]}/{key[1]}"
            self._store.events.record(pod, "Normal", "TaintManagerEviction", text, _COMPONENT)
        left = self._since[uid] + patience_s - time.monotonic()
        if left > 0:
            self._queue.add_after(key, left)
            return
        del self._since[uid]

        def write(fresh: Object) -> None:
            text = "Taint manager: deleting due to NoExecute taint"
            set_condition(fresh, "DisruptionTarget", "True", "DeletionByTaintManager", text)

        self._store.mutate("pods", key[1], key[0], write, status=True)
        self._store.delete("pods", key[1], key[0], uid=uid)


def _evicting(node: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [taint for taint in node["spec"].get("taints") or () if taint["effect"] == "NoExecute"]


def _patience_s(pod: Mapping[str, Any], taints: list[Mapping[str, Any]]) -> float | None:
    """How long the pod bears these taints; None: for ever."""
    limits: list[float] = []
    for taint in taints:
        toleration = tolerates(pod, taint)
        if toleration is None:
            return 0.0
        if toleration.get("tolerationSeconds") is not None:
            limits.append(max(float(toleration["tolerationSeconds"]), 0.0))
    return min(limits, default=None)
