"""Patches: JSON patch, merge patch, strategic merge patch, server-side apply."""

from __future__ import annotations

import pytest

from tests.conformance.api import Api, Object, RefusedError
from tests.conformance.manifests import config_map, unplaced


def refused(code: int) -> pytest.RaisesExc[RefusedError]:
    return pytest.RaisesExc(RefusedError, check=lambda error: error.code == code)


def _containers(deployment: Object) -> list[Object]:
    return deployment["spec"]["template"]["spec"]["containers"]


def test_a_json_patch_adds_replaces_and_removes(api: Api) -> None:
    """API Concepts, Patch: application/json-patch+json is RFC 6902, its operations in order."""
    api.create("configmaps", config_map("one", a="1", b="2"))

    operations = [
        {"op": "add", "path": "/data/c", "value": "3"},
        {"op": "replace", "path": "/data/a", "value": "9"},
        {"op": "remove", "path": "/data/b"},
        {"op": "copy", "from": "/data/c", "path": "/data/d"},
    ]
    assert api.patch("configmaps", "one", operations, "json")["data"] == {"a": "9", "c": "3", "d": "3"}


def test_a_json_patch_whose_test_fails_changes_nothing(api: Api) -> None:
    """API Concepts, Patch (RFC 6902, test): all operations or none; 422 when one fails."""
    before = api.create("configmaps", config_map("one", a="1"))

    operations = [{"op": "add", "path": "/data/b", "value": "2"}, {"op": "test", "path": "/data/a", "value": "other"}]
    with refused(422):
        api.patch("configmaps", "one", operations, "json")
    assert api.get("configmaps", "one") == before


def test_a_json_patch_escapes_slashes_in_keys(api: Api) -> None:
    """API Concepts, Patch (RFC 6901): ~1 stands for a slash in a key."""
    made = config_map("one") | {"metadata": {"name": "one", "annotations": {"a/b": "1", "c": "2"}}}
    api.create("configmaps", made)

    changed = api.patch("configmaps", "one", [{"op": "remove", "path": "/metadata/annotations/a~1b"}], "json")
    assert changed["metadata"]["annotations"] == {"c": "2"}


def test_null_in_a_merge_patch_deletes_a_key(api: Api) -> None:
    """API Concepts, Patch: application/merge-patch+json is RFC 7386."""
    api.create("configmaps", config_map("one", a="1", b="2"))

    assert api.patch("configmaps", "one", {"data": {"a": None, "c": "3"}})["data"] == {"b": "2", "c": "3"}


def test_a_merge_patch_replaces_lists_whole(api: Api) -> None:
    """Update API Objects in Place, JSON merge patch: a list in the patch replaces the list."""
    api.create("deployments", unplaced(api, "one"))
    container = {"name": "other", "image": "other:1"}

    patch = {"spec": {"template": {"spec": {"containers": [container]}}}}
    assert [c["name"] for c in _containers(api.patch("deployments", "one", patch))] == ["other"]


def test_a_strategic_patch_merges_containers_by_name(api: Api) -> None:
    """Update API Objects in Place, strategic merge patch: patchMergeKey of containers is name."""
    api.create("deployments", unplaced(api, "one"))

    patch = {"spec": {"template": {"spec": {"containers": [{"name": "second", "image": "second:1"}]}}}}
    names = {c["name"] for c in _containers(api.patch("deployments", "one", patch, "strategic"))}
    assert names == {"main", "second"}


def test_a_strategic_patch_merges_env_by_name(api: Api) -> None:
    """Update API Objects in Place, strategic merge patch: env is merged by name, in the named container."""
    env = [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]
    api.create("deployments", unplaced(api, "one", env=env))

    container = {"name": "main", "env": [{"name": "B", "value": "9"}, {"name": "C", "value": "3"}]}
    patch = {"spec": {"template": {"spec": {"containers": [container]}}}}
    (changed,) = _containers(api.patch("deployments", "one", patch, "strategic"))
    assert {e["name"]: e["value"] for e in changed["env"] if "value" in e} == {"A": "1", "B": "9", "C": "3"}
    assert changed["command"]


