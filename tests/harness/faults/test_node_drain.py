"""A node is drained as `kubectl drain` does it, and only what we cordoned is uncordoned."""

from __future__ import annotations

import threading
import time

import pytest

from harness import faults
from harness.errors import Interrupted
from harness.faults import FaultError
from harness.history.records import FaultStrike
from tests.harness.faults.conftest import NS, wait_ready, wait_until


def node(cluster, name):
    return cluster.get("Node", name)


def detector_nodes(cluster):
    return {pod["spec"]["nodeName"]: pod for pod in cluster.list("Pod", NS, "app=detector")}


def test_a_drained_node_is_empty_and_its_pods_withdrawn_and_the_undo_uncordons_it(run):
    """Cordon, evictions that honour the budget, proof, and back to the picture taken before."""
    faults.node_drain(selector="app=detector", count=1, namespace=NS, deadline="30s")

    strike = next(each for each in run.records if isinstance(each, FaultStrike) and each.step == "injected")
    name = strike.facts["node"]
    assert node(run.context.cluster, name)["spec"]["unschedulable"] is True
    assert node(run.context.cluster, name)["metadata"]["annotations"]["bulletproof.dev/undo-node-drain-1.cordon"]
    assert name not in detector_nodes(run.context.cluster)
    assert strike.facts["evicted"] == [f"{NS}/{pod}" for pod in strike.facts["pods"]]
    evidence = run.evidence()
    assert evidence["node-unschedulable"].seen is True
    assert evidence["node-empty"].seen is True
    assert evidence["endpoint-withdrawn"].seen is True
    # The endpoint goes when the pod begins to terminate, long before the node is empty.
    assert evidence["endpoint-withdrawn"].t_ns < evidence["node-empty"].t_ns
    assert evidence["pod-silent"].facts["withdrawn_ns"] == evidence["pod-gone"].t_ns
    wait_ready(run.context.cluster)
    run.undo()
    assert "unschedulable" not in node(run.context.cluster, name)["spec"]


def test_an_admins_cordon_survives(run):
    """A node that is cordoned already is not chosen, and no undo of ours touches its mark."""
    cluster = run.context.cluster
    cordoned, *_ = sorted(detector_nodes(cluster))
    cluster.patch("Node", cordoned, None, {"spec": {"unschedulable": True}})
    try:
        with pytest.raises(FaultError, match=r"3 nodes were to be drained, and [012] schedulable"):
            faults.node_drain(count=3)
        run.journal.undo_all(run.records.append)

        assert node(cluster, cordoned)["spec"]["unschedulable"] is True
    finally:
        cluster.patch("Node", cordoned, None, {"spec": {"unschedulable": None}})


def test_a_budget_that_allows_nothing_ends_the_drain_at_its_deadline_and_the_node_is_uncordoned(run):
    """Blocked evictions are tried again, and never forced."""
    cluster = run.context.cluster
    cluster.patch("PodDisruptionBudget", "detector", NS, {"spec": {"minAvailable": 3}})
    try:
        wait_until(lambda: cluster.get("PodDisruptionBudget", "detector", NS)["status"]["disruptionsAllowed"] == 0)
        before = {pod["metadata"]["uid"] for pod in cluster.list("Pod", NS)}

        with pytest.raises(FaultError, match="did not end in time"):
            faults.node_drain(deadline="1500ms")

        assert {pod["metadata"]["uid"] for pod in cluster.list("Pod", NS)} == before
        assert [step for step, _ in run.strikes()] == ["planned", "begin", "failed"]
        assert run.evidence()["node-empty"].seen is False
        run.journal.undo_all(run.records.append)
        assert not [each for each in cluster.list("Node") if each["spec"].get("unschedulable")]
    finally:
        cluster.patch("PodDisruptionBudget", "detector", NS, {"spec": {"minAvailable": 2}})


def test_a_blocked_eviction_succeeds_once_the_budget_allows_it(run):
    """429 is an answer to wait for, not an error."""
    cluster = run.context.cluster
    cluster.patch("PodDisruptionBudget", "detector", NS, {"spec": {"minAvailable": 3}})
    wait_until(lambda: cluster.get("PodDisruptionBudget", "detector", NS)["status"]["disruptionsAllowed"] == 0)
    relax = threading.Timer(1.0, cluster.patch, ("PodDisruptionBudget", "detector", NS, {"spec": {"minAvailable": 2}}))
    relax.start()

    faults.node_drain(deadline="30s")

    relax.join()
    injected = next(each for each in run.records if isinstance(each, FaultStrike) and each.step == "injected")
    assert injected.facts["blocked"] >= 1
    wait_ready(cluster)
    run.undo()


