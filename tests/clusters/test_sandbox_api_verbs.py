"""The verbs, as clients use them and with the answers a real API server gives."""

from __future__ import annotations

import pytest
from conftest import config_map, deployment, nowhere_pod

MAPS = "/api/v1/namespaces/{}/configmaps"
PODS = "/api/v1/namespaces/{}/pods"


def test_created_objects_come_back_with_uid_revision_and_time(http, namespace):
    """Create answers 201 with what the server added."""
    status, made = http("POST", MAPS.format(namespace), config_map("a", k="v"))

    assert status == 201
    assert made["kind"] == "ConfigMap"
    assert made["metadata"]["uid"] and made["metadata"]["resourceVersion"] and made["metadata"]["creationTimestamp"]
    assert http.ok("GET", MAPS.format(namespace) + "/a") == made


def test_a_taken_name_is_409_already_exists(http, namespace):
    """The second create of a name fails and says which."""
    http.ok("POST", MAPS.format(namespace), config_map("a"))

    status, answer = http("POST", MAPS.format(namespace), config_map("a"))

    assert (status, answer["reason"]) == (409, "AlreadyExists")
    assert answer["message"] == 'configmaps "a" already exists'
    assert answer["details"] == {"name": "a", "kind": "configmaps"}


def test_generate_name_makes_a_fresh_name_each_time(http, namespace):
    """generateName is a prefix; the server adds the rest."""
    body = {"metadata": {"generateName": "a-"}}

    names = {http.ok("POST", MAPS.format(namespace), body)["metadata"]["name"] for _ in range(5)}

    assert len(names) == 5
    assert all(name.startswith("a-") and len(name) == 7 for name in names)


def test_dry_run_writes_nothing(http, namespace):
    """dryRun=All answers as if it had been done."""
    made = http.ok("POST", MAPS.format(namespace), config_map("a"), dryRun="All")
    assert made["metadata"]["name"] == "a"
    assert http("GET", MAPS.format(namespace) + "/a")[0] == 404

    http.ok("POST", MAPS.format(namespace), config_map("b", k="1"))
    http.ok("PUT", MAPS.format(namespace) + "/b", config_map("b", k="2"), dryRun="All")
    http.ok("DELETE", MAPS.format(namespace) + "/b", dryRun="All")

    assert http.ok("GET", MAPS.format(namespace) + "/b")["data"] == {"k": "1"}


def test_a_missing_object_is_404_with_its_name_and_group(http, namespace):
    """The Status object says what was looked for."""
    status, answer = http("GET", f"/apis/apps/v1/namespaces/{namespace}/deployments/none")

    assert status == 404
    assert answer["message"] == 'deployments.apps "none" not found'
    assert answer["details"] == {"name": "none", "group": "apps", "kind": "deployments"}


def test_a_missing_namespace_refuses_new_objects(http):
    """Nothing can be created in a namespace that is not there."""
    status, answer = http("POST", MAPS.format("none-such"), config_map("a"))

    assert (status, answer["message"]) == (404, 'namespaces "none-such" not found')


def test_an_update_with_a_stale_revision_is_409(http, namespace):
    """Who read before somebody else wrote must read again."""
    stale = http.ok("POST", MAPS.format(namespace), config_map("a", k="1"))
    http.ok("PUT", MAPS.format(namespace) + "/a", config_map("a", k="2"))

    status, answer = http("PUT", MAPS.format(namespace) + "/a", stale)

    assert (status, answer["reason"]) == (409, "Conflict")
    assert answer["message"] == (
        'Operation cannot be fulfilled on configmaps "a": the object has been modified; please apply your changes to '
        "the latest version and try again"
    )


