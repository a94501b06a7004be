"""What a patch does: the four types, with Kubernetes' merge keys, and server-side apply's ownership."""

from __future__ import annotations

import copy

import pytest
from conftest import config_map, deployment
from hypothesis import given
from hypothesis import strategies as st

from clusters.sandbox.errors import ApiError
from clusters.sandbox.patch import json_patch, merge, strategic

JSON = "application/json-patch+json"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(st.text(max_size=3), values, max_size=4)


@given(objects, objects)
def test_a_merge_patch_applied_twice_is_applied_once(target, patch):
    """RFC 7386 patches are idempotent and leave the patch itself alone."""
    before = copy.deepcopy(patch)

    once = merge(copy.deepcopy(target), patch)
    twice = merge(copy.deepcopy(once), patch)

    assert once == twice
    assert patch == before


@given(objects, st.text(max_size=3), values)
def test_a_json_patch_that_adds_can_be_taken_back(target, key, value):
    """add then remove (or replace with the old value) is the identity; keys are escaped."""
    path = "/" + key.replace("~", "~0").replace("/", "~1")
    undo = {"op": "replace", "path": path, "value": target[key]} if key in target else {"op": "remove", "path": path}

    changed = json_patch(copy.deepcopy(target), [{"op": "add", "path": path, "value": value}])

    assert changed[key] == value
    assert json_patch(copy.deepcopy(changed), [undo]) == target


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "test", "path": "/a", "value": 2},
        {"op": "remove", "path": "/none"},
        {"op": "replace", "path": "/none", "value": 1},
        {"op": "add", "path": "/list/9", "value": 1},
        {"op": "add", "path": "/a/b", "value": 1},
        {"op": "remove", "path": "/list/-1"},
        {"op": "paint", "path": "/a"},
        {"op": "add", "path": "/a"},
    ],
)
def test_a_json_patch_that_does_not_fit_is_refused(operation):
    """422, and the object in the store is as it was."""
    with pytest.raises(ApiError) as refused:
        json_patch({"a": 1, "list": [1]}, [operation])

    assert refused.value.code == 422


def test_json_patch_moves_and_copies():
    """The remaining operations."""
    operations = [
        {"op": "copy", "from": "/a", "path": "/b"},
        {"op": "move", "from": "/a", "path": "/list/-"},
        {"op": "test", "path": "/list/1", "value": {"x": 1}},
    ]

    assert json_patch({"a": {"x": 1}, "list": [0]}, operations) == {"b": {"x": 1}, "list": [0, {"x": 1}]}


def spec(**fields):
    return {"containers": [{"name": "main", "image": "i:1", "env": [{"name": "A", "value": "1"}], **fields}]}


def test_strategic_merge_merges_containers_by_name_and_env_by_name():
    """The lists of a pod have keys; what the patch does not name stays."""
    patch = {"containers": [{"name": "main", "env": [{"name": "B", "value": "2"}]}, {"name": "side", "image": "s:1"}]}

    changed = strategic(spec(), patch, "PodSpec")

    assert changed["containers"] == [
        {"name": "main", "image": "i:1", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]},
        {"name": "side", "image": "s:1"},
    ]


def test_strategic_merge_deletes_items_and_replaces_lists_by_directive():
    """`$patch: delete` takes one item, `$patch: replace` the whole list."""
    pod = spec(ports=[{"containerPort": 1}, {"containerPort": 2}])

    less = strategic(copy.deepcopy(pod), {"containers": [{"name": "main", "ports": [
        {"$patch": "delete", "containerPort": 1}]}]}, "PodSpec")  # fmt: skip
    replaced = strategic(pod, {"containers": [{"name": "main", "env": [
        {"$patch": "replace"}, {"name": "Z", "value": "9"}]}]}, "PodSpec")  # fmt: skip

    assert less["containers"][0]["ports"] == [{"containerPort": 2}]
    assert replaced["containers"][0]["env"] == [{"name": "Z", "value": "9"}]


def test_strategic_merge_replaces_lists_without_a_key():
    """args and tolerations are atomic."""
    pod = spec(args=["a", "b"]) | {"tolerations": [{"key": "x"}]}

    changed = strategic(pod, {"containers": [{"name": "main", "args": ["c"]}], "tolerations": []}, "PodSpec")

    assert changed["containers"][0]["args"] == ["c"]
    assert changed["tolerations"] == []


def test_strategic_merge_keeps_the_order_that_is_asked_for():
    """`$setElementOrder` as kubectl apply sends it; an item it does not know stays behind its neighbour."""
    pod = {"containers": [{"name": n} for n in ("a", "injected", "b")]}
    patch = {"$setElementOrder/containers": [{"name": "b"}, {"name": "new"}, {"name": "a"}]}

    changed = strategic(pod, patch | {"containers": [{"name": "new"}]}, "PodSpec")

    assert [c["name"] for c in changed["containers"]] == ["b", "new", "a", "injected"]


def test_strategic_merge_retains_only_the_keys_named():
    """How kubectl switches a strategy: what belongs to the old one goes."""
    old = {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}
    patch = {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}

    assert strategic(old, patch, "DeploymentSpec") == {"strategy": {"type": "Recreate"}}


