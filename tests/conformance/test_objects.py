"""Objects: created, named, versioned, replaced, checked."""

from __future__ import annotations

import pytest

from tests.conformance.api import Api, RefusedError
from tests.conformance.manifests import config_map, nowhere, unplaced


def test_generate_name_makes_names_of_its_own(api: Api) -> None:
    """API Conventions, metadata.generateName: the name begins with it and gets a random suffix."""
    made = {api.create("configmaps", {"metadata": {"generateName": "some-"}})["metadata"]["name"] for _ in range(3)}

    assert len(made) == 3
    assert all(name.startswith("some-") and len(name) == len("some-") + 5 for name in made)


def test_a_dry_run_answers_and_keeps_nothing(api: Api) -> None:
    """API Concepts, Dry-run: every stage but the storing."""
    answer = api.create("deployments", unplaced(api, "one", 1), dryRun="All")

    assert answer["metadata"]["uid"]
    assert answer["spec"]["strategy"]["type"] == "RollingUpdate"
    assert api.find("deployments", "one") is None


def test_a_dry_run_refuses_as_the_real_run_would(api: Api) -> None:
    """API Concepts, Dry-run: validation is part of it."""
    with pytest.raises(RefusedError) as told:
        api.create("deployments", unplaced(api, "one", -1), dryRun="All")
    assert told.value.code == 422


def test_a_second_object_of_the_same_name_already_exists(api: Api) -> None:
    """API Conventions, response codes: 409 AlreadyExists for POST."""
    api.create("configmaps", config_map("one"))

    with pytest.raises(RefusedError) as told:
        api.create("configmaps", config_map("one"))
    assert (told.value.code, told.value.reason) == (409, "AlreadyExists")
    assert told.value.message == 'configmaps "one" already exists'


@pytest.mark.parametrize("name", ["With-Capitals", "under_score", "-dash", "a" * 254])
def test_a_name_must_be_a_dns_subdomain(api: Api, name: str) -> None:
    """Object Names and IDs, DNS subdomain names: 422 Invalid."""
    with pytest.raises(RefusedError) as told:
        api.create("configmaps", config_map(name))
    assert (told.value.code, told.value.reason) == (422, "Invalid")
    assert told.value.status["details"]["causes"][0]["field"] == "metadata.name"


def test_a_stale_update_conflicts(api: Api) -> None:
    """API Conventions, concurrency control: 409 Conflict when resourceVersion is not the newest."""
    before = api.create("configmaps", config_map("one", a="1"))
    api.update("configmaps", before | {"data": {"a": "2"}})

    with pytest.raises(RefusedError) as told:
        api.update("configmaps", before | {"data": {"a": "3"}})
    assert (told.value.code, told.value.reason) == (409, "Conflict")
    assert "the object has been modified" in told.value.message


def test_an_update_without_a_version_is_unconditional(api: Api) -> None:
    """API Conventions, concurrency control: without resourceVersion the object is replaced."""
    api.create("configmaps", config_map("one", a="1"))

    assert api.update("configmaps", config_map("one", b="2"))["data"] == {"b": "2"}


def test_an_update_of_what_is_not_there_is_not_found(api: Api) -> None:
    """API Conventions, response codes: 404 with the resource and the name in details."""
    with pytest.raises(RefusedError) as told:
        api.update("configmaps", config_map("nobody"))
    assert (told.value.code, told.value.reason) == (404, "NotFound")
    assert told.value.status["details"] == {"name": "nobody", "kind": "configmaps"}


def test_generation_counts_changes_of_the_spec_only(api: Api) -> None:
    """API Conventions, metadata.generation: labels do not count, the desired state does."""
    made = api.create("deployments", unplaced(api, "one"))
    assert made["metadata"]["generation"] == 1

    labelled = api.patch("deployments", "one", {"metadata": {"labels": {"a": "b"}}})
    assert labelled["metadata"]["generation"] == 1
    scaled = api.patch("deployments", "one", {"spec": {"minReadySeconds": 5}})
    assert scaled["metadata"]["generation"] == 2


def test_status_and_spec_are_written_apart(api: Api) -> None:
    """API Conventions, spec and status: PUT of the object ignores status, PUT of /status ignores spec."""
    pod = api.create("pods", nowhere(api, "one"))
    api.patch("pods", "one", {"status": {"reason": "ByMain"}})
    assert api.get("pods", "one")["status"].get("reason") is None

    changes = {"status": {"reason": "BySub"}, "spec": {"activeDeadlineSeconds": 9}}
    changed = api.patch("pods", "one", changes, sub="status")
    assert changed["status"]["reason"] == "BySub"
    assert "activeDeadlineSeconds" not in changed["spec"]
    assert changed["metadata"]["uid"] == pod["metadata"]["uid"]


