"""Watches: what changed, in order, from a moment on."""

from __future__ import annotations

import pytest

from tests.conformance.api import Api, Object, RefusedError
from tests.conformance.manifests import config_map, nowhere


def _now(api: Api, plural: str = "configmaps") -> str:
    return api.call("GET", api.path(plural))["metadata"]["resourceVersion"]


def _named(events: list[Object], name: str) -> list[Object]:
    return [e for e in events if e["object"]["metadata"].get("name") == name]


def test_a_watch_from_a_version_tells_every_change_after_it(api: Api) -> None:
    """API Concepts, efficient detection of changes: ADDED, MODIFIED, DELETED in order, versions growing."""
    start = _now(api)
    api.create("configmaps", config_map("one", a="1"))
    api.patch("configmaps", "one", {"data": {"a": "2"}})
    api.delete("configmaps", "one")

    with api.watch("configmaps", resourceVersion=start) as watching:
        watching.until(lambda e: "DELETED" in watching.verbs("one"), "the deletion")
    told = _named(watching.events, "one")
    assert [event["type"] for event in told] == ["ADDED", "MODIFIED", "DELETED"]
    assert [event["object"]["data"]["a"] for event in told] == ["1", "2", "2"]
    versions = [int(event["object"]["metadata"]["resourceVersion"]) for event in told]
    assert versions == sorted(set(versions))


def test_a_watch_without_a_version_begins_with_what_there_is(api: Api) -> None:
    """API Concepts, semantics for watch: get state and start at any, synthetic ADDED events."""
    api.create("configmaps", config_map("one"))

    with api.watch("configmaps") as watching:
        watching.until(lambda e: _named(e, "one"), "the object that was there")
        api.create("configmaps", config_map("two"))
        watching.until(lambda e: _named(e, "two"), "the new one")
    assert set(watching.verbs()) == {"ADDED"}


def test_a_streamed_list_ends_with_a_bookmark(api: Api) -> None:
    """API Concepts, streaming lists: sendInitialEvents ends with a BOOKMARK annotated k8s.io/initial-events-end."""
    api.create("configmaps", config_map("one"))

    options = {"sendInitialEvents": "true", "allowWatchBookmarks": "true"}
    with api.watch("configmaps", resourceVersionMatch="NotOlderThan", **options) as watching:
        watching.until(lambda e: any(x["type"] == "BOOKMARK" for x in e), "the bookmark")
    mark = next(e["object"] for e in watching.events if e["type"] == "BOOKMARK")
    assert mark["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    assert mark["metadata"]["resourceVersion"]
    assert watching.verbs("one") == ["ADDED"]


def test_a_watch_from_a_forgotten_version_is_gone(api: Api) -> None:
    """API Concepts, 410 Gone responses: an old version is answered with 410, as a status or as an ERROR event."""
    try:
        with api.watch("configmaps", resourceVersion="1") as watching:
            watching.until(lambda e: e, "an answer")
            first = watching.events[0]
    except RefusedError as refused:
        assert (refused.code, refused.reason) == (410, "Expired")
        return
    assert first["type"] == "ERROR"
    assert (first["object"]["code"], first["object"]["reason"]) == (410, "Expired")


def test_an_object_that_leaves_the_selection_is_deleted_for_the_watcher(api: Api) -> None:
    """Labels and Selectors, watch filtering: entering the selection is ADDED, leaving it DELETED."""
    with api.watch("configmaps", resourceVersion=_now(api), labelSelector="in=yes") as watching:
        api.create("configmaps", config_map("one", {"in": "no"}))
        api.patch("configmaps", "one", {"metadata": {"labels": {"in": "yes"}}})
        api.patch("configmaps", "one", {"data": {"a": "1"}})
        api.patch("configmaps", "one", {"metadata": {"labels": {"in": "no"}}})
        api.delete("configmaps", "one")
        api.create("configmaps", config_map("last", {"in": "yes"}))
        watching.until(lambda e: _named(e, "last"), "the last one")
    assert watching.verbs("one") == ["ADDED", "MODIFIED", "DELETED"]


def test_one_object_can_be_watched_by_its_name(api: Api) -> None:
    """Field Selectors: metadata.name works in watches too."""
    with api.watch("configmaps", resourceVersion=_now(api), fieldSelector="metadata.name=two") as watching:
        api.create("configmaps", config_map("one"))
        api.create("configmaps", config_map("two"))
        watching.until(lambda e: _named(e, "two"), "the object")
    assert watching.verbs("one") == []


def test_a_watch_ends_after_its_timeout(api: Api) -> None:
    """API Concepts, watch (timeoutSeconds): the server closes the stream."""
    with api.watch("configmaps", resourceVersion=_now(api), timeoutSeconds=1) as watching:
        assert watching.ended.wait(20)


def test_a_watch_of_all_namespaces_sees_each(api: Api) -> None:
    """API Concepts, resource URIs: without a namespace the collection spans all of them."""
    path = "/api/v1/configmaps"
    start = api.call("GET", path, limit=1)["metadata"]["resourceVersion"]
    api.create("configmaps", config_map("one", {"only": api.namespace}))
    code, text, _ = api.send(
        "GET", path, watch=1, resourceVersion=start, labelSelector=f"only={api.namespace}", timeoutSeconds=1
    )

    assert code == 200
    assert (text["type"], text["object"]["metadata"]["namespace"]) == ("ADDED", api.namespace)


def test_a_watch_tells_a_pods_deletion_in_two_steps(api: Api) -> None:
    """Pod Lifecycle, termination of Pods: first marked with deletionTimestamp, then removed."""
    made = nowhere(api, "one")
    made["metadata"]["finalizers"] = ["conformance.example.com/hold"]
    api.create("pods", made)

    with api.watch("pods", resourceVersion=_now(api, "pods")) as watching:
        api.delete("pods", "one")
        watching.until(lambda e: any("deletionTimestamp" in x["object"]["metadata"] for x in e), "the mark")
        assert "DELETED" not in watching.verbs()
        api.patch("pods", "one", {"metadata": {"finalizers": None}})
        watching.until(lambda e: watching.verbs()[-1] == "DELETED", "the removal")


@pytest.mark.parametrize("version", ["x", "-1"])
def test_a_version_that_is_none_is_refused(api: Api, version: str) -> None:
    """API Concepts, resource versions: opaque, but not everything is one."""
    with pytest.raises(RefusedError) as told, api.watch("configmaps", resourceVersion=version):
        pass
    assert told.value.code >= 400
