"""Lists: selectors, pages, tables."""

from __future__ import annotations

import pytest

from tests.conformance.api import Api, RefusedError
from tests.conformance.manifests import config_map, nowhere

OF = {"a": {"tier": "front", "track": "stable"}, "b": {"tier": "front", "track": "canary"}, "c": {"tier": "back"}}


@pytest.mark.parametrize(
    ("selector", "names"),
    [
        ("tier=front", "ab"),
        ("tier==front,track!=canary", "a"),
        ("track!=canary", "acd"),
        ("tier in (front, back)", "abc"),
        ("tier notin (front)", "cd"),
        ("track", "ab"),
        ("!track", "cd"),
        ("tier=front,!track", ""),
    ],
)
def test_a_label_selector_chooses(api: Api, selector: str, names: str) -> None:
    """Labels and Selectors: equality- and set-based requirements, comma is AND; != and notin take the unlabelled."""
    for name, labels in (OF | {"d": {"other": "1"}}).items():
        api.create("configmaps", config_map(name, labels))

    found = {c["metadata"]["name"] for c in api.list("configmaps", selector)} - {"kube-root-ca.crt"}
    assert found == set(names)


def test_a_bad_label_selector_is_a_bad_request(api: Api) -> None:
    """Labels and Selectors: 400 for what cannot be parsed."""
    with pytest.raises(RefusedError) as told:
        api.list("configmaps", "tier in front")
    assert told.value.code == 400


@pytest.mark.parametrize(
    ("selector", "names"),
    [
        ("metadata.name=one", {"one"}),
        ("metadata.name!=one", {"two"}),
        ("status.phase=Pending", {"one", "two"}),
        ("status.phase=Running", set()),
        ("spec.nodeName=", {"one", "two"}),
        ("metadata.name=two,status.phase=Pending", {"two"}),
    ],
)
def test_a_field_selector_chooses(api: Api, selector: str, names: set[str]) -> None:
    """Field Selectors: =, ==, != and comma, on the fields that the resource supports."""
    api.create("pods", nowhere(api, "one"))
    api.create("pods", nowhere(api, "two"))

    assert {p["metadata"]["name"] for p in api.list("pods", fieldSelector=selector)} == names


def test_an_unsupported_field_selector_is_a_bad_request(api: Api) -> None:
    """Field Selectors, supported fields: 400 for any other."""
    with pytest.raises(RefusedError) as told:
        api.list("pods", fieldSelector="spec.containers=x")
    assert told.value.code == 400
    assert "field label not supported" in told.value.message


def test_pages_show_one_moment(api: Api) -> None:
    """API Concepts, retrieving large result sets in chunks: continue goes on as of the first page's version."""
    for number in range(7):
        api.create("configmaps", config_map(f"m{number}", {"in": "pages"}))

    path, names, versions, token = api.path("configmaps"), [], set(), ""
    while True:
        more = {"continue": token} if token else {}
        page = api.call("GET", path, labelSelector="in=pages", limit=3, **more)
        assert len(page["items"]) <= 3
        names += [c["metadata"]["name"] for c in page["items"]]
        versions.add(page["metadata"]["resourceVersion"])
        if not token:
            api.create("configmaps", config_map("m3a", {"in": "pages"}))
            api.delete("configmaps", "m6")
        token = page["metadata"].get("continue")
        if not token:
            break
    assert names == [f"m{number}" for number in range(7)]
    assert len(versions) == 1


def test_the_first_page_says_how_many_are_left(api: Api) -> None:
    """API Concepts, chunks: remainingItemCount, when no selector hides the number."""
    for number in range(4):
        api.create("secrets", {"metadata": {"name": f"s{number}"}})
    first = api.call("GET", api.path("secrets"), limit=1)

    assert first["metadata"]["remainingItemCount"] == 3


def test_a_nonsense_continue_token_is_refused(api: Api) -> None:
    """API Concepts, chunks: a continue value that the server did not give is refused."""
    with pytest.raises(RefusedError) as told:
        api.call("GET", api.path("configmaps"), limit=1, **{"continue": "nonsense"})
    assert told.value.code in (400, 410)


def test_a_list_leaves_the_kind_to_its_own_type(api: Api) -> None:
    """API Concepts, collections: the list is a ConfigMapList whose items carry no kind of their own."""
    api.create("configmaps", config_map("one"))
    found = api.call("GET", api.path("configmaps"))

    assert (found["kind"], found["apiVersion"]) == ("ConfigMapList", "v1")
    assert "kind" not in found["items"][0]
    assert found["metadata"]["resourceVersion"]


def test_a_table_has_the_columns_of_kubectl_get(api: Api) -> None:
    """API Concepts, receiving resources as Tables."""
    api.create("pods", nowhere(api, "one"))
    accept = "application/json;as=Table;v=v1;g=meta.k8s.io"
    found = api.call("GET", api.path("pods"), accept=accept)

    assert found["kind"] == "Table"
    columns = [column["name"] for column in found["columnDefinitions"]]
    assert columns[:5] == ["Name", "Ready", "Status", "Restarts", "Age"]
    assert found["rows"][0]["cells"][:4] == ["one", "0/1", "Pending", "0"]


def test_metadata_alone_can_be_asked_for(api: Api) -> None:
    """API Concepts, metadata-only fetches: PartialObjectMetadata."""
    api.create("configmaps", config_map("one", a="1"))
    accept = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io,application/json"
    found = api.get("configmaps", "one", accept=accept)

    assert (found["kind"], found["apiVersion"]) == ("PartialObjectMetadata", "meta.k8s.io/v1")
    assert found["metadata"]["name"] == "one"
    assert "data" not in found
