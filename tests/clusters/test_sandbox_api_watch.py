"""Watches: nothing lost, nothing twice, in order; their ends are told."""

from __future__ import annotations

import json
import threading
import time
from contextlib import contextmanager

import urllib3
from conftest import config_map
from kubernetes import client, watch

MAPS = "/api/v1/namespaces/{}/configmaps"


@contextmanager
def watching(http, path):
    """The lines of a watch, decoded, as a generator."""
    pool = urllib3.PoolManager(ca_certs=http.authority, retries=False)
    headers = {"Authorization": f"Bearer {http.token}"}
    answer = pool.request("GET", http.server + path, headers=headers, preload_content=False, timeout=10.0)

    def lines():
        rest = b""
        for piece in answer.stream(65536, decode_content=False):
            *whole, rest = (rest + piece).split(b"\n")
            yield from (json.loads(line) for line in whole)

    try:
        yield lines()
    finally:
        answer.close()
        pool.clear()


def named(event):
    return event["type"], event["object"]["metadata"]["name"]


def test_a_watch_from_a_list_misses_nothing(http, namespace):
    """Everything after the list's resourceVersion comes, in order."""
    path = MAPS.format(namespace)
    revision = http.ok("GET", path)["metadata"]["resourceVersion"]
    http.ok("POST", path, config_map("a", k="1"))

    with watching(http, f"{path}?watch=1&resourceVersion={revision}") as events:
        assert named(next(events)) == ("ADDED", "a")
        http.ok("PUT", path + "/a", config_map("a", k="2"))
        http.ok("DELETE", path + "/a")
        seen = [next(events), next(events)]

    assert [named(event) for event in seen] == [("MODIFIED", "a"), ("DELETED", "a")]
    revisions = [int(event["object"]["metadata"]["resourceVersion"]) for event in seen]
    assert revisions == sorted(revisions)
    assert int(revision) < revisions[0]


def test_a_watch_without_a_revision_begins_with_what_is_there(http, namespace):
    """Synthetic ADDED events first."""
    path = f"/api/v1/namespaces/{namespace}/secrets"
    http.ok("POST", path, {"metadata": {"name": "a"}})

    with watching(http, f"{path}?watch=true") as events:
        assert named(next(events)) == ("ADDED", "a")
        http.ok("POST", path, {"metadata": {"name": "b"}})
        assert named(next(events)) == ("ADDED", "b")


def test_an_object_that_stops_matching_is_deleted_for_the_watcher(http, namespace):
    """Selectors see changes of labels as coming and going."""
    path = MAPS.format(namespace)
    patch = {"content_type": "application/merge-patch+json"}
    http.ok("POST", path, config_map("a"))

    with watching(http, f"{path}?watch=1&labelSelector=on%3Dyes") as events:
        for label in ("yes", "no", "yes"):
            http.ok("PATCH", path + "/a", {"metadata": {"labels": {"on": label}}}, **patch)
        http.ok("PATCH", path + "/a", {"data": {"x": "y"}}, **patch)
        seen = [named(next(events))[0] for _ in range(4)]

    assert seen == ["ADDED", "DELETED", "ADDED", "MODIFIED"]


def test_a_revision_too_old_is_told_as_410(http, namespace):
    """The client must list again; the stream says so and ends. A thousand changes of a resource are kept."""
    path = f"/api/v1/namespaces/{namespace}/secrets"
    http.ok("POST", path, {"metadata": {"name": "a"}})
    for i in range(1001):
        http.ok("PUT", path + "/a", {"metadata": {"name": "a"}, "stringData": {"k": str(i)}})

    with watching(http, "/api/v1/secrets?watch=1&resourceVersion=1") as events:
        (event,) = list(events)

    assert event["type"] == "ERROR"
    assert (event["object"]["code"], event["object"]["reason"]) == (410, "Expired")
    assert event["object"]["message"].startswith("too old resource version: 1 (")


def test_timeout_seconds_ends_the_stream(http, namespace):
    """A bookmark comes with it when asked for."""
    begin = time.monotonic()

    with watching(http, f"{MAPS.format(namespace)}?watch=1&timeoutSeconds=1&allowWatchBookmarks=true") as events:
        last = list(events)[-1]

    assert 0.9 < time.monotonic() - begin < 20
    assert last["type"] == "BOOKMARK"
    assert set(last["object"]["metadata"]) == {"resourceVersion"}


def test_the_python_clients_watch_sees_typed_objects(core, namespace):
    """kubernetes.watch.Watch works as it does on a real cluster."""
    revision = core.list_namespaced_config_map(namespace).metadata.resource_version

    def write():
        core.create_namespaced_config_map(namespace, client.V1ConfigMap(metadata=client.V1ObjectMeta(name="a")))
        core.delete_namespaced_config_map("a", namespace)

    thread = threading.Thread(target=write)
    thread.start()
    seen = []
    watcher = watch.Watch()
    for event in watcher.stream(
        core.list_namespaced_config_map, namespace, resource_version=revision, timeout_seconds=10
    ):
        seen.append((event["type"], event["object"].metadata.name))
        if event["type"] == "DELETED":
            watcher.stop()
    thread.join()

    assert seen == [("ADDED", "a"), ("DELETED", "a")]


def test_a_client_that_leaves_is_forgotten(http, namespace):
    """An abrupt close costs the server nothing: writes and new watches go on."""
    path = MAPS.format(namespace)
    http.ok("POST", path, config_map("a"))

    for i in range(5):
        with watching(http, f"{path}?watch=1") as events:
            next(events)
        http.ok("PUT", path + "/a", config_map("a", k=str(i)))

    assert http("GET", "/readyz")[0] == 200
