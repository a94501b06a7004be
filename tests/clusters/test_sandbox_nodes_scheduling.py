"""Which node a pod gets, and what is said when it gets none."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import nodes_kit as kit
import pytest
from nodes_kit import Cluster, deployment, pod, wait_for

GPU = {"limits": {"nvidia.com/gpu": 1}}


@pytest.fixture
def cluster(whole: Cluster) -> Iterator[Cluster]:
    with kit.fresh_namespace(whole) as own:
        yield own
    for name in ("gpu-1", "gpu-2", "gpu-3"):
        whole.patch("nodes", name, {"spec": {"unschedulable": None, "taints": None}})


def _refusal(cluster: Cluster, name: str) -> str:
    """What the PodScheduled condition says about a pod that found no node."""

    def look() -> str:
        found = [c for c in cluster.get("pods", name)["status"].get("conditions", ()) if c["type"] == "PodScheduled"]
        return found[0]["message"] if found and found[0].get("reason") == "Unschedulable" else ""

    return str(wait_for(look, "the refusal"))


def _nodes(cluster: Cluster, count: int) -> list[str]:
    """The nodes of all pods, once `count` are bound."""
    return wait_for(
        lambda: (
            len(n := [p["spec"]["nodeName"] for p in cluster.list("pods") if p["spec"].get("nodeName")]) == count
            and sorted(n)
        ),
        f"{count} bound",
    )


def test_replicas_are_spread_over_the_nodes(cluster: Cluster) -> None:
    """Without being told to."""
    cluster.create("deployments", deployment("web", 3))

    assert _nodes(cluster, 3) == ["gpu-1", "gpu-2", "gpu-3"]


def test_gpus_are_counted_and_the_seventh_of_six_waits(cluster: Cluster) -> None:
    """With Kubernetes' words; it starts when one becomes free."""
    cluster.create("deployments", deployment("gpu", 6, resources=GPU))
    _nodes(cluster, 6)
    cluster.create("pods", pod("seventh", resources=GPU))

    text = _refusal(cluster, "seventh")
    assert text == (
        "0/3 nodes are available: 3 Insufficient nvidia.com/gpu. "
        "preemption: 0/3 nodes are available: 3 No preemption victims found for incoming pod."
    )
    assert cluster.events("seventh", "FailedScheduling")[0]["message"] == text
    assert cluster.get("pods", "seventh")["status"]["phase"] == "Pending"
    cluster.patch("deployments", "gpu", {"spec": {"replicas": 5}})

    assert cluster.running("seventh", 15)


def test_every_container_gets_gpus_of_its_own(cluster: Cluster) -> None:
    """NVIDIA_VISIBLE_DEVICES: nobody else's."""
    only = {"nodeSelector": {"kubernetes.io/hostname": "gpu-1"}}
    for name in ("one", "two"):
        cluster.create("pods", pod(name, resources=GPU, spec_=only))
    devices = set()
    for name in ("one", "two"):
        running = cluster.running(name)
        found = wait_for(lambda r=running: _env(r), "the server")
        devices.add(found["NVIDIA_VISIBLE_DEVICES"])

    assert devices == {"GPU-gpu-1-0", "GPU-gpu-1-1"}


def test_a_cordoned_node_gets_no_new_pods_and_keeps_its_old_ones(cluster: Cluster) -> None:
    """The cordon also shows as a taint."""
    cluster.create("deployments", deployment("web", 3))
    _nodes(cluster, 3)
    cluster.patch("nodes", "gpu-1", {"spec": {"unschedulable": True}})
    wait_for(lambda: "unschedulable" in str(cluster.get("nodes", "gpu-1")["spec"].get("taints")), "the taint")

    cluster.patch("deployments", "web", {"spec": {"replicas": 6}})

    assert _nodes(cluster, 6).count("gpu-1") == 1


def test_reasons_are_counted_by_node(cluster: Cluster) -> None:
    """A cordon, a taint and a selector, each with its number."""
    cluster.patch("nodes", "gpu-1", {"spec": {"unschedulable": True}})
    taint = {"key": "sick", "value": "yes", "effect": "NoSchedule"}
    cluster.patch("nodes", "gpu-2", {"spec": {"taints": [taint]}})
    cluster.create("pods", pod("picky", spec_={"nodeSelector": {"disk": "fast"}}))

    assert _refusal(cluster, "picky") == (
        "0/3 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, "
        "1 node(s) had untolerated taint {sick: yes}, 1 node(s) were unschedulable. "
        "preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
    )
    cluster.patch("nodes", "gpu-3", {"metadata": {"labels": {"disk": "fast"}}})
    assert _nodes(cluster, 1) == ["gpu-3"]
    cluster.patch("nodes", "gpu-3", {"metadata": {"labels": {"disk": None}}})


