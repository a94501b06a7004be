"""A killed pod is gone at once, and the cluster says so. What may not be done is refused before it is touched."""

from __future__ import annotations

import pytest

from harness import faults
from harness.experiment.model import BlastRadius
from harness.faults import FaultError
from harness.history.records import FaultStrike
from tests.harness.faults.conftest import NS


def test_a_killed_pod_is_gone_withdrawn_and_left_to_the_requests(run):
    """The undo comes first, then the act; each claim is seen by the cluster, the silence is left to the judge."""
    before = {pod["metadata"]["uid"]: pod["metadata"]["name"] for pod in run.context.cluster.list("Pod", NS)}

    result = faults.pod_kill(selector="app=detector", count=1, namespace=NS)

    strikes = [each for each in run.records if isinstance(each, FaultStrike)]
    assert [each.step for each in strikes] == ["planned", "begin", "injected"]
    assert result == {"faults": [strikes[0].fault_id]}
    uid, name = strikes[0].facts["uid"], strikes[0].facts["pod"]
    assert before[uid] == name
    assert uid not in {pod["metadata"]["uid"] for pod in run.context.cluster.list("Pod", NS)}
    evidence = run.evidence()
    assert evidence["pod-gone"].seen is True
    assert evidence["endpoint-withdrawn"].seen is True
    assert strikes[1].t_ns < evidence["pod-gone"].t_ns < strikes[1].t_ns + 10e9
    silent = evidence["pod-silent"]
    assert (silent.seen, silent.channel) == (None, "requests")
    assert silent.facts["withdrawn_ns"] == evidence["endpoint-withdrawn"].t_ns
    assert silent.facts["pod"] == name
    run.undo()
    assert run.steps("pod-kill-1.replaced") == ["planned", "begin", "applied", "verified"]


def test_a_selector_that_matches_nothing_is_refused_with_the_labels_in_use(run):
    """Zero targets are an error, never a success."""
    with pytest.raises(FaultError, match=r"(?s)No pod matches app=chat.*app=detector \(3 pods\)") as refused:
        faults.pod_kill(selector="app=chat", count=1)

    assert "Nothing was touched" in str(refused.value)
    assert run.records == []
    assert run.journal.pending == ()


@pytest.mark.parametrize(
    ("radius", "count", "why"),
    [
        (BlastRadius(pods=1), 2, "2 pods would be struck"),
        (BlastRadius(pods=3, share="50%"), 2, "2 of 3 pods"),
        (BlastRadius(pods=3, floor=2), 2, "1 ready pods would be left"),
        (BlastRadius(pods=3), 4, "4 pods were to be struck, and 3"),
        (BlastRadius(pods=3), 0, "no pod would be struck"),
    ],
)
def test_what_exceeds_the_blast_radius_is_refused(run, radius, count, why):
    """The caps hold in the moment of the strike too, whatever the plan said earlier."""
    run.context.blast_radius = radius

    with pytest.raises(FaultError, match=why):
        faults.pod_kill(count=count)

    assert run.strikes() == []


def test_a_pod_without_a_controller_is_not_killed(run):
    """Nothing would bring it back."""
    cluster = run.context.cluster
    template = cluster.list("Pod", NS)[0]
    spec = {"containers": template["spec"]["containers"], "nodeSelector": {}}
    cluster.create("Pod", {"metadata": {"name": "lonely", "labels": {"app": "lonely"}}, "spec": spec}, NS)
    try:
        from tests.harness.faults.conftest import wait_until

        wait_until(lambda: _ready(cluster, "lonely"))

        with pytest.raises(FaultError, match="no controller"):
            faults.pod_kill(selector="app=lonely")

        assert cluster.get("Pod", "lonely", NS) is not None
    finally:
        cluster.delete("Pod", "lonely", NS, grace=0)


def test_a_fault_that_does_nothing_is_not_proven(run):
    """The claims of a kill are looked for, and written down as not seen."""
    faults.no_op(within="300ms")

    evidence = run.evidence()
    assert evidence["pod-gone"].seen is False
    assert evidence["endpoint-withdrawn"].seen is False
    assert "pod-silent" not in evidence


def test_a_strike_that_is_stopped_does_not_begin(run):
    """The interrupt is a BaseException: chaoslib cannot swallow it."""
    from harness.errors import Interrupted

    run.context.interrupted.set()

    with pytest.raises(Interrupted):
        faults.pod_kill()

    assert run.strikes() == []


def _ready(cluster, name):
    from harness.guard import is_ready

    return is_ready(cluster.get("Pod", name, NS) or {"metadata": {}})
