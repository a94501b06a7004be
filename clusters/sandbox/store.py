"""What the cluster knows: objects, their revisions, and everybody who watches them.

One event loop, no locks. Objects in the store are shared and never changed: a write replaces the object,
readers copy before they change. Objects are the JSON of the wire as dicts.
"""

from __future__ import annotations

import asyncio
import datetime
import uuid
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from clusters.sandbox.errors import AlreadyExists, ApiError, Conflict, Expired, NotFound
from clusters.sandbox.events import Events
from clusters.sandbox.kinds import BUILT_IN, Kind
from clusters.sandbox.objects import Object, Stored, now, thaw
from clusters.sandbox.selectors import label_matcher

Changes = list["Change"]

_KEPT_CHANGES = 1000  # per resource; a watch from further back is told 410 Expired, as after a compaction
_FIRST_REVISION = 1000  # what lies before it is forgotten, as in a server that was restarted
_NO_GENERATION = {"configmaps", "secrets", "events", "leases", "namespaces", "services", "nodes", "endpointslices"}
_NO_GENERATION |= {"roles", "rolebindings", "clusterroles", "clusterrolebindings", "serviceaccounts", "resourcequotas"}


@dataclass(frozen=True, slots=True)
class Change:
    """One write, as watchers see it. `old` is what stood there before (None for ADDED)."""

    revision: int
    verb: str  # ADDED, MODIFIED, DELETED
    obj: Stored
    old: Stored | None


class Watch:
    """Changes of one resource, in order, from the moment it was made; `async for` it, then close it."""

    def __init__(self, store: Store, key: str) -> None:
        self._queue: asyncio.Queue[Change | None] = asyncio.Queue()
        self._store, self._key = store, key
        store._watches.setdefault(key, set()).add(self)

    def push(self, change: Change) -> None:
        """Called by the store; never blocks the writer."""
        self._queue.put_nowait(change)

    async def next(self) -> Change | None:
        """The next change; None once closed."""
        return await self._queue.get()

    def close(self) -> None:
        """No more changes; a waiting reader ends."""
        self._store._watches.get(self._key, set()).discard(self)
        self._queue.put_nowait(None)

    def pending(self) -> bool:
        """Whether `next` would answer at once."""
        return not self._queue.empty()


