"""A node whose machine is switched off: noticed, proven, switched on again, whoever does that."""

from __future__ import annotations

import dataclasses
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from clusters.provider import NodeCommands, provider_for
from harness import faults
from harness.faults import FaultContext, FaultError, stop_node
from harness.faults._strike import Aim
from harness.kube import Cluster
from harness.undo.apply import NotUndone, apply, command, verify
from harness.undo.entry import Entry, StartNode
from tests.harness.faults.conftest import NS, Run, wait_ready, wait_until

SAID = NodeCommands(
    stop=(sys.executable, "-c", "import sys; print('no power switch'); sys.exit(3)", "{node}"),
    start=(sys.executable, "-c", "pass", "{node}"),
    origin="clusters/test.yaml",
)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A sandbox that notices a silent node after 3 s, with the healthy platform."""
    file = tmp_path_factory.mktemp("clusters") / "quick.yaml"
    file.write_text("clocks: {node_monitor_grace: 3s, node_lease_renew: 1s}\n")
    provider = provider_for("sandbox", file)
    access = provider.up()
    try:
        provider.deploy(access, "healthy", lambda _: None)
        yield Cluster.connect(access.kubeconfig, access.context, node_commands=access.node_commands)
    finally:
        provider.down(access)


@pytest.fixture
def run(cluster: Cluster, tmp_path: Path) -> Iterator[Run]:
    """An open run on it."""
    wait_ready(cluster)
    made = Run(cluster, tmp_path)
    with faults.use(made.context):
        yield made
    made.journal.undo_all(made.records.append)
    assert made.journal.close() == []


def test_a_stopped_node_is_noticed_and_comes_back(run):
    """Proven by the controller that missed its heartbeats and by the endpoints; then a Ready node with its GPUs."""
    faults.node_stop(selector="app=detector", count=1, noticed_within="60s")

    seen = run.evidence()
    node = seen["node-not-ready"].facts["node"]
    assert {claim: each.seen for claim, each in seen.items()} == {
        "node-not-ready": True,
        "endpoint-withdrawn": True,
        "pod-silent": None,  # the requests will tell
    }
    assert [step for step, _ in run.strikes()] == ["planned", "begin", "injected"]
    run.undo()
    found = run.context.cluster.get("Node", node)
    assert stop_node.is_ready(found)
    assert found["status"]["allocatable"]["nvidia.com/gpu"] == "2"


def test_the_undo_is_written_before_the_stop_and_is_done_by_anybody(run, monkeypatch):
    """The harness dies between the two: the entry is there, names the node, and switches it on from plain data."""
    monkeypatch.setattr(stop_node.NodeStop, "inject", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        faults.node_stop(selector="app=detector")
    (entry,) = run.journal.pending
    again = Entry.from_json(entry.to_json())

    (op,) = again.ops
    assert isinstance(op, StartNode)
    assert apply(op, run.context.cluster) == f"node {op.node} was switched on"
    verify(op, run.context.cluster)


def test_a_stop_that_fails_is_a_failed_activity_with_what_it_said(run):
    """Nothing was broken, so nothing can be concluded; its output is kept in the run's folder."""
    own = run.context.cluster.node_commands
    run.context.cluster.node_commands = dataclasses.replace(SAID, start=own.start)
    try:
        with pytest.raises(FaultError, match="exit code 3: no power switch"):
            faults.node_stop(selector="app=detector")
    finally:
        run.context.cluster.node_commands = own
    assert (run.context.run_dir / "node-stop-1.log").read_text() == "no power switch\n"
    assert run.strikes()[-1][0] == "failed"
    run.undo()


def test_a_node_that_does_not_come_back_is_residue_with_its_command(run):
    """A start that says it is done while the node stays dark is not believed, Ready as the API still calls it."""
    cluster = run.context.cluster
    own = cluster.node_commands
    node = cluster.list("Pod", NS, "app=detector")[0]["spec"]["nodeName"]
    op = StartNode(node=node, words={"node": node}, by_hand=("power", "on", node), within_s=3.0)
    stop = Aim(
        cluster=cluster,
        namespace=NS,
        selector="app=detector",
        service="detector",
        rng=random.Random(7),
        blast_radius=run.context.blast_radius,
    )
    chosen = stop_node.select(stop, "app=detector", 1, f"kubernetes.io/hostname={node}")[0]
    chosen.inject(run.context, [Entry(entry_id="x.start", fault_id="x", what="")])
    cluster.node_commands = dataclasses.replace(own, start=SAID.start)
    try:
        with pytest.raises(NotUndone, match="no sign of life within 3 s"):
            apply(op, cluster)
        cluster.node_commands = None
        with pytest.raises(NotUndone, match="--cluster-config"):
            apply(op, cluster)
    finally:
        cluster.node_commands = own
    assert command(op, None) == f"power on {node}"
    apply(op, cluster)
    verify(dataclasses.replace(op, within_s=60.0), cluster)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"load_host": "address"}, "is where the load enters the cluster"),
        ({"count": 4}, r"4 nodes were to be stopped, and \d Ready nodes"),
        ({"commands": None}, "nobody has said how a machine of this cluster is switched off"),
        ({"pods": 0}, "blast radius"),
    ],
)
def test_what_must_not_be_stopped_is_not(run, change, said):
    """Nothing is written down and nothing is touched."""
    context: FaultContext = run.context
    own = context.cluster.node_commands
    name = context.cluster.list("Pod", NS, "app=detector")[0]["spec"]["nodeName"]
    first = context.cluster.get("Node", name)
    assert first is not None
    nodes = ""
    if "load_host" in change:
        context.load_host = first["status"]["addresses"][0]["address"]
        nodes = f"kubernetes.io/hostname={name}"
    if "commands" in change:
        context.cluster.node_commands = None
    if "pods" in change:
        context.blast_radius = context.blast_radius.model_copy(update={"pods": 0})
    try:
        with pytest.raises(FaultError, match=said):
            faults.node_stop(selector="app=detector", count=change.get("count", 1), nodes=nodes)
    finally:
        context.cluster.node_commands = own
    assert run.journal.pending == ()


def test_a_control_plane_is_spared(run):
    """A cluster without its API server could not be put back by anybody."""
    cluster = run.context.cluster
    label = stop_node.CONTROL_PLANE[0]
    names = [node["metadata"]["name"] for node in cluster.list("Node")]
    for name in names:
        cluster.patch("Node", name, None, {"metadata": {"labels": {label: ""}}})
    try:
        with pytest.raises(FaultError, match="is of the control plane"):
            faults.node_stop(selector="app=detector")
    finally:
        for name in names:
            cluster.patch("Node", name, None, {"metadata": {"labels": {label: None}}})
    wait_until(lambda: run.picture.differences(cluster) == [])