def test_a_strategic_patch_deletes_an_element_by_its_key(api: Api) -> None:
    """Strategic Merge Patch (sig-api-machinery), $patch: delete removes the element with that merge key."""
    api.create("deployments", unplaced(api, "one", env=[{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]))

    container = {"name": "main", "env": [{"name": "A", "$patch": "delete"}]}
    patch = {"spec": {"template": {"spec": {"containers": [container]}}}}
    (changed,) = _containers(api.patch("deployments", "one", patch, "strategic"))
    assert [e["name"] for e in changed["env"]] == ["POD_IP", "B"]


def test_a_strategic_patch_may_replace_a_merged_list(api: Api) -> None:
    """Strategic Merge Patch (sig-api-machinery), $patch: replace puts the patch's elements in place of the list."""
    api.create("deployments", unplaced(api, "one"))

    containers = [{"name": "only", "image": "only:1"}, {"$patch": "replace"}]
    patch = {"spec": {"template": {"spec": {"containers": containers}}}}
    assert [c["name"] for c in _containers(api.patch("deployments", "one", patch, "strategic"))] == ["only"]


def test_a_strategic_patch_replaces_lists_without_a_merge_key(api: Api) -> None:
    """Update API Objects in Place, strategic merge patch: tolerations and command have no patch strategy."""
    spec = {"tolerations": [{"key": "a", "operator": "Exists"}], "nodeSelector": {"exists": "nowhere"}}
    made = unplaced(api, "one")
    made["spec"]["template"]["spec"] |= spec
    api.create("deployments", made)

    patch = {"spec": {"template": {"spec": {"tolerations": [{"key": "b", "operator": "Exists"}]}}}}
    changed = api.patch("deployments", "one", patch, "strategic")
    assert [t["key"] for t in changed["spec"]["template"]["spec"]["tolerations"]] == ["b"]


def test_retain_keys_clears_the_fields_of_the_other_strategy(api: Api) -> None:
    """Update API Objects in Place, retainKeys: of a Deployment's strategy only the listed keys stay."""
    api.create("deployments", unplaced(api, "one"))

    patch = {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}
    assert api.patch("deployments", "one", patch, "strategic")["spec"]["strategy"] == {"type": "Recreate"}


def test_primitive_lists_with_merge_strategy_grow_and_shrink(api: Api) -> None:
    """Strategic Merge Patch (sig-api-machinery): finalizers merge as a set; $deleteFromPrimitiveList removes."""
    made = config_map("one")
    made["metadata"]["finalizers"] = ["example.com/a"]
    api.create("configmaps", made)

    more = api.patch("configmaps", "one", {"metadata": {"finalizers": ["example.com/b"]}}, "strategic")
    assert sorted(more["metadata"]["finalizers"]) == ["example.com/a", "example.com/b"]

    both = ["example.com/a", "example.com/b"]
    fewer = api.patch("configmaps", "one", {"metadata": {"$deleteFromPrimitiveList/finalizers": both}}, "strategic")
    assert not fewer["metadata"].get("finalizers")


def test_apply_creates_and_remembers_its_manager(api: Api) -> None:
    """Server-Side Apply, field management: the applier owns the fields that it named."""
    made = api.apply("configmaps", config_map("one", a="1"), "first")

    (entry,) = made["metadata"]["managedFields"]
    assert (entry["manager"], entry["operation"]) == ("first", "Apply")
    assert entry["fieldsV1"]["f:data"] == {".": {}, "f:a": {}} or entry["fieldsV1"]["f:data"] == {"f:a": {}}


def test_a_field_that_is_no_longer_applied_is_removed(api: Api) -> None:
    """Server-Side Apply: fields that only this manager owned and leaves out are removed."""
    api.apply("configmaps", config_map("one", a="1", b="2"), "first")

    assert api.apply("configmaps", config_map("one", a="1"), "first")["data"] == {"a": "1"}


def test_a_field_that_two_managers_own_stays_until_both_left_it(api: Api) -> None:
    """Server-Side Apply, shared ownership: the same value by two managers is no conflict."""
    api.apply("configmaps", config_map("one", a="1"), "first")
    api.apply("configmaps", config_map("one", a="1", b="2"), "second")

    assert api.apply("configmaps", config_map("one"), "first")["data"] == {"a": "1", "b": "2"}
    assert api.apply("configmaps", config_map("one", b="2"), "second")["data"] == {"b": "2"}


def test_applying_another_managers_field_conflicts_until_forced(api: Api) -> None:
    """Server-Side Apply, conflicts: 409 names field and manager; force takes the field over."""
    api.apply("configmaps", config_map("one", a="1"), "first")

    with pytest.raises(RefusedError) as told:
        api.apply("configmaps", config_map("one", a="2"), "second")
    assert told.value.code == 409
    cause = told.value.status["details"]["causes"][0]
    assert (cause["reason"], cause["field"]) == ("FieldManagerConflict", ".data.a")
    assert 'conflict with "first"' in cause["message"]

    forced = api.apply("configmaps", config_map("one", a="2"), "second", force="true")
    assert forced["data"] == {"a": "2"}
    owners = {e["manager"]: e["fieldsV1"].get("f:data", {}) for e in forced["metadata"]["managedFields"]}
    assert "f:a" in owners["second"]
    assert "f:a" not in owners.get("first", {})


def test_an_update_takes_fields_from_their_applier(api: Api) -> None:
    """Server-Side Apply, managers: a changed value belongs to who changed it; the applier then conflicts."""
    api.apply("configmaps", config_map("one", a="1"), "first")
    api.patch("configmaps", "one", {"data": {"a": "2"}}, fieldManager="someone")

    with refused(409):
        api.apply("configmaps", config_map("one", a="1"), "first")


def test_apply_needs_a_field_manager(api: Api) -> None:
    """Server-Side Apply: fieldManager is required for apply."""
    body = {"apiVersion": "v1", "kind": "ConfigMap"} | config_map("one")
    with pytest.raises(RefusedError) as told:
        api.patch("configmaps", "one", body, "apply")
    assert told.value.code in (400, 422)
    assert "fieldManager" in told.value.message


def test_an_unknown_patch_type_is_unsupported(api: Api) -> None:
    """API Concepts, Patch: 415 for a content type that is no patch."""
    api.create("configmaps", config_map("one"))

    code, status, _ = api.send("PATCH", api.path("configmaps", "one"), {"data": {}}, content_type="application/json")
    assert (code, status["reason"]) == (415, "UnsupportedMediaType")


def test_a_patch_that_changes_nothing_writes_nothing(api: Api) -> None:
    """API Concepts, Patch: an object that stays the same keeps its resourceVersion."""
    before = api.create("configmaps", config_map("one", a="1"))

    after = api.patch("configmaps", "one", {"data": {"a": "1"}})
    assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]


def test_a_patch_that_names_an_old_version_conflicts(api: Api) -> None:
    """API Concepts, Patch: with metadata.resourceVersion in it a patch is a conditional write, 409 when stale."""
    before = api.create("configmaps", config_map("one", a="1"))
    api.patch("configmaps", "one", {"data": {"a": "2"}})

    stale = {"metadata": {"resourceVersion": before["metadata"]["resourceVersion"]}, "data": {"a": "3"}}
    with refused(409):
        api.patch("configmaps", "one", stale)


def test_a_patch_of_an_immutable_field_is_invalid(api: Api) -> None:
    """Deployments, label selector updates: .spec.selector is immutable in apps/v1."""
    api.create("deployments", unplaced(api, "one"))

    with pytest.raises(RefusedError) as told:
        api.patch("deployments", "one", {"spec": {"selector": {"matchLabels": {"app": "other"}}}})
    assert told.value.code == 422
    assert "field is immutable" in told.value.message


def test_a_patch_of_what_is_not_there_is_not_found(api: Api) -> None:
    """API Concepts, Patch: only apply creates."""
    with refused(404):
        api.patch("configmaps", "nobody", {"data": {"a": "1"}})