class Store:
    """All objects by resource, namespace and name.

    `admit` (set by the API side) fills in defaults on every create and update, also on those of controllers.
    """

    def __init__(self, admit: Callable[[Kind, Object, Stored | None], None] | None = None) -> None:
        self.kinds: dict[str, Kind] = {kind.key: kind for kind in BUILT_IN}
        self.revision = _FIRST_REVISION
        self.admit = admit
        self.on_write: list[Callable[[Kind, Change], None]] = []
        self._objects: dict[str, dict[str, dict[str, Stored]]] = {}
        self._log: dict[str, deque[Change]] = {}
        self._dropped: dict[str, int] = {}
        self._watches: dict[str, set[Watch]] = {}
        self.events = Events(self)

    # Reading

    def kind(self, key: str) -> Kind:
        """What is known about a resource; NotFound when there is no such resource."""
        if key not in self.kinds:
            raise ApiError(404, "NotFound", "the server could not find the requested resource")
        return self.kinds[key]

    def find(self, key: str, name: str, namespace: str | None = None) -> Stored | None:
        """The object, or None. Shared: copy (`thaw`) before changing."""
        return self._objects.get(key, {}).get(namespace or "", {}).get(name)

    def get(self, key: str, name: str, namespace: str | None = None) -> Stored:
        """The object (shared: copy before changing), or NotFound."""
        obj = self.find(key, name, namespace)
        if obj is None:
            raise NotFound(self.kind(key).qualified, name)
        return obj

    def list(
        self, key: str, namespace: str | None = None, labels: Mapping[str, Any] | str | None = None
    ) -> list[Stored]:
        """Objects of one namespace (or of all), those whose labels match."""
        spaces = self._objects.get(key, {})
        if namespace is None:
            found = [obj for space in spaces.values() for obj in space.values()]
        else:
            found = list(spaces.get(namespace, {}).values())
        matches = label_matcher(labels)
        return found if matches is None else [o for o in found if matches(o["metadata"].get("labels") or {})]

    def watch(self, key: str) -> AsyncIterator[tuple[str, Stored]]:
        """First ("ADDED", obj) for everything there, then every change, in order. Counts from this call."""
        watch, present = Watch(self, key), self.list(key)

        async def changes() -> AsyncIterator[tuple[str, Stored]]:
            try:
                for obj in present:
                    yield "ADDED", obj
                present.clear()
                while change := await watch.next():
                    yield change.verb, change.obj
            finally:
                watch.close()

        return changes()

    def since(self, key: str, revision: int) -> tuple[Changes, Watch]:
        """Changes after `revision` that are still known, and a watch for those to come; Expired when too old."""
        if revision < (oldest := self._dropped.get(key, _FIRST_REVISION)):
            raise Expired(f"too old resource version: {revision} ({oldest})")
        return [c for c in self._log.get(key, ()) if c.revision > revision], Watch(self, key)

    def withdraw(self, key: str) -> None:
        """The resource is no longer served: its watches end."""
        self.kinds.pop(key, None)
        for watch in tuple(self._watches.get(key, ())):
            watch.close()

    # Writing

    def create(self, key: str, obj: Object, namespace: str | None = None, *, dry_run: bool = False) -> Stored:
        """Stores a new object under a uid of its own; AlreadyExists when the name is taken."""
        kind, obj = self.kind(key), thaw(obj)
        meta: Object = obj.setdefault("metadata", {})
        if kind.namespaced:
            meta["namespace"] = namespace = namespace or meta.get("namespace") or "default"
        if not meta.get("name") and meta.get("generateName"):
            meta["name"] = meta["generateName"] + uuid.uuid4().hex[:5]
        obj.setdefault("apiVersion", kind.api_version)
        obj.setdefault("kind", kind.kind)
        if self.find(key, meta["name"], namespace) is not None:
            raise AlreadyExists(kind.qualified, meta["name"])
        meta |= {"uid": str(uuid.uuid4()), "creationTimestamp": now()}
        meta.pop("deletionTimestamp", None)
        if key not in _NO_GENERATION:
            meta["generation"] = 1
        if self.admit:
            self.admit(kind, obj, None)
        return self._write(kind, "ADDED", obj, None, dry_run)

    def update(self, key: str, obj: Object, *, status: bool = False, dry_run: bool = False) -> Stored:
        """Replaces an object; Conflict when obj's resourceVersion is given and stale.

        As on the wire, the status of a kind with a status subresource changes only with `status=True`, and then
        nothing else does. The generation rises when the spec changes. An object that waits for its deletion goes
        when its last finalizer does.
        """
        kind, obj = self.kind(key), thaw(obj)
        meta = obj["metadata"]
        old = self.get(key, meta["name"], meta.get("namespace") if kind.namespaced else None)
        before = old["metadata"]
        if meta.get("resourceVersion") and meta["resourceVersion"] != before["resourceVersion"]:
            raise Conflict(kind.qualified, meta["name"])
        if meta.get("uid") and meta["uid"] != before["uid"]:
            why = f"Precondition failed: UID in precondition: {meta['uid']}, UID in object meta: {before['uid']}"
            raise Conflict(kind.qualified, meta["name"], why)
        if status and kind.has_status:
            fresh = thaw(old) | ({"status": obj["status"]} if "status" in obj else {})
            if "managedFields" in meta:
                fresh["metadata"]["managedFields"] = meta["managedFields"]
            obj, meta = fresh, fresh["metadata"]
        elif kind.has_status:
            obj.pop("status", None)
            if "status" in old:
                obj["status"] = old["status"]
        for field in ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"):
            meta.pop(field, None)
            if field in before:
                meta[field] = before[field]
        if self.admit and not status:
            self.admit(kind, obj, old)
        meta["resourceVersion"] = before["resourceVersion"]
        if obj == old:
            return old
        if "generation" in before and _wish(kind, obj) != _wish(kind, old):
            meta["generation"] = before["generation"] + 1
        if "deletionTimestamp" in meta and _free(kind, obj):
            return self._write(kind, "DELETED", obj, old, dry_run)
        return self._write(kind, "MODIFIED", obj, old, dry_run)

    def mutate(
        self,
        key: str,
        name: str,
        namespace: str | None,
        change: Callable[[Object], None],
        *,
        status: bool = False,
    ) -> Stored:
        """Copies the object, lets `change` edit the copy, stores it; nothing happens when nothing changed."""
        obj = thaw(self.get(key, name, namespace))
        change(obj)
        return self.update(key, obj, status=status)

    def delete(
        self,
        key: str,
        name: str,
        namespace: str | None = None,
        *,
        grace: int | None = None,
        uid: str | None = None,
        revision: str | None = None,
        propagation: str = "Background",
        dry_run: bool = False,
    ) -> Stored:
        """Deletes, or marks for deletion; returns the object as it was last.

        A pod on a node with a grace above 0 only gets its deletionTimestamp: the kubelet deletes it again with
        grace 0. Finalizers (also those that `propagation` Foreground and Orphan add for the garbage collector)
        keep an object until they are gone. A namespace is kept until its spec.finalizers are empty.
        """
        kind, old = self.kind(key), self.get(key, name, namespace)
        obj = thaw(old)
        meta = obj["metadata"]
        if uid is not None and uid != meta["uid"]:
            why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {meta['uid']}"
            raise Conflict(kind.qualified, name, why)
        if revision is not None and revision != meta["resourceVersion"]:
            why = (
                f"Precondition failed: ResourceVersion in precondition: {revision}, "
                f"ResourceVersion in object meta: {meta['resourceVersion']}"
            )
            raise Conflict(kind.qualified, name, why)
        finalizers = set(meta.get("finalizers") or ())
        wanted = {"Foreground": {"foregroundDeletion"}, "Orphan": {"orphan"}}.get(propagation, set())
        if "deletionTimestamp" not in meta and wanted - finalizers:
            meta["finalizers"] = [*(meta.get("finalizers") or ()), *(wanted - finalizers)]
        seconds = self._grace(obj, grace) if key == "pods" else 0
        if not seconds and _free(kind, obj, ignore_grace=True):
            if key == "pods":
                meta["deletionGracePeriodSeconds"] = 0
                meta.setdefault("deletionTimestamp", now())
            return self._write(kind, "DELETED", obj, old, dry_run)
        known = meta.get("deletionGracePeriodSeconds")
        if "deletionTimestamp" not in meta or (known is not None and seconds < known):
            at = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=seconds)
            meta["deletionTimestamp"] = at.strftime("%Y-%m-%dT%H:%M:%SZ")
            meta["deletionGracePeriodSeconds"] = seconds
            if "generation" in meta:
                meta["generation"] += 1
            if key == "namespaces":
                meta.pop("deletionGracePeriodSeconds")
                obj["status"] = {**obj.get("status", {}), "phase": "Terminating"}
        if obj == old:
            return old
        return self._write(kind, "MODIFIED", obj, old, dry_run)

    @staticmethod
    def _grace(pod: Object, grace: int | None) -> int:
        """Seconds until the pod may go: none for a pod that runs nowhere."""
        phase = (pod.get("status") or {}).get("phase")
        if not pod["spec"].get("nodeName") or phase in ("Succeeded", "Failed"):
            return 0
        default = pod["spec"].get("terminationGracePeriodSeconds", 30)
        return max(int(default if grace is None else grace), 0)

    def _write(self, kind: Kind, verb: str, obj: Object, old: Stored | None, dry_run: bool) -> Stored:
        if dry_run:
            if old is None:
                obj["metadata"].pop("resourceVersion", None)
            return Stored(obj)
        self.revision += 1
        obj["metadata"]["resourceVersion"] = str(self.revision)
        stored, meta = Stored(obj), obj["metadata"]
        space = self._objects.setdefault(kind.key, {}).setdefault(meta.get("namespace", ""), {})
        if verb == "DELETED":
            space.pop(meta["name"], None)
        else:
            space[meta["name"]] = stored
        change = Change(self.revision, verb, stored, old)
        log = self._log.setdefault(kind.key, deque())
        log.append(change)
        if len(log) > _KEPT_CHANGES:
            self._dropped[kind.key] = log.popleft().revision
        for watch in tuple(self._watches.get(kind.key, ())):
            watch.push(change)
        for listener in self.on_write:
            listener(kind, change)
        return stored


def _wish(kind: Kind, obj: Mapping[str, Any]) -> dict[str, Any]:
    """What counts for the generation: everything but metadata and status, which without a subresource is a field."""
    left_out = ("metadata",) if kind.custom and not kind.has_status else ("metadata", "status")
    return {k: v for k, v in obj.items() if k not in left_out}


def _free(kind: Kind, obj: Mapping[str, Any], *, ignore_grace: bool = False) -> bool:
    """Whether nothing keeps an object that is to be deleted."""
    if obj["metadata"].get("finalizers"):
        return False
    if kind.key == "namespaces" and (obj.get("spec") or {}).get("finalizers"):
        return False
    return ignore_grace or not obj["metadata"].get("deletionGracePeriodSeconds")