def test_an_update_that_changes_nothing_keeps_the_revision(http, namespace):
    """No write, no new resourceVersion, no watch event."""
    made = http.ok("POST", MAPS.format(namespace), config_map("a", k="1"))

    again = http.ok("PUT", MAPS.format(namespace) + "/a", made)

    assert again["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]


def test_the_generation_rises_with_the_spec_only(http, namespace):
    """Labels and status do not count; a new image does."""
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
    made = http.ok("POST", path, deployment("a"))
    assert made["metadata"]["generation"] == 1

    merge = {"content_type": "application/merge-patch+json"}
    labelled = http.ok("PATCH", path + "/a", {"metadata": {"labels": {"x": "y"}}}, **merge)
    scaled = http.ok("PATCH", path + "/a", {"spec": {"paused": True}}, **merge)

    assert labelled["metadata"]["generation"] == 1
    assert scaled["metadata"]["generation"] == 2


def test_status_is_written_through_its_subresource_only(http, namespace):
    """A write to the object leaves the status alone, a write to the status leaves the rest alone."""
    path = PODS.format(namespace)
    made = http.ok("POST", path, nowhere_pod("a") | {"status": {"phase": "Running"}})
    assert made["status"]["phase"] == "Pending"

    made["status"]["phase"] = "Failed"
    made["metadata"] = {"name": "a", "labels": {"new": "label"}}  # without a revision: the scheduler may have written
    assert http.ok("PUT", path + "/a", made)["status"]["phase"] == "Pending"

    body = {"status": {"phase": "Running"}, "metadata": {"labels": {"other": "label"}}}
    patched = http.ok("PATCH", path + "/a/status", body, content_type="application/merge-patch+json")
    assert patched["status"]["phase"] == "Running"
    assert patched["metadata"]["labels"] == {"new": "label"}


def test_label_selectors_choose_by_equality_and_sets(http, namespace):
    """=, !=, in, notin, exists and their absence, joined by commas."""
    for name, labels in (("a", {"app": "x", "tier": "1"}), ("b", {"app": "y"}), ("c", {"app": "x"})):
        http.ok("POST", MAPS.format(namespace), {"metadata": {"name": name, "labels": labels}})

    def chosen(selector):
        found = http.ok("GET", MAPS.format(namespace), labelSelector=selector)
        return "".join(item["metadata"]["name"] for item in found["items"] if item["metadata"]["name"] in "abc")

    assert chosen("app=x") == "ac"
    assert chosen("app==x,tier") == "a"
    assert chosen("app in (x, y)") == "abc"
    assert chosen("app notin (x)").startswith("b")
    assert chosen("app,!tier") == "bc"
    assert chosen("app,app!=x") == "b"
    status, answer = http("GET", MAPS.format(namespace), labelSelector="a b c=")
    assert (status, answer["reason"]) == (400, "BadRequest")


def test_field_selectors_choose_pods_by_node_and_phase(http, namespace):
    """The fields that Kubernetes supports, and a 400 for others."""
    http.ok("POST", PODS.format(namespace), nowhere_pod("a"))
    http.ok("POST", PODS.format(namespace), nowhere_pod("b"))
    running = {"status": {"phase": "Running"}}
    http.ok("PATCH", PODS.format(namespace) + "/b/status", running, content_type="application/merge-patch+json")

    def chosen(selector):
        found = http.ok("GET", PODS.format(namespace), fieldSelector=selector)
        return "".join(item["metadata"]["name"] for item in found["items"])

    assert chosen("status.phase=Running") == "b"
    assert chosen("status.phase!=Running") == "a"
    assert chosen("metadata.name=a,spec.nodeName=") == "a"
    status, answer = http("GET", PODS.format(namespace), fieldSelector="spec.color=red")
    assert (status, answer["message"]) == (400, "field label not supported: spec.color")


def test_pages_show_one_moment(http, namespace):
    """limit and continue give everything that was there at the first page, once."""
    for i in range(7):
        http.ok("POST", MAPS.format(namespace), {"metadata": {"name": f"m{i}", "labels": {"page": "d"}}})

    page = http.ok("GET", MAPS.format(namespace), limit=3, labelSelector="page")
    http.ok("DELETE", MAPS.format(namespace) + "/m6")
    http.ok("POST", MAPS.format(namespace), {"metadata": {"name": "m9", "labels": {"page": "d"}}})
    names = [item["metadata"]["name"] for item in page["items"]]
    while token := page["metadata"].get("continue"):
        revision = page["metadata"]["resourceVersion"]
        page = http.ok("GET", MAPS.format(namespace), limit=3, labelSelector="page", **{"continue": token})
        names += [item["metadata"]["name"] for item in page["items"]]
        assert page["metadata"]["resourceVersion"] == revision

    assert names == [f"m{i}" for i in range(7)]


def test_an_unknown_continue_token_is_410(http, namespace):
    """A list that cannot be continued must begin anew."""
    status, answer = http("GET", MAPS.format(namespace), limit=1, **{"continue": "bm9uZQ=="})

    assert (status, answer["reason"]) == (410, "Expired")


def test_items_of_a_list_carry_no_kind(http, namespace):
    """As from the real server; code that reads item.kind must not pass here alone."""
    http.ok("POST", MAPS.format(namespace), config_map("a"))

    found = http.ok("GET", MAPS.format(namespace))

    assert (found["kind"], found["apiVersion"]) == ("ConfigMapList", "v1")
    assert all("kind" not in item and "apiVersion" not in item for item in found["items"])


def test_delete_answers_success_and_the_uid(http, namespace):
    """What was deleted is told."""
    made = http.ok("POST", MAPS.format(namespace), config_map("a"))

    status, answer = http("DELETE", MAPS.format(namespace) + "/a")

    assert (status, answer["status"]) == (200, "Success")
    assert answer["details"]["uid"] == made["metadata"]["uid"]
    assert http("DELETE", MAPS.format(namespace) + "/a")[0] == 404


def test_delete_with_a_wrong_uid_is_409(http, namespace):
    """A precondition protects the namesake."""
    made = http.ok("POST", MAPS.format(namespace), config_map("a"))

    status, answer = http("DELETE", MAPS.format(namespace) + "/a", {"preconditions": {"uid": "other"}})

    assert status == 409
    assert answer["message"] == (
        'Operation cannot be fulfilled on configmaps "a": Precondition failed: UID in precondition: other, UID in '
        f"object meta: {made['metadata']['uid']}"
    )


def test_a_finalizer_keeps_an_object_until_it_is_gone(http, namespace):
    """Deleted means: marked, then gone with the last finalizer."""
    body = {"metadata": {"name": "a", "finalizers": ["example.com/hold"]}}
    http.ok("POST", MAPS.format(namespace), body)

    marked = http.ok("DELETE", MAPS.format(namespace) + "/a")
    assert marked["metadata"]["deletionTimestamp"]
    assert http("GET", MAPS.format(namespace) + "/a")[0] == 200

    patch = [{"op": "remove", "path": "/metadata/finalizers"}]
    http.ok("PATCH", MAPS.format(namespace) + "/a", patch, content_type="application/json-patch+json")
    assert http("GET", MAPS.format(namespace) + "/a")[0] == 404


def test_delete_collection_takes_what_the_selector_means(http, namespace):
    """And nothing else."""
    for name, app in (("a", "x"), ("b", "y"), ("c", "x")):
        http.ok("POST", MAPS.format(namespace), {"metadata": {"name": name, "labels": {"app": app}}})

    http.ok("DELETE", MAPS.format(namespace), labelSelector="app=x")

    left = http.ok("GET", MAPS.format(namespace), labelSelector="app")["items"]
    assert [item["metadata"]["name"] for item in left] == ["b"]


def test_a_pod_on_no_node_is_deleted_at_once(http, namespace):
    """Nobody has to stop it, so its grace does not count."""
    http.ok("POST", PODS.format(namespace), nowhere_pod("a"))

    answer = http.ok("DELETE", PODS.format(namespace) + "/a")

    assert answer["kind"] == "Pod"
    assert http("GET", PODS.format(namespace) + "/a")[0] == 404


def test_a_put_at_another_name_is_refused(http, namespace):
    """URL and body must agree, on name and namespace."""
    http.ok("POST", MAPS.format(namespace), config_map("a"))

    status, answer = http("PUT", MAPS.format(namespace) + "/a", config_map("b"))
    assert status == 400
    assert answer["message"] == "the name of the object (b) does not match the name on the URL (a)"

    elsewhere = {"metadata": {"name": "b", "namespace": "default"}}
    status, answer = http("POST", MAPS.format(namespace), elsewhere)
    assert status == 400
    assert answer["message"].startswith("the namespace of the provided object does not match")


def test_defaults_are_filled_in(http, namespace):
    """What clients and controllers rely on is there, whoever left it out."""
    pod = nowhere_pod("a")
    pod["spec"]["containers"][0] |= {
        "ports": [{"containerPort": 80}],
        "readinessProbe": {"httpGet": {"port": 80}},
        "resources": {"limits": {"cpu": 0.5, "nvidia.com/gpu": 1}},
    }

    made = http.ok("POST", PODS.format(namespace), pod)
    spec, container = made["spec"], made["spec"]["containers"][0]

    assert spec["terminationGracePeriodSeconds"] == 30
    assert (spec["restartPolicy"], spec["schedulerName"]) == ("Always", "default-scheduler")
    assert {t["key"]: t["tolerationSeconds"] for t in spec["tolerations"]} == {
        "node.kubernetes.io/not-ready": 300,
        "node.kubernetes.io/unreachable": 300,
    }
    assert container["ports"] == [{"containerPort": 80, "protocol": "TCP"}]
    assert container["readinessProbe"] == {
        "httpGet": {"port": 80, "path": "/", "scheme": "HTTP"},
        "timeoutSeconds": 1,
        "periodSeconds": 10,
        "successThreshold": 1,
        "failureThreshold": 3,
    }
    assert container["resources"]["requests"] == {"cpu": "500m", "nvidia.com/gpu": "1"}
    assert made["status"]["qosClass"] == "Burstable"


def test_a_deployment_gets_its_strategy(http, namespace):
    """RollingUpdate by a quarter, as documented."""
    made = http.ok("POST", f"/apis/apps/v1/namespaces/{namespace}/deployments", deployment("a"))

    assert made["spec"]["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"},
    }
    assert made["spec"]["progressDeadlineSeconds"] == 600


