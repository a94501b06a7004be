"""Nodes that fall silent and come back, GPUs that get sick, taints that evict."""

from __future__ import annotations

import time
from collections.abc import Iterator

import nodes_kit as kit
import pytest
from nodes_kit import Cluster, condition, container_status, deployment, pod, service, wait_for

# A tenth of Kubernetes' times, so that a test takes seconds: 5 s until a silent node is Unknown, 3 s until eviction.
CLOCKS = ("node_lease_renew_s=1", "node_monitor_grace_s=5", "default_toleration_s=3")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    arguments = [word for clock in CLOCKS for word in ("--clock", clock)]
    with kit.sandbox(tmp_path_factory.mktemp("loss"), *arguments) as cluster:
        yield cluster


@pytest.fixture
def cluster(whole: Cluster) -> Iterator[Cluster]:
    for name in ("gpu-1", "gpu-2", "gpu-3"):
        wait_for(lambda n=name: condition(whole.get("nodes", n), "Ready") == "True", f"{name} Ready", 15)
    with kit.fresh_namespace(whole) as own:
        yield own
        for name in ("gpu-1", "gpu-2", "gpu-3"):
            whole.node("start", name)
            whole.patch("nodes", name, {"spec": {"taints": None}})


def _on(node: str) -> kit.Object:
    return {"nodeSelector": {"kubernetes.io/hostname": node}}


def test_a_stopped_node_turns_unknown_and_its_pods_are_replaced_elsewhere(cluster: Cluster) -> None:
    """Unknown after the grace, no endpoint, taints, eviction after tolerationSeconds, Terminating until it is back."""
    cluster.create("services", service("web"))
    cluster.create("deployments", deployment("web", 3))
    cluster.in_use("web")
    lost = next(p for p in cluster.list("pods") if p["spec"]["nodeName"] == "gpu-2")

    begun = time.monotonic()
    cluster.node("stop", "gpu-2")
    with pytest.raises(OSError):
        kit.get(lost["status"]["podIP"], "name", timeout_s=0.5)
    wait_for(lambda: condition(cluster.get("nodes", "gpu-2"), "Ready") == "Unknown", "Unknown", 25)
    assert time.monotonic() - begun > 3.5
    wait_for(lambda: not kit.ready(cluster.get("pods", lost["metadata"]["name"])), "its pod not ready")
    wait_for(
        lambda: (
            [e["conditions"]["ready"] for s in cluster.list("endpointslices") for e in s["endpoints"]].count(True) == 2
        ),
        "two endpoints",
    )
    node = wait_for(lambda: "NoExecute" in str(n := cluster.get("nodes", "gpu-2")) and n, "the taints")
    assert {(t["key"], t["effect"]) for t in node["spec"]["taints"]} == {
        ("node.kubernetes.io/unreachable", "NoSchedule"),
        ("node.kubernetes.io/unreachable", "NoExecute"),
    }
    wait_for(lambda: cluster.get("deployments", "web")["status"].get("readyReplicas") == 3, "three again", 25)
    left = cluster.get("pods", lost["metadata"]["name"])
    assert "deletionTimestamp" in left["metadata"]
    assert condition(left, "DisruptionTarget") == "True"
    time.sleep(0.5)
    assert cluster.find("pods", lost["metadata"]["name"]) is not None

    cluster.node("start", "gpu-2")
    wait_for(lambda: cluster.find("pods", lost["metadata"]["name"]) is None, "the old pod gone")
    wait_for(lambda: condition(cluster.get("nodes", "gpu-2"), "Ready") == "True", "Ready")
    wait_for(lambda: not cluster.get("nodes", "gpu-2")["spec"].get("taints"), "no taints")


