"""Evictions, disruption budgets and the scale subresource."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.api import Api, Object, RefusedError, wait_for
from tests.conformance.manifests import SERVER, budget, deployment, pod, unplaced


def evict(api: Api, name: str, **more: Any) -> Object:
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}} | more
    return api.create("pods", body, "eviction", name)


def _three(api: Api, pods: Object | None = None, **more: Any) -> list[str]:
    """A Deployment of three available pods with a budget; the pods' names. `pods`: more of the container."""
    api.create("deployments", deployment(api, "one", 3, SERVER, **(pods or {})))
    api.create("poddisruptionbudgets", budget("one", **more))
    api.rolled_out("one")
    return [p["metadata"]["name"] for p in api.list("pods", "app=one")]


def _counted(api: Api, **wanted: int) -> Object:
    """The budget, once its status says so."""

    def right(found: Object) -> bool:
        status = found.get("status", {})
        current = status.get("observedGeneration") == found["metadata"]["generation"]
        return current and all(status.get(k, 0) == v for k, v in wanted.items())

    return api.until("poddisruptionbudgets", "one", right, f"with {wanted}")


def test_an_eviction_is_a_graceful_deletion(api: Api) -> None:
    """API-initiated Eviction, how it works: 201, then the pod terminates with its own grace."""
    api.create("pods", pod(api, "one", spec={"terminationGracePeriodSeconds": 4}))
    api.ready("one")

    answer = evict(api, "one")
    assert answer["status"] == "Success"
    found = api.find("pods", "one")
    assert found is None or found["metadata"]["deletionGracePeriodSeconds"] == 4
    api.gone("pods", "one")


def test_an_evicted_pod_says_why_it_goes(api: Api) -> None:
    """Disruptions, pod disruption conditions: DisruptionTarget with reason EvictionByEvictionAPI."""
    hook = {"preStop": {"sleep": {"seconds": 3}}}
    api.create("pods", pod(api, "one", lifecycle=hook, spec={"terminationGracePeriodSeconds": 5}))
    api.ready("one")

    evict(api, "one")
    (why,) = [c for c in api.get("pods", "one")["status"]["conditions"] if c["type"] == "DisruptionTarget"]
    assert (why["status"], why["reason"]) == ("True", "EvictionByEvictionAPI")


def test_a_budget_counts_its_pods(api: Api) -> None:
    """Disruptions, PodDisruptionBudgets: expected, desired, current and allowed in the status."""
    _three(api, minAvailable=2)

    _counted(api, expectedPods=3, desiredHealthy=2, currentHealthy=3, disruptionsAllowed=1)


def test_an_eviction_beyond_the_budget_is_refused(api: Api) -> None:
    """API-initiated Eviction: 429 TooManyRequests, cause DisruptionBudget; the pod stays as it is."""
    names = _three(api, minAvailable=3)
    _counted(api, currentHealthy=3, disruptionsAllowed=0)

    with pytest.raises(RefusedError) as told:
        evict(api, names[0])
    assert (told.value.code, told.value.reason) == (429, "TooManyRequests")
    assert told.value.message == "Cannot evict pod as it would violate the pod's disruption budget."
    (cause,) = told.value.status["details"]["causes"]
    assert cause["reason"] == "DisruptionBudget"
    assert cause["message"] == "The disruption budget one needs 3 healthy pods and has 3 currently"
    assert "deletionTimestamp" not in api.get("pods", names[0])["metadata"]


def test_one_eviction_uses_up_a_budget_of_one(api: Api) -> None:
    """API-initiated Eviction: two at once under minAvailable 2 of 3: the second is refused until a replacement."""
    slow = {"readinessProbe": {"tcpSocket": {"port": 8000}, "initialDelaySeconds": 4, "periodSeconds": 1}}
    names = _three(api, slow, minAvailable=2)
    _counted(api, disruptionsAllowed=1)

    evict(api, names[0])
    with pytest.raises(RefusedError) as told:
        evict(api, names[1])
    assert told.value.code == 429
    _counted(api, currentHealthy=3, disruptionsAllowed=1)
    evict(api, names[1])


def test_a_budget_in_percent_rounds_up(api: Api) -> None:
    """Specifying a Disruption Budget, rounding logic: minAvailable 50% of 3 is 2."""
    _three(api, minAvailable="50%")

    _counted(api, desiredHealthy=2, disruptionsAllowed=1)


def test_a_budget_may_say_how_many_may_miss(api: Api) -> None:
    """Specifying a Disruption Budget: maxUnavailable 2 of 3 desires 1."""
    _three(api, maxUnavailable=2)

    _counted(api, desiredHealthy=1, disruptionsAllowed=2)


def test_a_pod_of_two_budgets_cannot_be_evicted(api: Api) -> None:
    """Specifying a Disruption Budget, arbitrary controllers: more than one matching budget is an error (500)."""
    names = _three(api, minAvailable=1)
    other = budget("one", minAvailable=1) | {"metadata": {"name": "two"}}
    api.create("poddisruptionbudgets", other)

    with pytest.raises(RefusedError) as told:
        evict(api, names[0])
    assert told.value.code == 500
    assert "more than one PodDisruptionBudget" in told.value.message