def test_a_service_gets_an_address_of_its_own(http, sandbox, namespace):
    """From the range of ClusterIPs; it stays over updates."""
    path = f"/api/v1/namespaces/{namespace}/services"
    bodies = [{"metadata": {"name": n}, "spec": {"ports": [{"port": 80}]}} for n in ("a", "b")]

    first, second = (http.ok("POST", path, body) for body in bodies)

    assert first["spec"]["clusterIP"].startswith(sandbox.network + ".")
    assert first["spec"]["clusterIP"] != second["spec"]["clusterIP"]
    assert first["spec"]["ports"] == [{"port": 80, "protocol": "TCP", "targetPort": 80}]
    assert http.ok("PUT", path + "/a", bodies[0])["spec"]["clusterIP"] == first["spec"]["clusterIP"]


def test_secrets_take_plain_strings_and_give_base64(http, namespace):
    """stringData is write-only."""
    body = {"metadata": {"name": "a"}, "stringData": {"k": "v"}}

    made = http.ok("POST", f"/api/v1/namespaces/{namespace}/secrets", body)

    assert made["data"] == {"k": "dg=="}
    assert (made["type"], "stringData" in made) == ("Opaque", False)


def test_a_namespace_goes_with_everything_in_it(http, namespace):
    """And refuses new objects while it does."""
    held = {"metadata": {"name": "held", "finalizers": ["example.com/hold"]}}
    http.ok("POST", MAPS.format(namespace), held)

    gone = http.ok("DELETE", f"/api/v1/namespaces/{namespace}")
    assert gone["status"]["phase"] == "Terminating"

    status, answer = http("POST", MAPS.format(namespace), config_map("late"))
    assert (status, answer["reason"]) == (403, "Forbidden")
    assert "because it is being terminated" in answer["message"]
    patch = [{"op": "remove", "path": "/metadata/finalizers"}]
    http("PATCH", MAPS.format(namespace) + "/held", patch, content_type="application/json-patch+json")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("GET", "/apis/none.example.com/v1/things", 404),
        ("GET", "/apis/apps/v1/statefulsets", 404),
        ("GET", "/api/v1/namespaces/default/pods/x/none", 404),
        ("POST", "/api/v1/namespaces/default/pods/x", 405),
        ("PUT", "/api/v1/namespaces/default/pods", 405),
        ("DELETE", "/api/v1/namespaces", 405),
        ("POST", "/api/v1/namespaces/default/pods/x/portforward", 501),
    ],
)
def test_what_there_is_not_is_said(http, method, path, status):
    """A clear status for paths and methods that are not offered."""
    assert http(method, path, {} if method in ("POST", "PUT") else None)[0] == status