@pytest.mark.parametrize(
    ("extra", "allowing", "why"),
    [
        ({"volumes": [{"name": "cache", "emptyDir": {}}]}, {"force": True}, "has emptyDir data"),
        ({}, {"delete_emptydir_data": True}, "has no controller"),
    ],
)
def test_what_would_be_lost_is_refused_before_anything_is_touched(run, extra, allowing, why):
    """As with kubectl, the user has to say that it may be lost."""
    cluster = run.context.cluster
    where = sorted(detector_nodes(cluster))[0]
    container = {"name": "main", "image": "none:1"}
    spec = {"nodeName": where, "containers": [container], "terminationGracePeriodSeconds": 0, **extra}
    cluster.create("Pod", {"metadata": {"name": "precious"}, "spec": spec}, NS)
    cluster.patch("Node", where, None, {"metadata": {"labels": {"chosen": "yes"}}})
    try:
        with pytest.raises(FaultError, match=why):
            faults.node_drain(nodes="chosen=yes", **allowing)

        assert run.strikes() == []
        assert "unschedulable" not in node(cluster, where)["spec"]
    finally:
        cluster.delete("Pod", "precious", NS, grace=0)
        cluster.patch("Node", where, None, {"metadata": {"labels": {"chosen": None}}})


def test_daemon_pods_and_pods_of_other_namespaces_stay(run):
    """A namespace that has not opted in keeps its pods, whatever node they are on."""
    from harness.faults.drain_node import Rules, evictable

    cluster = run.context.cluster
    where = sorted(detector_nodes(cluster))[0]
    container = {"name": "main", "image": "none:1"}
    labels = {"agent": "yes"}
    template = {
        "metadata": {"labels": labels},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 0},
    }
    daemon = {"selector": {"matchLabels": labels}, "template": template}
    cluster.create("Namespace", {"metadata": {"name": "others"}})
    for namespace, name, metadata in (
        ("others", "theirs", {}),
        (NS, "static-x", {"annotations": {"kubernetes.io/config.mirror": "abc"}}),
    ):
        spec = {"nodeName": where, "containers": [container], "terminationGracePeriodSeconds": 0}
        cluster.create("Pod", {"metadata": {"name": name, **metadata}, "spec": spec}, namespace)
    cluster.create("DaemonSet", {"metadata": {"name": "agent"}, "spec": daemon}, NS)
    try:
        wait_until(lambda: [pod for pod in cluster.list("Pod", NS, "agent") if pod["spec"].get("nodeName") == where])

        leaving, staying = evictable(cluster, where, frozenset({NS}), Rules(deadline_ns=0))

        assert all(pod["metadata"]["labels"]["app"] == "detector" for pod in leaving)
        agent, static, theirs = sorted(staying)
        assert agent.startswith(f"{NS}/agent-")
        assert agent.endswith(": of DaemonSet agent")
        assert static == f"{NS}/static-x: a mirror pod"
        assert theirs == "others/theirs: namespace others has not opted in to chaos"
    finally:
        cluster.delete("DaemonSet", "agent", NS)
        for namespace, name in (("others", "theirs"), (NS, "static-x")):
            cluster.delete("Pod", name, namespace, grace=0)
        cluster.delete("Namespace", "others")
        wait_until(lambda: not cluster.list("Pod", NS, "agent"))


def test_an_interrupt_ends_the_drain_at_once(run):
    """Also while it waits for pods that take long to end; the undo uncordons."""
    stop = threading.Timer(1.0, run.context.interrupted.set)
    stop.start()
    began = time.monotonic()

    with pytest.raises(Interrupted):
        faults.node_drain(deadline="30s")

    assert time.monotonic() - began < 15  # half of the deadline that it would wait for
    assert run.strikes()[-1][0] == "failed"
    run.journal.undo_all(run.records.append)
    assert not [each for each in run.context.cluster.list("Node") if each["spec"].get("unschedulable")]
