"""Empties a namespace that is being deleted, then lets it go."""

from __future__ import annotations

from clusters.sandbox.controllers.loop import Informers, Reconciler
from clusters.sandbox.controllers.pods import is_terminating
from clusters.sandbox.objects import Object
from clusters.sandbox.store import Change, Store

# Owners first: nothing of what is deleted here is made again by its controller.
_FIRST = ("horizontalpodautoscalers", "deployments", "daemonsets", "replicasets")


class Namespaces:
    """The namespace controller."""

    def __init__(self, informers: Informers) -> None:
        self._store: Store = informers.store
        self._queue = Reconciler("namespace", self._sync)
        self._leaving: set[str] = set()
        informers.on("namespaces", self._namespace_changed)
        informers.on_any(self._object_changed)

    def close(self) -> None:
        """Stops working."""
        self._queue.close()

    def _namespace_changed(self, change: Change) -> None:
        name = change.obj["metadata"]["name"]
        if change.verb == "DELETED":
            self._leaving.discard(name)
        elif is_terminating(change.obj):
            self._leaving.add(name)
            self._queue.add(name)

    def _object_changed(self, plural: str, change: Change) -> None:
        if self._leaving:
            namespace = change.obj["metadata"].get("namespace")
            if namespace in self._leaving:
                self._queue.add(namespace)

    def _sync(self, name: str) -> None:
        namespace = self._store.find("namespaces", name)
        if namespace is None or not is_terminating(namespace):
            return
        kinds = [kind.key for kind in self._store.kinds.values() if kind.namespaced]
        left = 0
        for plural in sorted(kinds, key=lambda key: _FIRST.index(key) if key in _FIRST else len(_FIRST)):
            for obj in self._store.list(plural, name):
                if not is_terminating(obj):
                    self._store.delete(plural, obj["metadata"]["name"], name, uid=obj["metadata"]["uid"])
            left += len(self._store.list(plural, name))
        if left:
            return

        def release(fresh: Object) -> None:
            fresh["spec"]["finalizers"] = []

        self._store.mutate("namespaces", name, None, release)