def test_no_or_wrong_credentials(http):
    """401 for a wrong token; 403 with the anonymous name for none; health and version are public."""
    status, answer = http("GET", "/api/v1/pods", token="wrong")
    assert (status, answer["message"]) == (401, "Unauthorized")

    status, answer = http("GET", "/api/v1/pods", token=None)
    assert status == 403
    assert answer["message"] == (
        'pods is forbidden: User "system:anonymous" cannot list resource "pods" in API group "" at the cluster scope'
    )
    for path in ("/version", "/healthz", "/livez", "/readyz"):
        assert http("GET", path, token=None)[0] == 200


def test_the_body_may_be_yaml_and_needs_no_content_type(http, namespace):
    """Some clients send no Content-Type, kubectl sends YAML for apply."""
    made = http.ok("POST", MAPS.format(namespace), b"metadata:\n  name: a\ndata: {k: v}\n")

    assert made["data"] == {"k": "v"}


def test_scale_is_a_view_of_the_replicas(http, namespace):
    """The subresource reads and writes the number, with optimistic locking."""
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
    http.ok("POST", path, deployment("a"))

    seen = http.ok("GET", path + "/a/scale")
    assert (seen["kind"], seen["spec"]["replicas"], seen["status"]["selector"]) == ("Scale", 0, "app=a")

    http.ok("PATCH", path + "/a", {"spec": {"paused": True}}, content_type="application/merge-patch+json")
    status, _ = http("PUT", path + "/a/scale", seen | {"spec": {"replicas": 3}})
    assert status == 409
    patch = {"spec": {"replicas": 0}}
    assert http.ok("PATCH", path + "/a/scale", patch, content_type="application/merge-patch+json")["kind"] == "Scale"


def test_ones_own_rights_can_be_asked(http):
    """kubectl auth can-i and preflights get an answer."""
    body = {"spec": {"resourceAttributes": {"verb": "create", "resource": "pods"}}}

    answer = http.ok("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body)

    assert answer["status"]["allowed"] is True