def test_what_the_system_wrote_cannot_be_changed(api: Api) -> None:
    """API Conventions, metadata: creationTimestamp is kept; the uid is immutable."""
    made = api.create("configmaps", config_map("one"))

    changed = api.patch("configmaps", "one", {"metadata": {"creationTimestamp": "2001-01-01T00:00:00Z"}})
    assert changed["metadata"]["creationTimestamp"] == made["metadata"]["creationTimestamp"]
    with pytest.raises(RefusedError) as told:
        api.patch("configmaps", "one", {"metadata": {"uid": "11111111-1111-1111-1111-111111111111"}})
    assert told.value.code == 422


def test_an_update_of_a_namesake_that_is_gone_conflicts(api: Api) -> None:
    """API Conventions, metadata.uid: a PUT that names another uid was meant for an object that is no more."""
    made = config_map("one")
    api.create("configmaps", made)
    made["metadata"]["uid"] = "11111111-1111-1111-1111-111111111111"
    with pytest.raises(RefusedError) as told:
        api.update("configmaps", made)
    assert told.value.code == 409


def test_an_immutable_config_map_stays_as_it_is(api: Api) -> None:
    """ConfigMaps, immutable ConfigMaps: neither data nor the mark can be changed."""
    api.create("configmaps", config_map("one", a="1") | {"immutable": True})

    for patch in ({"data": {"a": "2"}}, {"immutable": False}):
        with pytest.raises(RefusedError) as told:
            api.patch("configmaps", "one", patch)
        assert told.value.code == 422
    assert api.patch("configmaps", "one", {"metadata": {"labels": {"x": "y"}}})["metadata"]["labels"] == {"x": "y"}


def test_nothing_is_created_in_a_namespace_that_is_not_there(api: Api) -> None:
    """Namespaces: 404 for the namespace."""
    with pytest.raises(RefusedError) as told:
        api.into("nobody-made-this").create("configmaps", config_map("one"))
    assert (told.value.code, told.value.status["details"]["kind"]) == (404, "namespaces")


def test_a_body_of_another_namespace_is_a_bad_request(api: Api) -> None:
    """API Conventions: namespace of the object and of the path must agree."""
    made = config_map("one")
    made["metadata"]["namespace"] = "default"
    with pytest.raises(RefusedError) as told:
        api.create("configmaps", made)
    assert told.value.code == 400


def test_a_body_of_another_kind_is_a_bad_request(api: Api) -> None:
    """API Conventions: the body's kind is the resource's."""
    with pytest.raises(RefusedError) as told:
        api.create("configmaps", {"kind": "Secret", "metadata": {"name": "one"}})
    assert told.value.code == 400


def test_strict_field_validation_names_every_unknown_field(api: Api) -> None:
    """API Concepts, field validation: Strict is 400 with each unknown and duplicate field."""
    made = unplaced(api, "one")
    made["spec"]["replicsa"] = 1
    made["spec"]["template"]["spec"]["containers"][0]["imagee"] = "x"
    with pytest.raises(RefusedError) as told:
        api.create("deployments", made, fieldValidation="Strict")
    assert told.value.code == 400
    assert 'unknown field "spec.replicsa"' in told.value.message
    assert 'unknown field "spec.template.spec.containers[0].imagee"' in told.value.message


def test_warn_field_validation_keeps_the_object_and_says_so(api: Api) -> None:
    """API Concepts, field validation: Warn (the default) drops unknown fields with a Warning header."""
    body = {"apiVersion": "v1", "kind": "ConfigMap", "datta": {}} | config_map("one")

    code, made, headers = api.send("POST", api.path("configmaps"), body, fieldValidation="Warn")
    assert code == 201
    assert "datta" not in made
    assert headers["Warning"].replace("\\", "") == '299 - "unknown field "datta""'


def test_ignored_field_validation_says_nothing(api: Api) -> None:
    """API Concepts, field validation: Ignore drops unknown fields silently."""
    body = {"apiVersion": "v1", "kind": "ConfigMap", "datta": {}} | config_map("one")

    code, made, headers = api.send("POST", api.path("configmaps"), body, fieldValidation="Ignore")
    assert (code, "datta" in made, "Warning" in headers) == (201, False, False)


def test_a_value_of_the_wrong_type_is_a_bad_request(api: Api) -> None:
    """API Conventions, validation: what cannot be decoded is 400."""
    made = unplaced(api, "one")
    made["spec"]["replicas"] = "three"
    with pytest.raises(RefusedError) as told:
        api.create("deployments", made)
    assert told.value.code == 400


def test_a_selector_must_match_its_template(api: Api) -> None:
    """Deployments, selector: .spec.selector must match .spec.template.metadata.labels."""
    made = unplaced(api, "one")
    made["spec"]["template"]["metadata"]["labels"] = {"app": "other"}
    with pytest.raises(RefusedError) as told:
        api.create("deployments", made)
    assert told.value.code == 422
    assert "`selector` does not match template `labels`" in told.value.message


