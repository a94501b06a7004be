"""Undo restores what was there, where it is still ours, and nothing else."""

from __future__ import annotations

import json

import pytest

from harness.errors import InvalidRun
from harness.undo import apply as interpreter
from harness.undo import pointer
from harness.undo.entry import RUN_LABEL, DeleteCreated, Entry, Field, LatencyOff, RestoreFields, mark_of
from tests.harness.undo.memory import Fuse, MemoryCluster

NS = "inference"


@pytest.fixture
def cluster():
    made = MemoryCluster(Fuse())
    made.create("Node", {"metadata": {"name": "gpu-1"}, "spec": {}})
    made.create("Service", {"metadata": {"name": "detector"}, "spec": {"selector": {"app": "detector"}}}, NS)
    return made


def cordon(cluster, *, mark="bulletproof.dev/undo-x"):
    node = cluster.get("Node", "gpu-1")
    return RestoreFields(
        kind="Node",
        name="gpu-1",
        uid=node["metadata"]["uid"],
        fields=(
            Field(
                at="/spec/unschedulable",
                before=pointer.read(node, "/spec/unschedulable"),
                after=pointer.value(True),
            ),
        ),
        mark=mark,
        mark_value="run-1" if mark else "",
    )


def strike(cluster, op):
    cluster.patch("Node", "gpu-1", None, op.forward(cluster.get("Node", "gpu-1")))


def unschedulable(cluster):
    return cluster.get("Node", "gpu-1")["spec"].get("unschedulable")


def test_a_cordon_of_ours_is_taken_back_and_leaves_no_mark(cluster):
    """Applied twice it does nothing more."""
    op = cordon(cluster)
    strike(cluster, op)
    assert unschedulable(cluster) is True

    assert interpreter.apply(op, cluster) == "restored"
    interpreter.verify(op, cluster)
    assert interpreter.apply(op, cluster) == "nothing of ours is there"

    assert unschedulable(cluster) is None
    assert not cluster.get("Node", "gpu-1")["metadata"]["annotations"]


def test_an_admins_cordon_survives_the_undo(cluster):
    """Undo restores what was there, not what we think is normal: before our act, instead of it, and after our undo."""
    cluster.patch("Node", "gpu-1", None, {"spec": {"unschedulable": True}})
    before_ours = cordon(cluster)
    strike(cluster, before_ours)
    interpreter.apply(before_ours, cluster)
    interpreter.verify(before_ours, cluster)
    assert unschedulable(cluster) is True

    cluster.patch("Node", "gpu-1", None, {"spec": {"unschedulable": None}})
    never_done = cordon(cluster)
    cluster.patch("Node", "gpu-1", None, {"spec": {"unschedulable": True}})
    interpreter.apply(never_done, cluster)
    interpreter.verify(never_done, cluster)
    assert unschedulable(cluster) is True

    cluster.patch("Node", "gpu-1", None, {"spec": {"unschedulable": None}})
    undone = cordon(cluster)
    strike(cluster, undone)
    interpreter.apply(undone, cluster)
    cluster.patch("Node", "gpu-1", None, {"spec": {"unschedulable": True}})
    interpreter.apply(undone, cluster)
    assert unschedulable(cluster) is True


def test_an_admin_who_uncordons_meanwhile_is_not_overruled(cluster):
    """The value is no longer what we made of it: it is left, said, and our mark goes."""
    op = cordon(cluster)
    strike(cluster, op)
    cluster.patch("Node", "gpu-1", None, {"spec": {"unschedulable": None}})

    interpreter.apply(op, cluster)
    interpreter.verify(op, cluster)

    assert unschedulable(cluster) is None
    assert not cluster.get("Node", "gpu-1")["metadata"]["annotations"]


def test_a_selector_that_somebody_else_has_changed_since_is_left_and_told(cluster):
    """Ours is replaced as a whole, keys that the old one lacks included; theirs is not."""
    service = cluster.get("Service", "detector", NS)
    op = RestoreFields(
        kind="Service",
        name="detector",
        namespace=NS,
        uid=service["metadata"]["uid"],
        fields=(
            Field(
                at="/spec/selector",
                before=pointer.value({"app": "detector"}),
                after=pointer.value({"bulletproof.dev/proxy-for": "detector"}),
            ),
        ),
        mark="bulletproof.dev/undo-y",
        mark_value="run-1",
    )
    cluster.patch("Service", "detector", NS, op.forward(service))
    assert cluster.get("Service", "detector", NS)["spec"]["selector"] == {"bulletproof.dev/proxy-for": "detector"}
    cluster.patch("Service", "detector", NS, [{"op": "replace", "path": "/spec/selector", "value": {"app": "blue"}}])

    told = interpreter.apply(op, cluster)

    assert "/spec/selector was changed by somebody else since and is left as it is" in told
    assert cluster.get("Service", "detector", NS)["spec"]["selector"] == {"app": "blue"}


