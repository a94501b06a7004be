"""What the sandbox tells of an object in Events: the same thing twice is one Event with a count."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from clusters.sandbox.objects import Object, now, thaw

if TYPE_CHECKING:
    from clusters.sandbox.store import Store

_KEPT_EVENTS = 2000


class Events:
    """The Events of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._said: dict[tuple[str, ...], tuple[str, str]] = {}  # what was said of whom -> namespace and name

    def record(self, involved: Object, type_: str, reason: str, message: str, component: str = "sandbox") -> None:
        """Writes an Event about an object, or counts it up when the same was said before. `type_`: Normal, Warning."""
        meta = involved["metadata"]
        namespace = meta.get("namespace") or "default"
        same = (meta.get("uid", ""), type_, reason, message)
        known = self._store.find("events", self._said.get(same, ("", ""))[1], namespace)
        if known is not None:
            again = thaw(known) | {"count": known["count"] + 1, "lastTimestamp": now()}
            self._store.update("events", again)
            return
        kind = involved.get("kind", "")
        reference: Object = {"kind": kind, "name": meta["name"], "uid": meta.get("uid", "")}
        if meta.get("namespace"):
            reference["namespace"] = meta["namespace"]
        reference |= {"apiVersion": involved.get("apiVersion", "v1")}
        if "resourceVersion" in meta:
            reference["resourceVersion"] = meta["resourceVersion"]
        name = f"{meta['name']}.{uuid.uuid4().hex[:16]}"
        event: Object = {"metadata": {"name": name}, "involvedObject": reference, "reason": reason, "message": message}
        event |= {"type": type_, "count": 1, "firstTimestamp": now(), "lastTimestamp": now()}
        event |= {"source": {"component": component}, "reportingComponent": component, "reportingInstance": ""}
        event |= {"eventTime": None}
        self._store.create("events", event, namespace)
        self._said[same] = (namespace, name)
        if len(self._said) > _KEPT_EVENTS:
            where, gone = self._said.pop(next(iter(self._said)))
            if self._store.find("events", gone, where) is not None:
                self._store.delete("events", gone, where)