def test_a_deployments_defaults_are_filled_in(api: Api) -> None:
    """Deployments, spec: 1 replica, 25% surge and unavailable, 600 s deadline, 10 old ReplicaSets."""
    made = unplaced(api, "one")
    del made["spec"]["replicas"]
    spec = api.create("deployments", made)["spec"]

    assert spec["replicas"] == 1
    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": "25%", "maxUnavailable": "25%"}
    assert (spec["progressDeadlineSeconds"], spec["revisionHistoryLimit"]) == (600, 10)
    assert spec["template"]["spec"]["restartPolicy"] == "Always"


def test_a_pods_defaults_are_filled_in(api: Api) -> None:
    """Pods: restart policy, grace, service account, tolerations of the admission plugin."""
    made = nowhere(api, "one")
    del made["spec"]["terminationGracePeriodSeconds"]
    spec = api.create("pods", made)["spec"]

    assert (spec["restartPolicy"], spec["terminationGracePeriodSeconds"]) == ("Always", 30)
    assert (spec["serviceAccountName"], spec["dnsPolicy"]) == ("default", "ClusterFirst")
    tolerated = {(t["key"], t["effect"]) for t in spec["tolerations"] if t.get("tolerationSeconds")}
    noexec = {("node.kubernetes.io/not-ready", "NoExecute"), ("node.kubernetes.io/unreachable", "NoExecute")}
    assert tolerated == noexec


def test_a_pods_spec_is_nearly_immutable(api: Api) -> None:
    """Pods, pod update and replacement: of a container only the image may change."""
    api.create("pods", nowhere(api, "one"))

    main = {"name": "main", "image": "other:2"}
    changed = api.patch("pods", "one", {"spec": {"containers": [main]}}, "strategic")
    assert changed["spec"]["containers"][0]["image"] == "other:2"
    main["command"] = ["other"]
    with pytest.raises(RefusedError) as told:
        api.patch("pods", "one", {"spec": {"containers": [main]}}, "strategic")
    assert told.value.code == 422
    assert "pod updates may not change fields other than" in told.value.message


def test_a_secrets_plain_text_becomes_data(api: Api) -> None:
    """Secrets, stringData: written as plain text, kept as base64, never read back as plain text."""
    made = api.create("secrets", {"metadata": {"name": "one"}, "stringData": {"word": "hush"}})

    assert made["data"] == {"word": "aHVzaA=="}
    assert "stringData" not in made
    assert made["type"] == "Opaque"


def test_a_lease_is_renewed_by_who_saw_it_last(api: Api) -> None:
    """Leases: an optimistic lock: the loser of two renewals gets 409."""
    spec = {"holderIdentity": "a", "leaseDurationSeconds": 15, "renewTime": "2026-01-01T00:00:00.000000Z"}
    lease = api.create("leases", {"metadata": {"name": "one"}, "spec": spec})

    taken = api.update("leases", lease | {"spec": spec | {"holderIdentity": "b", "leaseTransitions": 1}})
    assert taken["spec"]["renewTime"] == "2026-01-01T00:00:00.000000Z"
    with pytest.raises(RefusedError) as told:
        api.update("leases", lease | {"spec": spec | {"holderIdentity": "c"}})
    assert told.value.code == 409


def test_an_unknown_resource_is_not_found(api: Api) -> None:
    """API Conventions, response codes: 404 for a resource that the server has not."""
    with pytest.raises(RefusedError) as told:
        api.call("GET", f"/api/v1/namespaces/{api.namespace}/gadgets")
    assert told.value.code == 404


def test_a_method_that_the_resource_has_not_is_not_allowed(api: Api) -> None:
    """API Conventions, response codes: 405."""
    code, status, _ = api.send("POST", api.path("configmaps", "one"), {"kind": "ConfigMap", "apiVersion": "v1"})
    assert (code, status["reason"]) == (405, "MethodNotAllowed")


def test_discovery_names_resources_verbs_and_short_names(api: Api) -> None:
    """API Concepts, Discovery API: /api/v1 and /apis/GROUP/VERSION list what there is."""
    core = {r["name"]: r for r in api.call("GET", "/api/v1")["resources"]}
    apps = {r["name"]: r for r in api.call("GET", "/apis/apps/v1")["resources"]}

    assert core["pods"]["namespaced"]
    assert core["pods"]["shortNames"] == ["po"]
    assert {"pods/eviction", "pods/log", "pods/exec", "pods/status"} <= set(core)
    assert {"get", "list", "watch", "create", "update", "patch", "delete"} <= set(apps["deployments"]["verbs"])
    assert apps["deployments/scale"]["kind"] == "Scale"


def test_a_healthy_server_says_ok(api: Api) -> None:
    """Kubernetes API health endpoints: /livez and /readyz."""
    assert api.call("GET", "/livez") == "ok"
    assert api.call("GET", "/readyz") == "ok"
