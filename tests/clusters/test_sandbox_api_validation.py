"""What the API refuses, and that it says so in the real server's words."""

from __future__ import annotations

import pytest
from conftest import config_map, deployment, nowhere_pod

from clusters.sandbox.amounts import canonical, parse


def pod(**container):
    body = nowhere_pod("a")
    body["spec"]["containers"][0] |= container
    return body


def probe(**fields):
    return {"livenessProbe": {"exec": {"command": ["true"]}} | fields}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (nowhere_pod("A_b"), 'metadata.name: Invalid value: "A_b": a lowercase RFC 1123 subdomain must consist of'),
        (nowhere_pod("a", app="-x"), 'metadata.labels: Invalid value: "-x": a valid label must be an empty string'),
        ({"metadata": {"name": "a"}, "spec": {"containers": []}}, "spec.containers: Required value"),
        (pod(image=""), "spec.containers[0].image: Required value"),
        (pod(ports=[{"containerPort": 0}]), "spec.containers[0].ports[0].containerPort: Invalid value: 0: must be be"),
        (
            pod(volumeMounts=[{"name": "v", "mountPath": "/v"}]),
            'spec.containers[0].volumeMounts[0].name: Not found: "v"',
        ),
        (pod(readinessProbe={}), "spec.containers[0].readinessProbe: Required value: must specify a handler type"),
        (
            pod(**probe(tcpSocket={"port": 1})),
            "livenessProbe.tcpSocket: Forbidden: may not specify more than 1 handler",
        ),
        (
            pod(**probe(periodSeconds=-1)),
            "livenessProbe.periodSeconds: Invalid value: -1: must be greater than or equal",
        ),
        (pod(**probe(successThreshold=2)), "livenessProbe.successThreshold: Invalid value: 2: must be 1"),
        (
            pod(resources={"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}),
            'resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1',
        ),
        (
            pod(resources={"requests": {"nvidia.com/gpu": "1"}}),
            "resources.limits: Required value: Limit must be set for non overcommitable resources",
        ),
    ],
)
def test_a_pod_that_breaks_a_rule_is_refused(http, namespace, body, said):
    """422 Invalid with the field's path and the real words."""
    status, answer = http("POST", f"/api/v1/namespaces/{namespace}/pods", body)

    assert (status, answer["reason"]) == (422, "Invalid"), answer
    assert said in answer["message"]
    assert answer["details"]["causes"][0]["field"]


def test_every_fault_is_named_at_once(http, namespace):
    """The message lists them, the causes carry their fields."""
    body = pod(ports=[{"containerPort": 0}], volumeMounts=[{"name": "v", "mountPath": "/v"}])

    _, answer = http("POST", f"/api/v1/namespaces/{namespace}/pods", body)

    assert answer["message"].startswith('Pod "a" is invalid: [spec.containers[0].ports[0].containerPort: Invalid')
    assert len(answer["details"]["causes"]) == 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"selector": {"matchLabels": {"app": "b"}}}, "`selector` does not match template `labels`"),
        ({"replicas": -1}, "spec.replicas: Invalid value: -1: must be greater than or equal to 0"),
        (
            {"strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}},
            "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0",
        ),
        (
            {"strategy": {"type": "Blue"}},
            'spec.strategy.type: Unsupported value: "Blue": supported values: "Recreate", ',
        ),
    ],
)
def test_a_deployment_that_breaks_a_rule_is_refused(http, namespace, change, said):
    """The rules of workloads."""
    body = deployment("a")
    body["spec"] |= change

    status, answer = http("POST", f"/apis/apps/v1/namespaces/{namespace}/deployments", body)

    assert status == 422, answer
    assert said in answer["message"]


def test_a_selector_cannot_change(http, namespace):
    """It is immutable in apps/v1."""
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
    made = http.ok("POST", path, deployment("a"))
    del made["metadata"]["resourceVersion"]  # the controller may have written since
    made["spec"]["selector"]["matchLabels"]["more"] = "x"
    made["spec"]["template"]["metadata"]["labels"]["more"] = "x"

    status, answer = http("PUT", path + "/a", made)

    assert status == 422
    assert "field is immutable" in answer["message"]


def test_a_pods_spec_cannot_change_but_for_its_image(http, namespace):
    """A patch of the environment is refused as from the real server."""
    path = f"/api/v1/namespaces/{namespace}/pods"
    http.ok("POST", path, nowhere_pod("a"))
    merge = "application/strategic-merge-patch+json"

    image = {"spec": {"containers": [{"name": "main", "image": "none:2"}]}}
    assert http("PATCH", path + "/a", image, content_type=merge)[0] == 200
    other = {"spec": {"containers": [{"name": "main", "env": [{"name": "A", "value": "1"}]}]}}
    status, answer = http("PATCH", path + "/a", other, content_type=merge)

    assert status == 422
    assert "spec: Forbidden: pod updates may not change fields other than" in answer["message"]


def test_wrong_types_are_refused_as_go_would_say_it(http, namespace):
    """400 with the struct's field."""
    body = deployment("a")
    body["spec"]["replicas"] = "three"

    status, answer = http("POST", f"/apis/apps/v1/namespaces/{namespace}/deployments", body)

    assert (status, answer["reason"]) == (400, "BadRequest")
    assert answer["message"] == (
        'Deployment in version "v1" cannot be handled as a Deployment: json: cannot unmarshal string into Go struct '
        "field DeploymentSpec.spec.replicas of type int32"
    )


def test_an_unknown_field_is_an_error_only_when_strict(http, namespace):
    """Strict refuses, Warn (the default) drops and warns, Ignore drops."""
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
    body = deployment("a")
    body["spec"]["replica"] = 1

    status, answer = http("POST", path, body, fieldValidation="Strict")
    assert status == 400
    assert answer["message"].endswith('strict decoding error: unknown field "spec.replica"')

    made = http.ok("POST", path, body)
    assert "replica" not in made["spec"]
    assert http.last_headers["Warning"] == '299 - "unknown field \\"spec.replica\\""'


def test_another_kind_in_the_body_is_refused(http, namespace):
    """A Deployment cannot be posted as a pod."""
    status, answer = http("POST", f"/api/v1/namespaces/{namespace}/pods", deployment("a"))

    assert (status, answer["reason"]) == (400, "BadRequest")


def test_an_immutable_config_map_stays_as_it_is(http, namespace):
    """And so does its mark."""
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    http.ok("POST", path, config_map("a", k="1") | {"immutable": True})

    status, answer = http("PUT", path + "/a", config_map("a", k="2"))

    assert status == 422
    assert "field is immutable when `immutable` is set" in answer["message"]


@pytest.mark.parametrize(
    ("written", "number", "shown"),
    [
        ("0.5", 0.5, "500m"),
        ("1024Mi", 2**30, "1Gi"),
        ("1.5Gi", 1.5 * 2**30, "1536Mi"),
        ("100M", 1e8, "100M"),
        ("1e3", 1000, "1e3"),
        (2, 2, "2"),
        ("1000m", 1, "1"),
        ("0", 0, "0"),
        ("128974848", 128974848, "128974848"),
    ],
)
def test_quantities_mean_and_look_like_the_real_ones(written, number, shown):
    """Exact numbers; the canonical form is what the API gives back."""
    assert parse(written) == number
    assert canonical(written) == shown
    assert parse(shown) == number


@pytest.mark.parametrize("written", ["", "x", "1Gx", "1 Gi", True, None, "--1"])
def test_what_is_no_quantity_is_an_error(written):
    """Never a silent zero."""
    with pytest.raises(ValueError, match="quantities must match"):
        parse(written)
