"""CustomResourceDefinitions: once a definition is there its instances are served; when it goes, they go first."""

from __future__ import annotations

from typing import Any

from clusters.sandbox.controllers.loop import Informers, Reconciler
from clusters.sandbox.controllers.pods import is_terminating, set_condition
from clusters.sandbox.kinds import Kind
from clusters.sandbox.objects import Object
from clusters.sandbox.store import Change, Store

_FINALIZER = "customresourcecleanup.apiextensions.k8s.io"
_DEFINITIONS = "customresourcedefinitions"


class Definitions:
    """Adds resources to the store, and takes them away."""

    def __init__(self, informers: Informers) -> None:
        self._store: Store = informers.store
        self._queue = Reconciler("customresourcedefinition", self._sync)
        self._leaving: set[str] = set()
        informers.on(_DEFINITIONS, self._changed)
        informers.on_any(self._instance_changed)

    def close(self) -> None:
        """Stops working."""
        self._queue.close()

    def _changed(self, change: Change) -> None:
        name = change.obj["metadata"]["name"]
        if change.verb == "DELETED":
            self._leaving.discard(name)
            self._store.withdraw(name)
        else:
            if is_terminating(change.obj):
                self._leaving.add(name)
            self._queue.add(name)

    def _instance_changed(self, key: str, change: Change) -> None:
        if key in self._leaving:
            self._queue.add(key)

    def _sync(self, name: str) -> None:
        definition = self._store.find(_DEFINITIONS, name)
        if definition is None:
            return
        if is_terminating(definition):
            self._clean_up(name)
            return
        self._store.kinds[name] = kind_of(definition)

        def accept(fresh: Object) -> None:
            status, spec = fresh.setdefault("status", {}), fresh["spec"]
            status["acceptedNames"] = spec["names"]
            storage = next(v["name"] for v in spec["versions"] if v.get("storage"))
            stored = status.setdefault("storedVersions", [])
            status["storedVersions"] = stored if storage in stored else [*stored, storage]
            set_condition(fresh, "NamesAccepted", "True", "NoConflicts", "no conflicts found")
            set_condition(fresh, "Established", "True", "InitialNamesAccepted", "the initial names have been accepted")

        self._store.mutate(_DEFINITIONS, name, None, accept, status=True)

    def _clean_up(self, name: str) -> None:
        def going(fresh: Object) -> None:
            why = "CustomResource deletion is in progress"
            set_condition(fresh, "Terminating", "True", "InstanceDeletionInProgress", why)

        self._store.mutate(_DEFINITIONS, name, None, going, status=True)
        for obj in self._store.list(name):
            if not is_terminating(obj):
                meta = obj["metadata"]
                self._store.delete(name, meta["name"], meta.get("namespace"), uid=meta["uid"])
        if self._store.list(name):
            return

        def release(fresh: Object) -> None:
            left = [each for each in fresh["metadata"].get("finalizers") or () if each != _FINALIZER]
            fresh["metadata"]["finalizers"] = left

        self._store.mutate(_DEFINITIONS, name, None, release)


def fill(definition: Object) -> None:
    """What the API server adds to a definition when it is written."""
    spec = definition["spec"]
    names = spec["names"]
    names.setdefault("singular", names["kind"].lower())
    names.setdefault("listKind", f"{names['kind']}List")
    spec.setdefault("conversion", {"strategy": "None"})
    meta = definition["metadata"]
    if "deletionTimestamp" not in meta and _FINALIZER not in (meta.get("finalizers") or ()):
        meta["finalizers"] = [*(meta.get("finalizers") or ()), _FINALIZER]


def kind_of(definition: Any) -> Kind:
    """The resource that a definition describes."""
    spec = definition["spec"]
    names, versions = spec["names"], [v for v in spec["versions"] if v.get("served")]
    storage = next(v for v in spec["versions"] if v.get("storage"))
    subresources = storage.get("subresources") or {}
    columns = tuple(
        (f"{c['name']}*" if c.get("priority") else c["name"], c["type"], c["jsonPath"])
        for c in storage.get("additionalPrinterColumns") or ()
    )
    return Kind(
        names["plural"],
        names["kind"],
        spec["group"],
        version=storage["name"],
        namespaced=spec["scope"] == "Namespaced",
        short=tuple(names.get("shortNames") or ()),
        subresources=("status",) if "status" in subresources else (),
        categories=tuple(names.get("categories") or ()),
        custom=True,
        versions=tuple(v["name"] for v in versions if v is not storage),
        schema={v["name"]: v["schema"]["openAPIV3Schema"] for v in spec["versions"]},
        columns=columns,
        served=bool(storage.get("served")),
    )
