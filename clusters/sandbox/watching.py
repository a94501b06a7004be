"""A watch on the wire: changes as JSON lines until the client, the timeout or a closed sandbox ends it."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

from aiohttp import web

from clusters.sandbox import tables
from clusters.sandbox.call import Call
from clusters.sandbox.errors import ApiError, Expired
from clusters.sandbox.objects import Stored
from clusters.sandbox.reading import metadata_only, selected, wants_metadata, wants_table
from clusters.sandbox.store import Change, Store

_BOOKMARK_S = 60.0


async def serve(call: Call, store: Store) -> web.StreamResponse:
    """Answers a watch request. Without a resourceVersion (or with 0) it begins with everything there as ADDED."""
    kind = call.kind
    matches, as_table, bare = selected(call), wants_table(call), wants_metadata(call)
    columns_sent = False

    def line(verb: str, obj: Stored) -> bytes:
        nonlocal columns_sent
        if as_table:
            shown = tables.table(kind, [obj], {"resourceVersion": obj["metadata"]["resourceVersion"]})
            if columns_sent:
                shown["columnDefinitions"] = None
            columns_sent = True
            return json.dumps({"type": verb, "object": shown}).encode() + b"\n"
        wire = json.dumps(metadata_only(obj)).encode() if bare else obj.wire(call.shown_as)
        return b'{"type":"%s","object":%s}\n' % (verb.encode(), wire)

    def meant(obj: Stored | None) -> bool:
        if obj is None or (call.namespace is not None and obj["metadata"].get("namespace") != call.namespace):
            return False
        if call.name is not None and obj["metadata"]["name"] != call.name:
            return False
        return matches is None or matches(obj)

    def lines(change: Change) -> bytes:
        """The change as this client sees it: an object that stops matching is DELETED for it."""
        now_meant, was_meant = meant(change.obj), meant(change.old)
        if change.verb == "DELETED":
            return line("DELETED", change.obj) if was_meant else b""
        if now_meant:
            return line("MODIFIED" if was_meant else "ADDED", change.obj)
        return line("DELETED", change.obj) if was_meant else b""

    def bookmark(revision: int, *, initial_end: bool = False) -> bytes:
        meta: dict[str, Any] = {"resourceVersion": str(revision)}
        if initial_end:
            meta["annotations"] = {"k8s.io/initial-events-end": "true"}
        mark = {"kind": kind.kind, "apiVersion": call.shown_as or kind.api_version, "metadata": meta}
        return json.dumps({"type": "BOOKMARK", "object": mark}).encode() + b"\n"

    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    response.enable_chunked_encoding()
    since, revision = call.option("resourceVersion"), store.revision
    if since and not since.isdecimal():
        why = f'resourceVersion: Invalid value: "{since}": strconv.ParseUint: parsing "{since}": invalid syntax'
        raise ApiError(500, "InternalError", why)  # the code that 1.36 has for it, too
    initial = call.flag("sendInitialEvents") or since in ("", "0")
    try:
        past, watch = store.since(kind.key, store.revision if initial else int(since))
    except Expired as error:
        await response.prepare(call.request)
        await response.write(json.dumps({"type": "ERROR", "object": error.status()}).encode() + b"\n")
        return response
    try:
        first = [line("ADDED", obj) for obj in store.list(kind.key, call.namespace) if meant(obj)] if initial else []
        first += [lines(change) for change in past]
        if call.flag("sendInitialEvents") and call.flag("allowWatchBookmarks"):
            first.append(bookmark(revision, initial_end=True))
        await response.prepare(call.request)
        if first:
            await response.write(b"".join(first))
        loop = asyncio.get_running_loop()
        end = loop.time() + float(call.option("timeoutSeconds") or random.uniform(1800, 3600))
        while (left := end - loop.time()) > 0:
            try:
                change = await asyncio.wait_for(watch.next(), min(left, _BOOKMARK_S))
            except TimeoutError:
                if call.flag("allowWatchBookmarks"):
                    await response.write(bookmark(store.revision))
                continue
            if change is None:
                break
            batch = [lines(change)]
            while watch.pending() and (more := await watch.next()) is not None:
                batch.append(lines(more))
            if data := b"".join(batch):
                await response.write(data)
    except ConnectionError:
        pass  # the client is gone: the usual end of a watch
    finally:
        watch.close()
    return response
