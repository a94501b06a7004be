"""HorizontalPodAutoscalers: Kubernetes' formulas as functions, and real processes that are really scaled."""

from __future__ import annotations

import pytest
from conftest import IMAGES, Http, wait_for

from clusters.sandbox import client as sandboxes
from clusters.sandbox.controllers.replica_count import MetricError, Past, PodState, Sample, limited, propose, stabilized

NOW = 10_000.0


def pod(name: str, *, phase: str = "Running", ready: bool | None = True, age_s: float = 900, **more) -> PodState:
    state = {"terminating": False, "ready_since_s": NOW - age_s + 5, "started_s": NOW - age_s, "request": 1.0}
    return PodState(name=name, phase=phase, ready=ready, **(state | more))


def wish(pods, used, *, current=None, target=50):
    """The replicas for a target of 50 % of one core; `used` in cores by pod."""
    samples = {name: Sample(cores, NOW, 15) for name, cores in used.items()}
    return propose(
        pods,
        samples,
        len(pods) if current is None else current,
        resource="cpu",
        utilization=target,
        average=None,
        now_s=NOW,
        initialization_s=300,
    ).replicas


THREE = [pod("a"), pod("b"), pod("c")]


@pytest.mark.parametrize(
    ("cores", "expected"),
    [
        (0.0, 0),  # bounds are another step
        (0.10, 1),  # 10 % of 50 %: a fifth of three
        (0.33, 2),
        (0.45, 3),  # within the tolerance of 0.1
        (0.54, 3),
        (0.56, 4),
        (1.0, 6),
        (2.0, 12),
    ],
)
def test_replicas_follow_the_ratio_of_use_to_target(cores, expected):
    """ceil(replicas x used / wanted), but nothing within a tenth of the target."""
    assert wish(THREE, dict.fromkeys("abc", cores)) == expected


def test_pods_without_samples_never_turn_the_direction():
    """Missing ones count as idle when scaling up, as fully busy when scaling down."""
    assert wish(THREE, {"a": 1.0, "b": 1.0}) == 4  # 2 x 100 % and one of 0 %: 67 % of 50 %
    assert wish(THREE, {"a": 0.05, "b": 0.05}) == 3  # the third may be busy
    assert wish(THREE, {"a": 0.6, "b": 0.6}) == 3  # would be 40 % with the third: no change


def test_young_and_unready_pods_do_not_count():
    """A pod that is not ready, or became so within the sample's window, is idle for scaling up, and left out else."""
    young = pod("c", age_s=20, ready_since_s=NOW - 5)
    assert wish([*THREE[:2], young], {"a": 1.0, "b": 1.0, "c": 9.0}) == 4
    assert wish([*THREE[:2], pod("c", ready=False, age_s=60)], {"a": 0.5, "b": 0.5, "c": 9.0}) == 3
    assert wish([*THREE[:2], pod("c", phase="Pending", ready=None)], {"a": 0.1, "b": 0.1}, current=3) == 1
    assert wish([*THREE[:2], pod("c", terminating=True)], {"a": 1.0, "b": 1.0, "c": 9.0}) == 4


def test_no_metrics_is_an_error_not_zero():
    """Nothing is concluded from nothing; nor without a request to compare with."""
    with pytest.raises(MetricError, match="no metrics returned from resource metrics API"):
        wish(THREE, {})
    with pytest.raises(MetricError, match="might be unready"):
        wish([pod("a", ready=False, age_s=20)], {"a": 1.0})
    with pytest.raises(MetricError, match="missing request for cpu"):
        wish([pod("a", request=None)], {"a": 1.0})


RULES = {
    "scaleUp": {
        "stabilizationWindowSeconds": 0,
        "selectPolicy": "Max",
        "policies": [
            {"type": "Pods", "value": 4, "periodSeconds": 15},
            {"type": "Percent", "value": 100, "periodSeconds": 15},
        ],
    },
    "scaleDown": {
        "stabilizationWindowSeconds": 300,
        "selectPolicy": "Max",
        "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}],
    },
}


def test_scaling_down_waits_for_the_window():
    """The highest wish of the last five minutes holds; an older one no longer does."""
    past = Past(wishes=[(NOW - 299, 8), (NOW - 301, 10)])

    assert stabilized(past, 2, 8, RULES, NOW) == 8
    assert stabilized(past, 2, 8, RULES, NOW + 2) == 2


@pytest.mark.parametrize(
    ("asked", "current", "changes", "expected"),
    [
        (5, 3, [], (5, "DesiredWithinRange")),
        (12, 3, [], (7, "ScaleUpLimit")),  # four more
        (50, 10, [], (20, "TooManyReplicas")),  # the double, which is the maximum here
        (12, 7, [(NOW - 5, 4)], (7, "ScaleUpLimit")),  # four were added 5 s ago
        (12, 7, [(NOW - 16, 4)], (12, "DesiredWithinRange")),
        (1, 3, [], (2, "TooFewReplicas")),
    ],
)
def test_steps_are_bounded(asked, current, changes, expected):
    """Policies bound the change of their period; minimum and maximum bound everything."""
    assert limited(Past(changes=changes), asked, current, 2, 20, RULES, NOW)[:2] == expected


