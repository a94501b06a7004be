"""Get and list: what they answer, in the form that the client asked for."""

from __future__ import annotations

import base64
import json
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable

from aiohttp import web

from clusters.sandbox import tables
from clusters.sandbox.call import Call, answer
from clusters.sandbox.errors import Expired
from clusters.sandbox.objects import Object, Stored
from clusters.sandbox.selectors import field_matcher, label_matcher
from clusters.sandbox.store import Store

_SNAPSHOTS, _SNAPSHOT_AGE_S = 64, 300.0
Objects = list[Stored]


def selected(call: Call) -> Callable[[Stored], bool] | None:
    """The request's label and field selectors as one test; None when there are none."""
    labels = label_matcher(call.option("labelSelector"))
    by_field = field_matcher(call.option("fieldSelector"), call.kind.plural)
    if labels is None and by_field is None:
        return None

    def matches(obj: Stored) -> bool:
        if labels is not None and not labels(obj["metadata"].get("labels") or {}):
            return False
        return by_field is None or by_field(obj)

    return matches


def wants_table(call: Call) -> bool:
    """Whether the client asked for a Table, as `kubectl get` does."""
    return "as=Table" in call.request.headers.get("Accept", "")


def wants_metadata(call: Call) -> bool:
    """Whether the client asked for metadata alone, as garbage collectors do."""
    return "as=PartialObjectMetadata" in call.request.headers.get("Accept", "")


def metadata_only(obj: Object) -> Object:
    """The object as a PartialObjectMetadata."""
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj["metadata"]}


class Reading:
    """The verbs that change nothing, over one store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._snapshots: OrderedDict[str, tuple[float, int, Objects]] = OrderedDict()

    def get(self, call: Call) -> web.Response:
        """One object."""
        obj = self._store.get(call.kind.key, call.name or "", call.namespace)
        if wants_table(call):
            meta = {"resourceVersion": obj["metadata"]["resourceVersion"]}
            return answer(tables.table(call.kind, [obj], meta, whole=call.option("includeObject") == "Object"))
        return answer(metadata_only(obj) if wants_metadata(call) else obj.wire(call.shown_as))

    def list(self, call: Call) -> web.Response:
        """Objects in the order of their names, in pages of `limit` that show one moment."""
        matches, limit = selected(call), int(call.option("limit") or 0)
        revision = self._store.revision
        rest, token = 0, call.option("continue")
        if token:
            revision, found = self._resume(token)
        else:
            found = self._store.list(call.kind.key, call.namespace)
            if matches is not None:
                found = [obj for obj in found if matches(obj)]
            found.sort(key=lambda obj: (obj["metadata"].get("namespace", ""), obj["metadata"]["name"]))
        meta: Object = {"resourceVersion": str(revision)}
        if limit and len(found) > limit:
            rest = len(found) - limit
            meta["continue"] = self._keep(revision, found[limit:])
            if matches is None:
                meta["remainingItemCount"] = rest
            found = found[:limit]
        if wants_table(call):
            return answer(tables.table(call.kind, found, meta, whole=call.option("includeObject") == "Object"))
        if wants_metadata(call):
            partial = {"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": meta}
            return answer(partial | {"items": [metadata_only(obj) for obj in found]})
        items = b",".join(obj.wire(call.shown_as) if call.kind.custom else obj.item() for obj in found)
        api = call.shown_as or call.kind.api_version
        head = f'{{"kind":"{call.kind.kind}List","apiVersion":"{api}","metadata":{json.dumps(meta)},"items":['
        return answer(head.encode() + items + b"]}")

    def _keep(self, revision: int, rest: Objects) -> str:
        token = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode()
        self._snapshots[token] = (time.monotonic(), revision, rest)
        while len(self._snapshots) > _SNAPSHOTS:
            self._snapshots.popitem(last=False)
        return token

    def _resume(self, token: str) -> tuple[int, Objects]:
        at, revision, rest = self._snapshots.get(token, (-_SNAPSHOT_AGE_S, 0, []))
        if time.monotonic() - at > _SNAPSHOT_AGE_S:
            raise Expired(
                "The provided continue parameter is too old to display a consistent list result. You can start a new "
                "list without the continue parameter."
            )
        return revision, rest
