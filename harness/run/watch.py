"""What a watch does across gaps: the state found, then every change, and where something may have been missed."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlencode

from harness.kube import Cluster, Object, Refused, Unreachable, path_of, refusal

WATCH_S = 60  # the server ends a watch after this; it is taken up again where it was


class _Expired(Exception):  # noqa: N818
    """410: the version to watch from is no longer known."""


def watch(
    cluster: Cluster,
    kind: str,
    namespace: str | None,
    selector: str | None,
    on_event: Callable[[str, Object], None],
    stop: threading.Event,
) -> None:
    """Report the state found (LISTED), then every change, until `stop` is set. Blocks.

    Verbs: LISTED, ADDED, MODIFIED, DELETED, and LOST and RESUMED (with an empty object) around a gap. After a gap
    that lost events the state is LISTED again, preceded by DELETED for what has gone meanwhile.
    """
    known: dict[str, Object] = {}
    version: str | None = None
    lost = False
    while not stop.is_set():
        try:
            if version is None:
                version = _relist(cluster, kind, namespace, selector, known, on_event, lost)
                lost = False
            for verb, item in _watch_once(cluster, kind, namespace, selector, version, stop):
                if lost:
                    on_event("RESUMED", {})
                    lost = False
                version = item["metadata"]["resourceVersion"]
                if verb == "BOOKMARK":
                    continue
                _remember(known, verb, item)
                on_event(verb, item)
        except (_Expired, Unreachable, Refused) as error:
            if stop.is_set():
                return
            if isinstance(error, Refused) and error.code in (401, 403, 404, 405):
                raise
            # An expired version too: what came and went before the list is taken again is told by nobody.
            if not lost:
                on_event("LOST", {})
                lost = True
            if isinstance(error, _Expired) or (isinstance(error, Refused) and error.code == 410):
                version = None
            else:
                stop.wait(0.25)


def _relist(
    cluster: Cluster,
    kind: str,
    namespace: str | None,
    selector: str | None,
    known: dict[str, Object],
    on_event: Callable[[str, Object], None],
    lost: bool,
) -> str:
    items, version = cluster.list_at(kind, namespace, selector, None)
    if lost:
        on_event("RESUMED", {})
    here = {item["metadata"]["uid"]: item for item in items}
    for uid in [uid for uid in known if uid not in here]:
        on_event("DELETED", known.pop(uid))
    for item in items:
        on_event("LISTED", item)
    known.update(here)
    return version


def _watch_once(
    cluster: Cluster, kind: str, namespace: str | None, selector: str | None, version: str, stop: threading.Event
) -> Iterator[tuple[str, Object]]:
    query = {
        "watch": "true",
        "resourceVersion": version,
        "allowWatchBookmarks": "true",
        "timeoutSeconds": str(WATCH_S),
    }
    if selector:
        query["labelSelector"] = selector
    response = cluster.open("GET", f"{path_of(kind, namespace)}?{urlencode(query)}", None, None, WATCH_S + 10.0)
    ended = threading.Event()
    # A blocked read ends only when its socket does: the stop must not wait for the next event.
    waker = threading.Thread(target=_shut_down_on, args=(stop, ended, response), name=f"unwatch-{kind}", daemon=True)
    waker.start()
    try:
        for line in _lines(response):
            if stop.is_set():
                return
            event = json.loads(line)
            if event["type"] == "ERROR":
                if event["object"].get("code") == 410:
                    raise _Expired
                raise refusal(event["object"].get("code", 500), event["object"], f"watch of {kind}")
            yield event["type"], event["object"]
    finally:
        ended.set()
        response.close()


def _remember(known: dict[str, Object], verb: str, item: Object) -> None:
    if verb == "DELETED":
        known.pop(item["metadata"]["uid"], None)
    else:
        known[item["metadata"]["uid"]] = item


def _lines(response: Any) -> Iterator[bytes]:
    """Each line of a streamed answer as it arrives. Raises Unreachable when the stream breaks."""
    import urllib3

    buffer = b""
    try:
        while chunk := response.read1():
            buffer += chunk
            *lines, buffer = buffer.split(b"\n")
            yield from (line for line in lines if line.strip())
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise Unreachable(f"a watch broke: {error}") from error


def _shut_down_on(stop: threading.Event, ended: threading.Event, response: Any) -> None:
    import socket

    while not stop.wait(0.25):
        if ended.is_set():
            return
    connection = response.connection
    sock = getattr(connection, "sock", None)
    if sock is not None and not ended.is_set():
        try:
            sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # it ended by itself in this moment