def test_a_toleration_lets_a_pod_bear_a_taint(cluster: Cluster) -> None:
    """Here with Exists."""
    for name in ("gpu-1", "gpu-2", "gpu-3"):
        cluster.patch("nodes", name, {"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}})
    cluster.create("pods", pod("hard", spec_={"tolerations": [{"key": "a", "operator": "Exists"}]}))
    cluster.create("pods", pod("soft"))

    cluster.running("hard")
    assert "3 node(s) had untolerated taint {a: }" in _refusal(cluster, "soft")


def test_hard_spread_constraints_hold(cluster: Cluster) -> None:
    """maxSkew 1 over hostname with one node cordoned: the third pod may go to neither of the others."""
    constraint = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "web"}},
    }
    cluster.patch("nodes", "gpu-3", {"spec": {"unschedulable": True}})
    cluster.create("deployments", deployment("web", 3, spec_={"topologySpreadConstraints": [constraint]}))

    assert _nodes(cluster, 2) == ["gpu-1", "gpu-2"]
    stuck = wait_for(
        lambda: [p["metadata"]["name"] for p in cluster.list("pods") if not p["spec"].get("nodeName")], "one stuck"
    )
    assert "2 node(s) didn't match pod topology spread constraints" in _refusal(cluster, stuck[0])
    cluster.patch("nodes", "gpu-3", {"spec": {"unschedulable": None}})
    assert _nodes(cluster, 3) == ["gpu-1", "gpu-2", "gpu-3"]


def test_soft_spread_constraints_only_prefer(cluster: Cluster) -> None:
    """ScheduleAnyway: evenly where there is room, on top of each other where there is none."""
    constraint = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": {"app": "web"}},
    }
    cluster.create("deployments", deployment("web", 6, spec_={"topologySpreadConstraints": [constraint]}))

    assert _nodes(cluster, 6) == ["gpu-1", "gpu-1", "gpu-2", "gpu-2", "gpu-3", "gpu-3"]


def test_a_pod_that_waits_for_its_own_kind_is_woken_by_nodes_and_by_its_kind(cluster: Cluster) -> None:
    """The last of its kind has gone, so it could go anywhere; as on a real 1.36 nobody looks, until a node changes."""
    term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "warm"}}}
    near = {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    labels = {"app": "warm"}
    cluster.create("pods", pod("first", labels=labels, spec_={"affinity": near}))
    node = _nodes(cluster, 1)[0]
    cluster.patch("nodes", node, {"spec": {"unschedulable": True}})
    for name in ("second", "third"):
        cluster.create("pods", pod(name, labels=labels, spec_={"affinity": near}))
        assert "2 node(s) didn't match pod affinity rules" in _refusal(cluster, name)

    cluster.delete("pods", "first", gracePeriodSeconds=0)
    wait_for(lambda: len(cluster.list("pods")) == 2, "the first is gone")
    time.sleep(2.5)  # longer than the first back-off: had it been woken, it would be bound

    assert not any(each["spec"].get("nodeName") for each in cluster.list("pods"))
    cluster.patch("nodes", node, {"spec": {"unschedulable": None}})
    assert len(set(_nodes(cluster, 2))) == 1


def test_anti_affinity_keeps_pods_apart(cluster: Cluster) -> None:
    """One on each host; the fourth has no place."""
    term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "web"}}}
    anti = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    cluster.create("deployments", deployment("web", 3, spec_={"affinity": anti}))
    assert _nodes(cluster, 3) == ["gpu-1", "gpu-2", "gpu-3"]

    cluster.create("pods", pod("fourth", labels={"app": "web"}))

    assert "3 node(s) didn't satisfy existing pods anti-affinity rules" in _refusal(cluster, "fourth")


def test_cpu_and_memory_are_counted_too(cluster: Cluster) -> None:
    """16 CPUs a node: two pods of 9 do not share one."""
    for name in ("a", "b", "c", "d"):
        cluster.create("pods", pod(name, resources={"requests": {"cpu": "9"}}))

    assert _nodes(cluster, 3) == ["gpu-1", "gpu-2", "gpu-3"]
    stuck = next(p["metadata"]["name"] for p in cluster.list("pods") if not p["spec"].get("nodeName"))
    assert "3 Insufficient cpu" in _refusal(cluster, stuck)


def test_a_pod_bound_by_hand_to_a_full_node_is_refused_by_the_kubelet(cluster: Cluster) -> None:
    """The scheduler has no say in it."""
    obj = pod("forced", resources={"limits": {"nvidia.com/gpu": 3}}, spec_={"nodeName": "gpu-1"})
    cluster.create("pods", obj)

    found = wait_for(lambda: (p := cluster.get("pods", "forced"))["status"]["phase"] == "Failed" and p, "Failed")

    assert found["status"]["reason"] == "UnexpectedAdmissionError"


def test_allocatable_follows_a_patched_capacity(cluster: Cluster) -> None:
    """As kubelets recompute it: a GPU less, and the next pod that asks for it waits."""
    cluster.patch("nodes", "gpu-2", {"status": {"capacity": {"nvidia.com/gpu": "0"}}}, "status")
    wait_for(lambda: cluster.get("nodes", "gpu-2")["status"]["allocatable"]["nvidia.com/gpu"] == "0", "allocatable")
    only = {"nodeSelector": {"kubernetes.io/hostname": "gpu-2"}}
    cluster.create("pods", pod("hungry", resources=GPU, spec_=only))

    assert "1 Insufficient nvidia.com/gpu" in _refusal(cluster, "hungry")
    cluster.patch("nodes", "gpu-2", {"status": {"capacity": {"nvidia.com/gpu": "2"}}}, "status")
    assert cluster.running("hungry", 15)


def _env(running: kit.Object) -> dict[str, str]:
    try:
        return dict(json.loads(kit.get(running["status"]["podIP"], "env")))
    except OSError:
        return {}