def test_strategic_merge_takes_scalars_out_of_sets():
    """Finalizers are a set: merged by value, removed by directive."""
    meta = {"finalizers": ["a", "b"]}

    more = strategic(copy.deepcopy(meta), {"finalizers": ["b", "c"]}, "ObjectMeta")
    less = strategic(meta, {"$deleteFromPrimitiveList/finalizers": ["a"]}, "ObjectMeta")

    assert more["finalizers"] == ["a", "b", "c"]
    assert less["finalizers"] == ["b"]


@pytest.fixture
def made(http, namespace):
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
    http.ok("POST", path, deployment("a"))
    return path + "/a"


def env_of(obj):
    return {e["name"]: e["value"] for e in obj["spec"]["template"]["spec"]["containers"][0]["env"]}


def test_the_three_patch_types_over_http(http, made):
    """Merge replaces lists, strategic merges them, JSON patch edits in place."""
    template = {
        "spec": {"template": {"spec": {"containers": [{"name": "main", "env": [{"name": "C", "value": "3"}]}]}}}
    }

    merged = http.ok("PATCH", made, template, content_type=STRATEGIC)
    operations = [{"op": "replace", "path": "/spec/template/spec/containers/0/env/0/value", "value": "9"}]
    edited = http.ok("PATCH", made, operations, content_type=JSON)

    assert env_of(merged) == {"A": "1", "B": "2", "C": "3"}
    assert env_of(edited)["A"] == "9"
    status, answer = http("PATCH", made, template, content_type=MERGE)
    assert status == 422
    assert "spec.template.spec.containers[0].image: Required value" in answer["message"]


def test_an_unknown_patch_type_is_415(http, made):
    """The accepted ones are listed."""
    status, answer = http("PATCH", made, {}, content_type="application/json")

    assert (status, answer["reason"]) == (415, "UnsupportedMediaType")
    assert STRATEGIC in answer["message"]


def test_a_patch_with_a_stale_revision_is_409(http, made):
    """Optimistic locking works for patches too."""
    status, answer = http("PATCH", made, {"metadata": {"resourceVersion": "1"}}, content_type=MERGE)

    assert (status, answer["reason"]) == (409, "Conflict")


def applied(http, path, body, manager, **options):
    return http("PATCH", path, body, content_type=APPLY, fieldManager=manager, **options)


def test_apply_creates_what_is_not_there(http, namespace):
    """And the manager owns what it set."""
    path = f"/api/v1/namespaces/{namespace}/configmaps/a"

    status, answer = applied(http, path, config_map("a", k="v"), "tool")

    assert status == 201
    (entry,) = answer["metadata"]["managedFields"]
    assert (entry["manager"], entry["operation"]) == ("tool", "Apply")
    assert entry["fieldsV1"] == {"f:data": {"f:k": {}}}


def test_two_managers_share_an_object_until_they_disagree(http, namespace):
    """Different fields are fine; the same field with another value is a conflict that names the holder."""
    path = f"/api/v1/namespaces/{namespace}/configmaps/a"
    applied(http, path, config_map("a", k="v"), "one")

    assert applied(http, path, config_map("a", other="x"), "two")[0] == 200
    assert applied(http, path, config_map("a", k="v", other="x"), "two")[0] == 200
    status, answer = applied(http, path, config_map("a", k="changed"), "two")

    assert (status, answer["reason"]) == (409, "Conflict")
    assert answer["message"] == 'Apply failed with 1 conflict: conflict with "one": .data.k'
    assert answer["details"]["causes"] == [
        {"reason": "FieldManagerConflict", "message": 'conflict with "one"', "field": ".data.k"}
    ]


def test_force_takes_a_field_over(http, namespace):
    """Afterwards the other manager does not own it any more."""
    path = f"/api/v1/namespaces/{namespace}/configmaps/a"
    applied(http, path, config_map("a", k="v"), "one")

    status, answer = applied(http, path, config_map("a", k="mine"), "two", force="true")

    assert (status, answer["data"]) == (200, {"k": "mine"})
    assert [entry["manager"] for entry in answer["metadata"]["managedFields"]] == ["two"]


def test_what_a_manager_no_longer_applies_goes(http, namespace):
    """Unless another manager owns it too."""
    path = f"/api/v1/namespaces/{namespace}/configmaps/a"
    applied(http, path, config_map("a", mine="1", shared="1"), "one")
    applied(http, path, config_map("a", shared="1"), "two")

    _, answer = applied(http, path, config_map("a"), "one")

    assert answer["data"] == {"shared": "1"}


def test_apply_merges_containers_and_leaves_what_others_set(http, made):
    """An update by somebody else is owned by them; apply conflicts with it and keeps what it does not name."""
    template = {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "main", "image": "none:2"}]}}
    wish = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"}}
    wish |= {"spec": {"selector": {"matchLabels": {"app": "a"}}, "template": template}}

    status, answer = applied(http, made, wish, "tool")
    assert status == 409
    assert '.spec.template.spec.containers[name="main"].image' in answer["message"]

    status, answer = applied(http, made, wish, "tool", force="true")
    assert status == 200
    assert env_of(answer) == {"A": "1", "B": "2"}
    assert answer["spec"]["template"]["spec"]["containers"][0]["image"] == "none:2"


def test_an_empty_apply_changes_nothing_the_second_time(http, namespace):
    """Applying the same again writes nothing."""
    path = f"/api/v1/namespaces/{namespace}/configmaps/a"
    _, first = applied(http, path, config_map("a", k="v"), "tool")

    _, second = applied(http, path, config_map("a", k="v"), "tool")

    assert first["metadata"]["resourceVersion"] == second["metadata"]["resourceVersion"]
