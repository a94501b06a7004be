"""Keeps status.hard and status.used of every ResourceQuota."""

from __future__ import annotations

import time

from clusters.sandbox import quota
from clusters.sandbox.amounts import seconds
from clusters.sandbox.controllers.loop import Informers, Reconciler
from clusters.sandbox.objects import Object
from clusters.sandbox.store import Change, Store


class ResourceQuotas:
    """Counts a namespace again after every change in it."""

    def __init__(self, informers: Informers) -> None:
        self._store: Store = informers.store
        self._queue = Reconciler("resourcequota", self._sync)
        self._limited: set[str] = set()  # namespaces that have, or had, a quota
        informers.on_any(self._changed)

    def close(self) -> None:
        """Stops working."""
        self._queue.close()

    def _changed(self, plural: str, change: Change) -> None:
        namespace = change.obj["metadata"].get("namespace", "")
        if plural == "resourcequotas":
            self._limited.add(namespace)
        if namespace in self._limited and plural != "events":
            self._queue.add(namespace)
            ends = change.obj["metadata"].get("deletionTimestamp") if plural == "pods" else None
            if ends:  # a pod counts until its grace is over, whether it has ended by then or not
                self._queue.add_after(namespace, seconds(ends) - time.time() + 0.1)

    def _sync(self, namespace: str) -> None:
        for each in self._store.list("resourcequotas", namespace):
            hard = each["spec"].get("hard") or {}
            status = {"hard": hard, "used": quota.written(quota.used(self._store, each))}

            def write(fresh: Object, status: Object = status) -> None:
                fresh["status"] = status

            self._store.mutate("resourcequotas", each["metadata"]["name"], namespace, write, status=True)
