"""Eviction: the disruption budget's word counts, and is passed on as Kubernetes words it."""

from __future__ import annotations

import pytest
from conftest import nowhere_pod, wait_for

MERGE = "application/merge-patch+json"


@pytest.fixture
def ready_pod(http, namespace):
    """Makes a pod that counts as running and ready, though nothing runs."""

    def make(name, **labels):
        path = f"/api/v1/namespaces/{namespace}/pods"
        http.ok("POST", path, nowhere_pod(name, **labels))
        ready = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
        return http.ok("PATCH", f"{path}/{name}/status", {"status": ready}, content_type=MERGE)

    return make


@pytest.fixture
def budget(http, namespace):
    """Makes a budget over app=x and waits until the controller has counted."""

    def make(name="b", **spec):
        path = f"/apis/policy/v1/namespaces/{namespace}/poddisruptionbudgets"
        body = {"metadata": {"name": name}, "spec": {"selector": {"matchLabels": {"app": "x"}}} | spec}
        http.ok("POST", path, body)
        return wait_for(lambda: _counted(http.ok("GET", f"{path}/{name}")), "counted budget")

    return make


def _counted(budget):
    return budget if budget["status"].get("observedGeneration") and budget["status"]["expectedPods"] else None


def evict(http, namespace, name, **body):
    path = f"/api/v1/namespaces/{namespace}/pods/{name}/eviction"
    return http("POST", path, {"metadata": {"name": name}} | body)


def test_without_a_budget_a_pod_goes(http, namespace, ready_pod):
    """201 and Success; the body needs neither apiVersion nor kind."""
    ready_pod("a", app="x")

    status, answer = evict(http, namespace, "a")

    assert (status, answer["status"]) == (201, "Success")
    assert http("GET", f"/api/v1/namespaces/{namespace}/pods/a")[0] == 404


def test_a_spent_budget_refuses_with_429(http, namespace, ready_pod, budget):
    """The message clients match on, and the cause that names the budget."""
    ready_pod("a", app="x")
    budget(minAvailable=1)

    status, answer = evict(http, namespace, "a")

    assert (status, answer["reason"]) == (429, "TooManyRequests")
    assert answer["message"] == "Cannot evict pod as it would violate the pod's disruption budget."
    assert answer["details"]["causes"] == [
        {"reason": "DisruptionBudget", "message": "The disruption budget b needs 1 healthy pods and has 1 currently"}
    ]
    assert http("GET", f"/api/v1/namespaces/{namespace}/pods/a")[0] == 200


def test_a_budget_is_spent_by_each_eviction(http, namespace, ready_pod, budget):
    """Two in a row cannot both have the one disruption that is allowed, however slow the controller is."""
    for name in "abc":
        ready_pod(name, app="x")
    budget(minAvailable=2)

    first, second = evict(http, namespace, "a")[0], evict(http, namespace, "b")[0]

    assert (first, second) == (201, 429)


def test_a_dry_run_spends_nothing(http, namespace, ready_pod, budget):
    """It only asks."""
    for name in "ab":
        ready_pod(name, app="x")
    budget(minAvailable=1)

    for _ in range(3):
        assert evict(http, namespace, "a", deleteOptions={"dryRun": ["All"]})[0] == 201

    assert evict(http, namespace, "a")[0] == 201


def test_a_pod_that_never_ran_needs_no_budget(http, namespace, ready_pod, budget):
    """Pending pods may always go."""
    ready_pod("a", app="x")
    http.ok("POST", f"/api/v1/namespaces/{namespace}/pods", nowhere_pod("waiting", app="x"))
    budget(minAvailable=2)

    assert evict(http, namespace, "waiting")[0] == 201


def test_two_budgets_over_a_pod_are_an_error(http, namespace, ready_pod, budget):
    """As documented: the eviction subresource does not support it."""
    ready_pod("a", app="x")
    budget("b", minAvailable=0)
    budget("c", minAvailable=0)

    status, answer = evict(http, namespace, "a")

    assert status == 500
    assert answer["message"].startswith("This pod has more than one PodDisruptionBudget")


def test_a_wrong_uid_evicts_nobody(http, namespace, ready_pod):
    """The namesake of an evicted pod is safe."""
    ready_pod("a", app="x")

    status, _ = evict(http, namespace, "a", deleteOptions={"preconditions": {"uid": "other"}})

    assert status == 409
    assert http("GET", f"/api/v1/namespaces/{namespace}/pods/a")[0] == 200


def test_the_python_client_evicts(core, http, namespace, ready_pod):
    """create_namespaced_pod_eviction sends a body without apiVersion and kind."""
    from kubernetes import client

    made = ready_pod("a", app="x")
    options = client.V1DeleteOptions(preconditions=client.V1Preconditions(uid=made["metadata"]["uid"]))
    body = client.V1Eviction(metadata=client.V1ObjectMeta(name="a"), delete_options=options)

    core.create_namespaced_pod_eviction("a", namespace, body)

    assert http("GET", f"/api/v1/namespaces/{namespace}/pods/a")[0] == 404
