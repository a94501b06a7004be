"""Custom Resources: a CustomResourceDefinition makes a resource like any other, and takes it away again."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conformance.api import Api, Object, RefusedError, condition, wait_for

DEFINITIONS = "customresourcedefinitions"
SPEC: Object = {
    "type": "object",
    "required": ["size"],
    "properties": {
        "size": {"type": "integer", "minimum": 1, "maximum": 10},
        "color": {"type": "string", "enum": ["red", "blue"], "default": "red"},
        "name": {"type": "string", "pattern": "^[a-z]+$"},
        "parts": {"type": "array", "maxItems": 2, "items": {"type": "string"}},
        "port": {"x-kubernetes-int-or-string": True},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    },
}
SCHEMA: Object = {
    "type": "object",
    "properties": {
        "spec": SPEC,
        "status": {"type": "object", "properties": {"done": {"type": "integer"}}},
    },
}


class Gadgets:
    """The paths of one definition's instances."""

    def __init__(self, api: Api, definition: Object) -> None:
        self.api, spec = api, definition["spec"]
        self.definition, self.group = definition["metadata"]["name"], spec["group"]
        self.scope = f"/namespaces/{api.namespace}" if spec["scope"] == "Namespaced" else ""

    def path(self, name: str = "", sub: str = "", version: str = "v1") -> str:
        return f"/apis/{self.group}/{version}{self.scope}/gadgets" + (f"/{name}" if name else "") + (sub and f"/{sub}")

    def make(self, name: str, spec: Any, version: str = "v1", **more: Any) -> Object:
        made = {"apiVersion": f"{self.group}/{version}", "kind": "Gadget", "metadata": {"name": name}, "spec": spec}
        return self.api.call("POST", self.path(version=version), made | more)

    def get(self, name: str, version: str = "v1", **options: Any) -> Any:
        return self.api.call("GET", self.path(name, version=version), **options)

    def merge(self, name: str, patch: Any, sub: str = "") -> Object:
        return self.api.call("PATCH", self.path(name, sub), patch, content_type="application/merge-patch+json")


@contextlib.contextmanager
def gadgets(api: Api, scope: str = "Namespaced", **version: Any) -> Iterator[Gadgets]:
    """A definition of Gadgets that is served; it goes at the end. `version`: more of its only version."""
    group = f"{api.namespace}.example.com"
    first = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": SCHEMA}} | version
    more = version.pop("others", [])
    first.pop("others", None)
    names = {"plural": "gadgets", "kind": "Gadget", "shortNames": ["gd"], "categories": ["toys"]}
    spec = {"group": group, "scope": scope, "names": names, "versions": [first, *more]}
    made = {"kind": "CustomResourceDefinition", "metadata": {"name": f"gadgets.{group}"}, "spec": spec}
    found = Gadgets(api, api.create(DEFINITIONS, made))
    try:
        api.until(DEFINITIONS, found.definition, lambda c: condition(c, "Established") == "True", "Established")
        # Established comes before every server has taken the path up.
        wait_for(lambda: api.send("GET", found.path())[0] == 200, "the new path")
        yield found
    finally:
        with contextlib.suppress(RefusedError):
            api.delete(DEFINITIONS, found.definition)


def test_a_definition_is_established_and_its_names_accepted(api: Api) -> None:
    """Status conditions, accepted names with their defaults, stored versions."""
    with gadgets(api) as made:
        found = api.get(DEFINITIONS, made.definition)

        assert condition(found, "NamesAccepted") == condition(found, "Established") == "True"
        names = found["status"]["acceptedNames"]
        assert (names["singular"], names["listKind"]) == ("gadget", "GadgetList")
        assert found["status"]["storedVersions"] == ["v1"]


