"""Deletes what belongs to owners that are gone; carries out Foreground and Orphan deletion."""

from __future__ import annotations

from typing import Any, NamedTuple

from clusters.sandbox.controllers.loop import Informers, Reconciler
from clusters.sandbox.controllers.pods import is_terminating
from clusters.sandbox.errors import NotFound
from clusters.sandbox.objects import Object
from clusters.sandbox.store import Change, Store


class Item(NamedTuple):
    """An object's place in the store."""

    plural: str
    namespace: str
    name: str
    uid: str


class GarbageCollector:
    """Knows every object's uid and who depends on whom."""

    def __init__(self, informers: Informers) -> None:
        self._store: Store = informers.store
        self._queue = Reconciler("garbage-collector", self._sync)
        self._live: dict[str, Item] = {}
        self._dependents: dict[str, set[Item]] = {}  # owner's uid -> what refers to it
        informers.on_any(self._changed)

    def close(self) -> None:
        """Stops working."""
        self._queue.close()

    def _changed(self, plural: str, change: Change) -> None:
        meta = change.obj["metadata"]
        item = Item(plural, meta.get("namespace", ""), meta["name"], meta["uid"])
        owners = {reference["uid"] for reference in meta.get("ownerReferences") or ()}
        before = {r["uid"] for r in (change.old["metadata"].get("ownerReferences") if change.old else None) or ()}
        if change.verb == "DELETED":
            self._live.pop(item.uid, None)
            for owner in owners | before:
                self._forget(owner, item)
            for dependent in self._dependents.get(item.uid, ()):
                self._queue.add(dependent)
            return
        self._live[item.uid] = item
        for owner in before - owners:
            self._forget(owner, item)
        for owner in owners:
            self._dependents.setdefault(owner, set()).add(item)
        if owners - before or (is_terminating(change.obj) and meta.get("finalizers")):
            self._queue.add(item)

    def _forget(self, owner: str, item: Item) -> None:
        known = self._dependents.get(owner)
        if known is not None:
            known.discard(item)
            if not known:
                del self._dependents[owner]
        if owner in self._live:
            self._queue.add(self._live[owner])

    def _sync(self, item: Item) -> None:
        obj = self._store.find(item.plural, item.name, item.namespace)
        if obj is None or obj["metadata"]["uid"] != item.uid:
            return
        finalizers = obj["metadata"].get("finalizers") or ()
        if is_terminating(obj) and "orphan" in finalizers:
            for dependent in tuple(self._dependents.get(item.uid, ())):
                self._drop_owners(dependent, {item.uid})
            self._drop_finalizer(item, "orphan")
        elif is_terminating(obj) and "foregroundDeletion" in finalizers:
            if self._delete_dependents(item):
                self._drop_finalizer(item, "foregroundDeletion")
        else:
            self._check_owners(item, obj)

    def _check_owners(self, item: Item, obj: Object) -> None:
        """An object none of whose owners is left goes; of several, the dead ones are struck off."""
        references: list[Any] = obj["metadata"].get("ownerReferences") or []
        dead = {reference["uid"] for reference in references if reference["uid"] not in self._live}
        if not references or not dead:
            return
        if len(dead) < len(references):
            self._drop_owners(item, dead)
        elif not is_terminating(obj):
            self._delete(item, "Background")

    def _delete_dependents(self, item: Item) -> bool:
        """Foreground: whether everything that blocks the owner's deletion is gone."""
        done = True
        for dependent in tuple(self._dependents.get(item.uid, ())):
            obj = self._store.find(dependent.plural, dependent.name, dependent.namespace)
            if obj is None:
                continue
            reference = next(r for r in obj["metadata"]["ownerReferences"] if r["uid"] == item.uid)
            if reference.get("blockOwnerDeletion"):
                done = False
            if not is_terminating(obj):
                self._delete(dependent, "Foreground" if self._dependents.get(dependent.uid) else "Background")
        return done or not self._blocking(item)

    def _blocking(self, item: Item) -> bool:
        for dependent in self._dependents.get(item.uid, ()):
            obj = self._store.find(dependent.plural, dependent.name, dependent.namespace)
            references = obj["metadata"].get("ownerReferences", ()) if obj is not None else ()
            if any(r["uid"] == item.uid and r.get("blockOwnerDeletion") for r in references):
                return True
        return False

    def _delete(self, item: Item, propagation: str) -> None:
        try:
            self._store.delete(item.plural, item.name, item.namespace, uid=item.uid, propagation=propagation)
        except NotFound:
            return

    def _drop_owners(self, item: Item, uids: set[str]) -> None:
        def write(fresh: Object) -> None:
            left = [r for r in fresh["metadata"].get("ownerReferences", ()) if r["uid"] not in uids]
            if left:
                fresh["metadata"]["ownerReferences"] = left
            else:
                fresh["metadata"].pop("ownerReferences", None)

        self._store.mutate(item.plural, item.name, item.namespace, write)

    def _drop_finalizer(self, item: Item, name: str) -> None:
        def write(fresh: Object) -> None:
            left = [f for f in fresh["metadata"].get("finalizers", ()) if f != name]
            if left:
                fresh["metadata"]["finalizers"] = left
            else:
                fresh["metadata"].pop("finalizers", None)

        self._store.mutate(item.plural, item.name, item.namespace, write)