def test_a_pod_that_is_not_ready_may_go_while_the_budget_is_healthy(api: Api) -> None:
    """Specifying a Disruption Budget, unhealthy pod eviction policy: IfHealthyBudget is the default."""
    never = {"exec": {"command": ["python3", "-c", "raise SystemExit(1)"]}, "periodSeconds": 1}
    api.create("pods", pod(api, "well", labels={"app": "one"}))
    api.create("pods", pod(api, "sick", labels={"app": "one"}, readinessProbe=never))
    api.create("poddisruptionbudgets", budget("one", minAvailable=1))
    api.until("pods", "sick", lambda p: p["status"]["phase"] == "Running", "running")
    _counted(api, currentHealthy=1, disruptionsAllowed=0)

    with pytest.raises(RefusedError) as told:
        evict(api, "well")
    assert told.value.code == 429
    evict(api, "sick")
    api.gone("pods", "sick")


def test_always_allow_lets_sick_pods_go(api: Api) -> None:
    """Specifying a Disruption Budget: AlwaysAllow, running but not ready pods may be evicted in any case."""
    never = {"exec": {"command": ["python3", "-c", "raise SystemExit(1)"]}, "periodSeconds": 1}
    api.create("pods", pod(api, "one", readinessProbe=never))
    api.create("poddisruptionbudgets", budget("one", minAvailable=1, unhealthyPodEvictionPolicy="AlwaysAllow"))
    api.until("pods", "one", lambda p: p["status"]["phase"] == "Running", "running")
    _counted(api, currentHealthy=0, disruptionsAllowed=0)

    evict(api, "one")
    api.gone("pods", "one")


def test_by_default_a_disrupted_budget_holds_sick_pods_too(api: Api) -> None:
    """Specifying a Disruption Budget: IfHealthyBudget, sick pods stay while the application is disrupted."""
    never = {"exec": {"command": ["python3", "-c", "raise SystemExit(1)"]}, "periodSeconds": 1}
    api.create("pods", pod(api, "one", readinessProbe=never))
    api.create("poddisruptionbudgets", budget("one", minAvailable=1))
    api.until("pods", "one", lambda p: p["status"]["phase"] == "Running", "running")
    _counted(api, currentHealthy=0, disruptionsAllowed=0)

    with pytest.raises(RefusedError) as told:
        evict(api, "one")
    assert told.value.code == 429


def test_a_deletion_is_not_held_by_a_budget(api: Api) -> None:
    """Disruptions: deleting a pod bypasses the budget; only the Eviction API asks it."""
    names = _three(api, minAvailable=3)
    _counted(api, disruptionsAllowed=0)

    assert api.delete("pods", names[0])["metadata"]["deletionTimestamp"]


def test_a_dry_eviction_evicts_nothing(api: Api) -> None:
    """API-initiated Eviction with deleteOptions.dryRun."""
    api.create("pods", pod(api, "one"))
    api.ready("one")

    evict(api, "one", deleteOptions={"dryRun": ["All"]})
    assert "deletionTimestamp" not in api.get("pods", "one")["metadata"]


def test_evicting_what_is_not_there_is_not_found(api: Api) -> None:
    """API-initiated Eviction: 404."""
    with pytest.raises(RefusedError) as told:
        evict(api, "nobody")
    assert told.value.code == 404


def test_scale_shows_and_sets_the_number_of_replicas(api: Api) -> None:
    """API Conventions, scale subresource: spec.replicas, status.replicas and the selector as a string."""
    api.create("deployments", unplaced(api, "one", 1))
    api.until("deployments", "one", lambda d: d.get("status", {}).get("replicas") == 1, "one replica")

    scale = api.get("deployments", "one", "scale")
    assert (scale["kind"], scale["apiVersion"]) == ("Scale", "autoscaling/v1")
    assert (scale["spec"]["replicas"], scale["status"]) == (1, {"replicas": 1, "selector": "app=one"})
    wider = {"metadata": {"name": "one", "namespace": api.namespace}, "spec": {"replicas": 3}}
    api.update("deployments", {"apiVersion": "autoscaling/v1", "kind": "Scale"} | wider, "scale")
    wait_for(lambda: len(api.list("pods", "app=one")) == 3, "three pods")
    assert api.patch("deployments", "one", {"spec": {"replicas": 0}}, sub="scale")["spec"].get("replicas", 0) == 0
    wait_for(lambda: not api.list("pods", "app=one"), "no pods")


def test_a_stale_scale_conflicts(api: Api) -> None:
    """API Conventions, concurrency control: scale carries the object's resourceVersion."""
    api.create("deployments", unplaced(api, "one"))
    scale = api.get("deployments", "one", "scale")
    api.patch("deployments", "one", {"metadata": {"labels": {"a": "b"}}})

    with pytest.raises(RefusedError) as told:
        api.update("deployments", scale | {"spec": {"replicas": 2}}, "scale")
    assert told.value.code == 409