def test_an_object_that_was_made_anew_under_the_old_name_is_not_touched(cluster):
    """Its uid is another one."""
    op = cordon(cluster, mark="")
    cluster.delete("Node", "gpu-1")
    cluster.create("Node", {"metadata": {"name": "gpu-1"}, "spec": {"unschedulable": True}})

    assert "is gone" in interpreter.apply(op, cluster)
    interpreter.verify(op, cluster)

    assert unschedulable(cluster) is True


def test_an_act_on_a_state_that_is_not_the_recorded_one_fails(cluster):
    """Else the undo would restore what was not there."""
    from harness.kube import Refused

    service = cluster.get("Service", "detector", NS)
    op = RestoreFields(
        kind="Service",
        name="detector",
        namespace=NS,
        uid=service["metadata"]["uid"],
        fields=(
            Field(at="/spec/selector", before=pointer.value({"app": "detector"}), after=pointer.value({"app": "x"})),
        ),
    )
    cluster.patch("Service", "detector", NS, {"spec": {"selector": {"app": "green"}}})

    with pytest.raises(Refused):
        cluster.patch("Service", "detector", NS, op.forward(service))


def test_only_objects_with_the_runs_label_are_deleted(cluster):
    """A pod of the same name that somebody else has made is left."""
    op = DeleteCreated(kind="Pod", name="bulletproof-proxy-1", namespace=NS, run_id="run-1", within_s=0)
    cluster.create("Pod", {"metadata": {"name": "bulletproof-proxy-1", "labels": {RUN_LABEL: "run-2"}}}, NS)

    assert "not ours" in interpreter.apply(op, cluster)
    interpreter.verify(op, cluster)

    assert cluster.get("Pod", "bulletproof-proxy-1", NS) is not None


def test_an_object_that_does_not_go_is_no_success(cluster):
    """Deleting was asked for; only its absence counts."""
    op = DeleteCreated(kind="Pod", name="p", namespace=NS, run_id="run-1", within_s=0)
    cluster.create("Pod", {"metadata": {"name": "p", "labels": {RUN_LABEL: "run-1"}}}, NS)

    with pytest.raises(interpreter.NotUndone, match="still there"):
        interpreter.verify(op, cluster)


def test_entries_survive_json_and_an_unknown_one_is_refused(cluster):
    """What an older or newer Bulletproof wrote is understood or refused, never guessed at."""
    entry = Entry(
        entry_id="node-drain-1.cordon",
        fault_id="node-drain-1",
        what="node gpu-1 takes pods again",
        ops=(cordon(cluster), LatencyOff(namespace=NS, pod="p")),
        number=3,
    )

    assert Entry.from_json(json.loads(json.dumps(entry.to_json()))) == entry
    with pytest.raises(InvalidRun, match="format 2"):
        Entry.from_json({**entry.to_json(), "format": 2})
    with pytest.raises(InvalidRun, match="'reboot' is not known"):
        Entry.from_json({**entry.to_json(), "ops": [{"op": "reboot"}]})


def test_the_command_that_clears_a_residue_is_one_that_kubectl_takes(cluster):
    """Uncordon where that is what it is; else a patch, with the mark."""
    op = cordon(cluster)

    assert interpreter.command(op, "kind-ci").splitlines() == [
        "kubectl --context kind-ci uncordon gpu-1",
        "  kubectl --context kind-ci annotate node/gpu-1 bulletproof.dev/undo-x-",
    ]


@pytest.mark.parametrize(
    ("at", "seen"),
    [
        ("/spec/unschedulable", {"value": True}),
        ("/spec/missing", {"absent": True}),
        ("/metadata/annotations/bulletproof.dev~1run", {"value": "x"}),
        ("/spec/taints/0/key", {"value": "gpu"}),
        ("/spec/taints/1", {"absent": True}),
        ("/spec/empty", {"absent": True}),
        ("/spec/nothing", {"absent": True}),
    ],
)
def test_a_pointer_tells_a_value_from_its_absence(at, seen):
    """Empty maps and nulls are dropped by the API server, so they count as absent."""
    obj = {
        "metadata": {"annotations": {"bulletproof.dev/run": "x"}},
        "spec": {"unschedulable": True, "taints": [{"key": "gpu"}], "empty": {}, "nothing": None},
    }

    assert pointer.read(obj, at) == seen


def test_a_mark_fits_into_an_annotations_name():
    """63 characters after the slash."""
    assert len(mark_of("bad-release-1000.template").split("/")[1]) <= 63
