"""Horizontal Pod Autoscaling: what holds whatever the pods use, and on a cluster without a metrics server too."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.api import Api, Object, RefusedError, condition
from tests.conformance.manifests import unplaced

SCALERS = "horizontalpodautoscalers"
# Every sync period (15 s) an autoscaler looks; its first look may be a period away.
WITHIN_S = 90


def autoscale(api: Api, name: str, **spec: Any) -> Object:
    """An autoscaler of the Deployment of that name, for half of the cpu that its pods request."""
    cpu = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
    base = {"scaleTargetRef": target, "maxReplicas": 3, "metrics": [{"type": "Resource", "resource": cpu}]}
    return api.create(SCALERS, {"metadata": {"name": name}, "spec": base | spec})


def reason(scaler: Object, type_: str) -> str:
    """status and reason of a condition."""
    for each in scaler.get("status", {}).get("conditions") or ():
        if each["type"] == type_:
            return f"{each['status']} {each['reason']}"
    return ""


def test_defaults_are_one_replica_and_eighty_percent_of_cpu(api: Api) -> None:
    """API reference: minReplicas is 1, and without metrics cpu is held at 80 %."""
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    made = api.create(SCALERS, {"metadata": {"name": "web"}, "spec": {"scaleTargetRef": target, "maxReplicas": 3}})

    assert made["spec"]["minReplicas"] == 1
    assert made["spec"]["metrics"] == [
        {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}
    ]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"maxReplicas": 0}, "spec.maxReplicas: Required value: must be set and greater than 0"),
        ({"minReplicas": 5}, "spec.maxReplicas: Invalid value: 3: must be greater than or equal to `minReplicas`"),
    ],
)
def test_bounds_are_checked(api: Api, wrong: Object, said: str) -> None:
    """The maximum is positive and not below the minimum: 422."""
    with pytest.raises(RefusedError) as told:
        autoscale(api, "web", **wrong)
    assert told.value.code == 422
    assert said in told.value.message


@pytest.mark.long
def test_too_many_replicas_are_brought_to_the_maximum(api: Api) -> None:
    """Above maxReplicas the target is scaled without asking for metrics, and an event says why."""
    api.create("deployments", unplaced(api, "web", 5))
    autoscale(api, "web")

    api.until("deployments", "web", lambda d: d["spec"]["replicas"] == 3, "scaled", WITHIN_S)
    api.until(SCALERS, "web", lambda s: s.get("status", {}).get("lastScaleTime"), "told", WITHIN_S)
    said = [e["message"] for e in api.list("events") if e["reason"] == "SuccessfulRescale"]
    assert said == ["New size: 3; reason: Current number of replicas above Spec.MaxReplicas"]


@pytest.mark.long
def test_too_few_replicas_are_brought_to_the_minimum(api: Api) -> None:
    """Below minReplicas likewise."""
    api.create("deployments", unplaced(api, "web", 1))
    autoscale(api, "web", minReplicas=2)

    api.until("deployments", "web", lambda d: d["spec"]["replicas"] == 2, "scaled", WITHIN_S)


@pytest.mark.long
def test_without_metrics_nothing_is_scaled(api: Api) -> None:
    """ScalingActive is False with the reason, the target keeps its replicas."""
    api.create("deployments", unplaced(api, "web", 2))
    autoscale(api, "web")

    told = api.until(SCALERS, "web", lambda s: condition(s, "ScalingActive") == "False", "told", WITHIN_S)

    assert reason(told, "ScalingActive") == "False FailedGetResourceMetric"
    assert reason(told, "AbleToScale") == "True SucceededGetScale"
    assert api.get("deployments", "web")["spec"]["replicas"] == 2


@pytest.mark.long
def test_a_target_that_is_not_there_is_told(api: Api) -> None:
    """AbleToScale is False."""
    autoscale(api, "nobody")

    told = api.until(SCALERS, "nobody", lambda s: condition(s, "AbleToScale") == "False", "told", WITHIN_S)

    assert reason(told, "AbleToScale") == "False FailedGetScale"


@pytest.mark.long
def test_zero_replicas_switch_it_off(api: Api) -> None:
    """Implicit maintenance mode: a target of 0 replicas stays at 0."""
    api.create("deployments", unplaced(api, "web", 0))
    autoscale(api, "web")

    told = api.until(SCALERS, "web", lambda s: condition(s, "ScalingActive") == "False", "told", WITHIN_S)

    assert reason(told, "ScalingActive") == "False ScalingDisabled"
    assert api.get("deployments", "web")["spec"]["replicas"] == 0
