"""The picture before and after: what a fault could have set shows, what moves by itself does not."""

from __future__ import annotations

import pytest

from harness.undo.entry import RUN_LABEL
from harness.undo.snapshot import Snapshot
from tests.harness.undo.memory import Fuse, MemoryCluster

NS = "inference"


@pytest.fixture
def cluster():
    made = MemoryCluster(Fuse())
    node = {
        "metadata": {"name": "gpu-1", "labels": {"zone": "a"}, "annotations": {"kubelet": "moves"}},
        "spec": {},
        "status": {"capacity": {"cpu": "8", "nvidia.com/gpu": "2"}},
    }
    made.create("Node", node)
    deployment = {"metadata": {"name": "detector"}, "spec": {"replicas": 3, "template": {"spec": {"x": 1}}}}
    made.create("Deployment", deployment, NS)
    return made


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"spec": {"unschedulable": True}}, "node/gpu-1 spec.unschedulable: absent -> true"),
        (
            {"spec": {"taints": [{"key": "bad", "effect": "NoSchedule", "timeAdded": "now"}]}},
            'node/gpu-1 spec.taints[bad:NoSchedule]: absent -> ""',
        ),
        ({"metadata": {"labels": {"zone": "b"}}}, 'node/gpu-1 metadata.labels[zone]: "a" -> "b"'),
        (
            {"metadata": {"annotations": {"bulletproof.dev/undo-x": "run"}}},
            'node/gpu-1 metadata.annotations[bulletproof.dev/undo-x]: absent -> "run"',
        ),
        (
            {"status": {"capacity": {"nvidia.com/gpu": "1"}}},
            'node/gpu-1 status.capacity: {"nvidia.com/gpu": "2"} -> {"nvidia.com/gpu": "1"}',
        ),
        ({"status": {"capacity": {"memory": "5Gi"}}}, None),
        ({"metadata": {"annotations": {"kubelet": "moved"}}}, None),
        ({"spec": {"unschedulable": None, "taints": []}}, None),
    ],
)
def test_what_a_fault_sets_on_a_node_shows(cluster, change, line):
    """One line a field; what kubelets and controllers move by themselves is not in the picture."""
    picture = Snapshot.of(cluster, NS)

    cluster.patch("Node", "gpu-1", None, change)

    assert picture.differences(cluster, settle_s=0) == ([line] if line else [])


def test_objects_that_came_went_or_changed_show(cluster):
    """A workload's spec, an object that is gone, and anything that carries a run's label."""
    picture = Snapshot.of(cluster, NS)
    cluster.patch("Deployment", "detector", NS, {"spec": {"template": {"spec": {"x": 2}}}})
    cluster.create("Pod", {"metadata": {"name": "p", "labels": {RUN_LABEL: "run-1"}}}, NS)
    cluster.create("Pod", {"metadata": {"name": "theirs"}}, NS)
    cluster.delete("Node", "gpu-1")

    assert picture.differences(cluster, settle_s=0) == [
        'deployment/detector spec.template: {"spec": {"x": 1}} -> {"spec": {"x": 2}}',
        "node/gpu-1: is gone",
        "pod/p: was not there before (made by run run-1)",
    ]


def test_what_autoscalers_move_is_nobodys_residue(cluster):
    """The replicas of what an autoscaler scales, and a node that joined; the rest of that Deployment still shows."""
    target = {"kind": "Deployment", "name": "detector"}
    cluster.create("HorizontalPodAutoscaler", {"metadata": {"name": "h"}, "spec": {"scaleTargetRef": target}}, NS)
    cluster.create("Deployment", {"metadata": {"name": "router"}, "spec": {"replicas": 2}}, NS)
    picture = Snapshot.of(cluster, NS)

    cluster.create("Node", {"metadata": {"name": "gpu-2"}, "spec": {}})
    cluster.patch("Deployment", "detector", NS, {"spec": {"replicas": 5, "template": {"spec": {"x": 2}}}})
    cluster.patch("Deployment", "router", NS, {"spec": {"replicas": 3}})

    assert picture.differences(cluster, settle_s=0) == [
        'deployment/detector spec.template: {"spec": {"x": 1}} -> {"spec": {"x": 2}}',
        "deployment/router spec.replicas: 2 -> 3",
    ]


def test_a_controller_that_follows_late_is_waited_for(cluster):
    """The taint of a cordon goes a moment after the cordon."""
    import threading

    picture = Snapshot.of(cluster, NS)
    cluster.patch("Node", "gpu-1", None, {"spec": {"taints": [{"key": "t", "effect": "NoSchedule"}]}})
    threading.Timer(0.3, cluster.patch, ("Node", "gpu-1", None, {"spec": {"taints": []}})).start()

    assert picture.differences(cluster, settle_s=5) == []