def test_a_definition_is_found_by_discovery(api: Api) -> None:
    """API discovery lists the group and the resource with its names, scope and verbs."""
    with gadgets(api) as made:
        listed = wait_for(
            lambda: [r for r in api.call("GET", f"/apis/{made.group}/v1")["resources"] if r["name"] == "gadgets"],
            "the resource in discovery",
        )[0]
        groups = wait_for(
            lambda: [g for g in api.call("GET", "/apis")["groups"] if g["name"] == made.group], "the group"
        )

        assert (listed["kind"], listed["namespaced"], listed["singularName"]) == ("Gadget", True, "gadget")
        assert (listed["shortNames"], listed["categories"]) == (["gd"], ["toys"])
        assert {"create", "delete", "get", "list", "patch", "update", "watch"} <= set(listed["verbs"])
        assert groups[0]["preferredVersion"]["version"] == "v1"


def test_instances_are_created_read_listed_patched_and_deleted(api: Api) -> None:
    """Every verb, with uid, revision and generation as of any object."""
    with gadgets(api) as made:
        one = made.make("one", {"size": 3})
        assert one["metadata"]["uid"] and one["metadata"]["generation"] == 1
        assert made.get("one")["spec"]["size"] == 3
        listed = api.call("GET", made.path())
        assert (listed["kind"], [g["metadata"]["name"] for g in listed["items"]]) == ("GadgetList", ["one"])

        changed = made.merge("one", {"spec": {"size": 4}})
        assert (changed["spec"]["size"], changed["metadata"]["generation"]) == (4, 2)
        changed["spec"]["size"] = 5
        assert api.call("PUT", made.path("one"), changed)["spec"]["size"] == 5

        api.call("DELETE", made.path("one"))
        assert api.send("GET", made.path("one"))[0] == 404


def test_instances_are_watched(api: Api) -> None:
    """Watches work on custom resources, with their apiVersion and kind."""
    with gadgets(api) as made:
        revision = api.call("GET", made.path())["metadata"]["resourceVersion"]
        made.make("one", {"size": 3})
        made.merge("one", {"spec": {"size": 4}})
        api.call("DELETE", made.path("one"))

        _, text, _ = api.send("GET", made.path(), watch=1, resourceVersion=revision, timeoutSeconds=2)

        events = [json.loads(line) for line in text.splitlines()] if isinstance(text, str) else [text]
        assert [e["type"] for e in events] == ["ADDED", "MODIFIED", "DELETED"]
        assert events[0]["object"]["kind"] == "Gadget"
        assert events[1]["object"]["spec"]["size"] == 4


def test_unknown_fields_are_pruned(api: Api) -> None:
    """Field pruning: what no schema names is not kept, but below preserve-unknown-fields and additionalProperties."""
    with gadgets(api) as made:
        spec = {"size": 3, "wrong": 1, "free": {"any": {"thing": 1}}, "labels": {"a": "b"}}

        kept = made.make("one", spec, other=1)

        assert "other" not in kept
        assert kept["spec"] == {"size": 3, "color": "red", "free": {"any": {"thing": 1}}, "labels": {"a": "b"}}


def test_unknown_fields_are_refused_when_asked_to(api: Api) -> None:
    """fieldValidation=Strict: 400 with the field."""
    with gadgets(api) as made:
        body = {"apiVersion": f"{made.group}/v1", "kind": "Gadget", "metadata": {"name": "one"}}

        with pytest.raises(RefusedError) as told:
            api.call("POST", made.path(), body | {"spec": {"size": 3, "wrong": 1}}, fieldValidation="Strict")

        assert told.value.code == 400
        assert 'unknown field "spec.wrong"' in told.value.message


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({}, "spec.size: Required value"),
        ({"size": 0}, "spec.size: Invalid value: 0: spec.size in body should be greater than or equal to 1"),
        ({"size": 11}, "spec.size: Invalid value: 11: spec.size in body should be less than or equal to 10"),
        ({"size": "3"}, 'spec.size: Invalid value: "string": spec.size in body must be of type integer: "string"'),
        ({"size": 3, "color": "green"}, 'spec.color: Unsupported value: "green": supported values: "red", "blue"'),
        ({"size": 3, "name": "A1"}, "spec.name in body should match '^[a-z]+$'"),
        ({"size": 3, "parts": ["a", "b", "c"]}, "spec.parts: Too many: 3: must have at most 2 items"),
        ({"size": 3, "parts": [1]}, "spec.parts[0] in body must be of type string"),
        ({"size": 3, "labels": {"a": 1}}, "spec.labels.a in body must be of type string"),
    ],
)
def test_what_breaks_the_schema_is_refused(api: Api, spec: Object, said: str) -> None:
    """Validation: 422 that names the field and the rule."""
    with gadgets(api) as made:
        with pytest.raises(RefusedError) as told:
            made.make("one", spec)

        assert (told.value.code, told.value.reason) == (422, "Invalid")
        assert said in told.value.message
        assert told.value.message.startswith(f'Gadget.{made.group} "one" is invalid: ')