# On a sandbox


@pytest.fixture(scope="module")
def fast(tmp_path_factory):
    """A sandbox whose autoscalers look every half second and forget after two."""
    folder = tmp_path_factory.mktemp("autoscaler") / "fast"
    images = folder.with_name("images.yaml")
    images.write_text(IMAGES)
    clocks = ("--clock", "hpa_sync_s=0.5", "--clock", "hpa_downscale_s=2", "--clock", "hpa_cpu_initialization_s=0")
    running = sandboxes.start(folder, nodes=1, gpus=0, arguments=("--images", str(images), *clocks))
    yield Http(running.kubeconfig)
    sandboxes.stop(folder)


APPS, SCALERS = (
    "/apis/apps/v1/namespaces/default/deployments",
    "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers",
)
# Busy while the file is there: it is the test's own, outside of all pods.
BURN = "while true; do if [ -e {flag} ]; then i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; else sleep 1; fi; done"


def deploy(http, name, command, **resources):
    spec = {"terminationGracePeriodSeconds": 0, "containers": [
        {"name": "main", "image": "test/tools:1", "command": ["sh", "-c", command], "resources": resources}
    ]}  # fmt: skip
    template = {"metadata": {"labels": {"app": name}}, "spec": spec}
    body = {
        "metadata": {"name": name},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": name}}, "template": template},
    }
    http.ok("POST", APPS, body)
    wait_for(lambda: http.ok("GET", f"{APPS}/{name}")["status"].get("readyReplicas") == 1, "the pod", 30)


def autoscale(http, name, **spec):
    cpu = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
    base = {"scaleTargetRef": target, "maxReplicas": 3, "metrics": [{"type": "Resource", "resource": cpu}]}
    http.ok("POST", SCALERS, {"metadata": {"name": name}, "spec": base | spec})


def conditions(http, name):
    found = http.ok("GET", f"{SCALERS}/{name}").get("status", {}).get("conditions") or ()
    return {c["type"]: (c["status"], c["reason"]) for c in found}


def replicas(http, name):
    return http.ok("GET", f"{APPS}/{name}")["spec"]["replicas"]


def test_busy_processes_get_company_and_idle_ones_lose_it(fast, tmp_path):
    """One pod burns cpu: three run; then none does: one is left. A twentieth of a core is asked for, so that any
    machine is fast enough to be busy."""
    flag = tmp_path / "busy"
    flag.touch()
    deploy(fast, "burner", BURN.format(flag=flag), requests={"cpu": "50m"})
    autoscale(fast, "burner")

    wait_for(lambda: replicas(fast, "burner") == 3, "more replicas", 60)
    wait_for(lambda: conditions(fast, "burner").get("ScalingLimited") == ("True", "TooManyReplicas"), "the limit", 60)
    assert conditions(fast, "burner")["ScalingActive"] == ("True", "ValidMetricFound")
    seen = fast.ok("GET", f"{SCALERS}/burner")["status"]
    assert seen["currentMetrics"][0]["resource"]["current"]["averageUtilization"] > 50

    flag.unlink()
    wait_for(lambda: replicas(fast, "burner") == 1, "fewer replicas", 60)
    said = [
        e["message"]
        for e in fast.ok("GET", "/api/v1/namespaces/default/events")["items"]
        if e["reason"] == "SuccessfulRescale"
    ]
    assert "New size: 3; reason: cpu resource utilization (percentage of request) above target" in said
    assert "New size: 1; reason: All metrics below target" in said


def test_without_a_metric_nothing_is_scaled(fast):
    """No request to compare with: ScalingActive is False, says why, and the replicas stay."""
    deploy(fast, "blind", "sleep 600")
    autoscale(fast, "blind")

    wait_for(lambda: conditions(fast, "blind").get("ScalingActive") == ("False", "FailedGetResourceMetric"), "the word")
    why = next(c for c in fast.ok("GET", f"{SCALERS}/blind")["status"]["conditions"] if c["type"] == "ScalingActive")
    wait_for(lambda: "missing request for cpu" in next(
        c for c in fast.ok("GET", f"{SCALERS}/blind")["status"]["conditions"] if c["type"] == "ScalingActive"
    )["message"], "the reason")  # fmt: skip
    assert why["status"] == "False" and replicas(fast, "blind") == 1


def test_memory_and_average_values_count_too(fast):
    """A shell holds more than a byte of memory."""
    deploy(fast, "held", "sleep 600", requests={"memory": "1Mi"})
    memory = {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1"}}
    autoscale(fast, "held", metrics=[{"type": "Resource", "resource": memory}], maxReplicas=2)

    wait_for(lambda: replicas(fast, "held") == 2, "more replicas", 60)