def test_a_node_that_is_back_in_time_starts_its_containers_again(cluster: Cluster) -> None:
    """The same pod, one restart, its end told as Unknown 255."""
    cluster.create("pods", pod("kept", spec_=_on("gpu-1")))
    before = cluster.running("kept")

    cluster.node("stop", "gpu-1")
    cluster.node("start", "gpu-1")

    after = wait_for(
        lambda: container_status(p := cluster.get("pods", "kept"))["restartCount"] == 1 and kit.ready(p) and p, "again"
    )
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    ended = container_status(after)["lastState"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (255, "Unknown")


def test_a_frozen_node_goes_on_where_it_was(cluster: Cluster) -> None:
    """Connections hang meanwhile, and are answered afterwards; nothing is restarted."""
    cluster.create("pods", pod("cold", spec_=_on("gpu-1")))
    running = cluster.running("cold")
    wait_for(lambda: _name(running), "the server")

    cluster.node("freeze", "gpu-1")
    with pytest.raises(TimeoutError):
        kit.get(running["status"]["podIP"], "name", timeout_s=0.5)
    cluster.node("start", "gpu-1")

    wait_for(lambda: _name(running) == "cold", "an answer")
    assert container_status(cluster.get("pods", "cold"))["restartCount"] == 0


def test_without_its_kubelet_a_nodes_pods_serve_on(cluster: Cluster) -> None:
    """But nobody restarts them or follows their deletion until it is back."""
    cluster.create("pods", pod("alone", "8000", "term=0", spec_=_on("gpu-3")))
    running = cluster.running("alone")
    wait_for(lambda: _name(running), "the server")
    cluster.node("kill-kubelet", "gpu-3")

    assert _name(running) == "alone"
    cluster.delete("pods", "alone")
    time.sleep(0.6)
    assert _name(running) == "alone"
    cluster.node("start", "gpu-3")

    wait_for(lambda: cluster.find("pods", "alone") is None, "gone")


def test_a_forced_deletion_frees_a_pod_of_a_lost_node(cluster: Cluster) -> None:
    """The object goes at once; its process when the node is back."""
    cluster.create("pods", pod("stuck", spec_=_on("gpu-2")))
    running = cluster.running("stuck")
    wait_for(lambda: _name(running), "the server")
    cluster.node("kill-kubelet", "gpu-2")

    cluster.delete("pods", "stuck", gracePeriodSeconds=0)
    assert cluster.find("pods", "stuck") is None
    assert _name(running) == "stuck"
    cluster.node("start", "gpu-2")

    wait_for(lambda: not _name(running), "the process gone")


def test_a_no_execute_taint_evicts_pods_that_do_not_tolerate_it(cluster: Cluster) -> None:
    """At once, or after their tolerationSeconds."""
    tolerations = [{"key": "gpu", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 2}]
    cluster.create("pods", pod("brief", spec_=_on("gpu-1") | {"tolerations": tolerations}))
    cluster.create("pods", pod("gone", spec_=_on("gpu-1")))
    for_ever = [{"key": "gpu", "operator": "Exists"}]
    cluster.create("pods", pod("stays", spec_=_on("gpu-1") | {"tolerations": for_ever}))
    for name in ("brief", "gone", "stays"):
        wait_for(lambda n=name: _name(cluster.running(n)), "the server")

    begun = time.monotonic()
    cluster.patch("nodes", "gpu-1", {"spec": {"taints": [{"key": "gpu", "value": "bad", "effect": "NoExecute"}]}})
    wait_for(lambda: cluster.find("pods", "gone") is None, "gone at once")
    wait_for(lambda: cluster.find("pods", "brief") is None, "gone after its time")

    assert time.monotonic() - begun > 0.9
    assert kit.ready(cluster.get("pods", "stays"))


def test_a_sick_gpu_lowers_allocatable_and_shows_in_the_pod_that_has_it(cluster: Cluster) -> None:
    """Running pods stay; new ones do not get it."""
    limits = {"limits": {"nvidia.com/gpu": 1}}
    cluster.create("pods", pod("has", resources=limits, spec_=_on("gpu-3")))
    cluster.running("has")

    cluster.node("gpu-sick", "gpu-3", 0)
    wait_for(lambda: cluster.get("nodes", "gpu-3")["status"]["allocatable"]["nvidia.com/gpu"] == "1", "allocatable")
    assert cluster.get("nodes", "gpu-3")["status"]["capacity"]["nvidia.com/gpu"] == "2"
    status = wait_for(
        lambda: container_status(cluster.get("pods", "has")).get("allocatedResourcesStatus"), "the health"
    )
    assert status[0]["resources"] == [{"resourceID": "GPU-gpu-3-0", "health": "Unhealthy"}]
    assert kit.ready(cluster.get("pods", "has"))
    cluster.node("gpu-heal", "gpu-3", 0)

    wait_for(lambda: cluster.get("nodes", "gpu-3")["status"]["allocatable"]["nvidia.com/gpu"] == "2", "healed")


def test_heartbeats_renew_the_lease(cluster: Cluster) -> None:
    """One lease a node, in kube-node-lease."""
    leases = cluster.into("kube-node-lease")
    first = leases.get("leases", "gpu-1")["spec"]["renewTime"]

    wait_for(lambda: leases.get("leases", "gpu-1")["spec"]["renewTime"] > first, "renewed", 3)


def test_the_administrators_door_says_what_it_does_not_know(cluster: Cluster) -> None:
    """With what there is."""
    with pytest.raises(ValueError, match="no node 'gpu-9'; there are gpu-1, gpu-2, gpu-3"):
        cluster.node("stop", "gpu-9")
    with pytest.raises(ValueError, match="gpu-1 has 2 GPUs"):
        cluster.node("gpu-sick", "gpu-1", 7)


def _name(running: kit.Object) -> str:
    try:
        return kit.get(running["status"]["podIP"], "name", timeout_s=1)
    except OSError:
        return ""