def test_defaults_are_filled_in(api: Api) -> None:
    """Defaulting: missing fields take the schema's default; int-or-string takes both."""
    with gadgets(api) as made:
        assert made.make("one", {"size": 3, "port": "http"})["spec"] == {"size": 3, "color": "red", "port": "http"}
        assert made.make("two", {"size": 3, "port": 80, "color": "blue"})["spec"]["color"] == "blue"


def test_status_is_written_through_its_subresource_alone(api: Api) -> None:
    """Status subresource: the main path ignores status, /status ignores the rest; the generation follows the spec."""
    with gadgets(api, subresources={"status": {}}) as made:
        assert "status" not in made.make("one", {"size": 3}, status={"done": 1})
        assert "status" not in made.merge("one", {"status": {"done": 1}})

        after = made.merge("one", {"status": {"done": 2}, "spec": {"size": 9}}, "status")

        assert (after["status"], after["spec"]["size"]) == ({"done": 2}, 3)
        assert after["metadata"]["generation"] == 1
        with pytest.raises(RefusedError) as told:
            made.merge("one", {"status": {"done": "x"}}, "status")
        assert told.value.code == 422


def test_without_the_subresource_status_is_a_field(api: Api) -> None:
    """No status subresource: 404 there, status is kept from the main path, and counts for the generation."""
    with gadgets(api) as made:
        assert made.make("one", {"size": 3}, status={"done": 1})["status"] == {"done": 1}
        assert made.merge("one", {"status": {"done": 2}})["metadata"]["generation"] == 2
        assert made.merge("one", {"metadata": {"labels": {"a": "b"}}})["metadata"]["generation"] == 2
        assert api.send("GET", made.path("one", "status"))[0] == 404


def test_printer_columns_are_what_tables_show(api: Api) -> None:
    """Additional printer columns: names, types, priorities and values by JSON path."""
    columns = [
        {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
        {"name": "Color", "type": "string", "jsonPath": ".spec.color", "priority": 1},
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    ]
    with gadgets(api, additionalPrinterColumns=columns) as made:
        made.make("one", {"size": 3})

        table = api.call("GET", made.path(), accept="application/json;as=Table;v=v1;g=meta.k8s.io")

        assert [(c["name"], c["type"], c["priority"]) for c in table["columnDefinitions"]] == [
            ("Name", "string", 0), ("Size", "integer", 0), ("Color", "string", 1), ("Age", "date", 0),
        ]  # fmt: skip
        assert table["rows"][0]["cells"][:3] == ["one", 3, "red"]


def test_instances_of_a_cluster_wide_kind_have_no_namespace(api: Api) -> None:
    """scope: Cluster."""
    with gadgets(api, scope="Cluster") as made:
        assert "namespace" not in made.make("one", {"size": 3})["metadata"]
        path = f"/apis/{made.group}/v1/namespaces/{api.namespace}/gadgets"
        assert api.send("GET", path)[0] == 404


def test_every_served_version_shows_the_same_object(api: Api) -> None:
    """Versions with conversion None: only the apiVersion differs; one that is not served is 404."""
    schema = {"schema": {"openAPIV3Schema": SCHEMA}, "storage": False}
    others = [{"name": "v1beta1", "served": True} | schema, {"name": "v1alpha1", "served": False} | schema]
    with gadgets(api, others=others) as made:
        wait_for(lambda: api.send("GET", made.path(version="v1beta1"))[0] == 200, "the other version")
        made.make("one", {"size": 3}, version="v1beta1")

        new, old = made.get("one"), made.get("one", version="v1beta1")

        assert (new["apiVersion"], old["apiVersion"]) == (f"{made.group}/v1", f"{made.group}/v1beta1")
        assert new["spec"] == old["spec"] and new["metadata"]["uid"] == old["metadata"]["uid"]
        assert api.send("GET", made.path(version="v1alpha1"))[0] == 404


def test_strategic_merge_is_not_for_custom_resources(api: Api) -> None:
    """Strategic merge patch is not supported for custom resources: 415."""
    with gadgets(api) as made:
        made.make("one", {"size": 3})
        sent = {"content_type": "application/strategic-merge-patch+json"}
        assert api.send("PATCH", made.path("one"), {"spec": {"size": 4}}, **sent)[0] == 415


def test_server_side_apply_works_on_custom_resources(api: Api) -> None:
    """Field managers own what they apply, and conflict."""
    with gadgets(api) as made:
        sent = {"content_type": "application/apply-patch+yaml"}
        wish = {"apiVersion": f"{made.group}/v1", "kind": "Gadget", "metadata": {"name": "one"}, "spec": {"size": 3}}
        api.call("PATCH", made.path("one"), wish, fieldManager="a", **sent)

        code, told, _ = api.send("PATCH", made.path("one"), wish | {"spec": {"size": 4}}, fieldManager="b", **sent)

        assert code == 409
        assert 'conflict with "a"' in told["message"] and ".spec.size" in told["message"]


def test_deleting_the_definition_deletes_the_instances(api: Api) -> None:
    """The definition waits for its instances; then the path is gone, and a new definition begins empty."""
    with gadgets(api) as made:
        one = made.make("one", {"size": 3})
        made.merge("one", {"metadata": {"finalizers": ["example.com/hold"]}})

        api.delete(DEFINITIONS, made.definition)
        wait_for(lambda: "deletionTimestamp" in made.get("one")["metadata"], "the instance's deletion")
        leaving = api.get(DEFINITIONS, made.definition)
        assert "customresourcecleanup.apiextensions.k8s.io" in leaving["metadata"]["finalizers"]

        made.merge("one", {"metadata": {"finalizers": None}})
        api.gone(DEFINITIONS, made.definition)
        wait_for(lambda: api.send("GET", made.path())[0] == 404, "404 at its path")
        assert one["metadata"]["uid"]


@pytest.mark.long
def test_owners_take_their_custom_dependents_with_them(api: Api) -> None:
    """Garbage collection knows custom resources."""
    with gadgets(api) as made:
        owner = api.create("configmaps", {"metadata": {"name": "owner"}})
        reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"]}
        one = made.make("one", {"size": 3})
        made.merge("one", {"metadata": {"ownerReferences": [reference]}})
        # The collector learns of a new resource some time after it came (half a minute on a real cluster).
        api.delete("configmaps", "owner")

        wait_for(lambda: api.send("GET", made.path("one"))[0] == 404, "the dependent's end", 180)
        assert one["metadata"]["uid"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"metadata": {"name": "wrong.example.com"}}, 'must be spec.names.plural+"."+spec.group'),
        ({"storage": False}, "must have exactly one version marked as storage version"),
        ({"schema": None}, "spec.versions[0].schema.openAPIV3Schema: Required value"),
        ({"schema": {"openAPIV3Schema": {"type": "string"}}}, "must be object at the root"),
        (
            {"schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"description": "no type"}}}}},
            "properties[spec].type: Required value: must not be empty for specified object fields",
        ),
    ],
)
def test_a_definition_that_cannot_be_served_is_refused(api: Api, change: Object, said: str) -> None:
    """Structural schemas, the naming rule and the storage version are demanded: 422."""
    group = f"{api.namespace}.example.com"
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": SCHEMA}}
    version |= {k: v for k, v in change.items() if k != "metadata"}
    spec = {"group": group, "scope": "Namespaced", "names": {"plural": "gadgets", "kind": "Gadget"}}
    made = {"metadata": {"name": f"gadgets.{group}"}, "spec": spec | {"versions": [version]}}

    with pytest.raises(RefusedError) as told:
        api.create(DEFINITIONS, made | {"metadata": change.get("metadata", made["metadata"])})

    assert told.value.code == 422
    assert said in told.value.message
