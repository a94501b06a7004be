"""The plan and the guard on a cluster: what would be touched is told, what may not be is refused, nothing changes."""

from __future__ import annotations

import dataclasses
import json
import time
import uuid

import pytest

from clusters.provider import provider_for
from harness import guard
from harness.errors import EXIT_INVALID, EXIT_PASSED, InvalidRun, UsageError
from harness.experiment.loader import load
from harness.experiment.shipped import experiment_files, folder
from harness.guard import GuardError
from harness.kube import Cluster
from harness.plan import look, make_plan


@pytest.fixture(scope="module")
def access():
    """A sandbox with the healthy platform."""
    provider = provider_for(f"sandbox:test-plan-{uuid.uuid4().hex[:6]}")
    found = provider.up()
    try:
        provider.deploy(found, "healthy", lambda _: None)
        _settle(Cluster.connect(found.kubeconfig, found.context))
        yield found
    finally:
        provider.down(found)


def _settle(cluster):
    """The Deployment's status has followed its pods: nothing writes any more on its own account."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        status = cluster.get("Deployment", "detector", "inference")["status"]
        sets = [each["status"].get("availableReplicas", 0) for each in cluster.list("ReplicaSet", "inference")]
        if status.get("availableReplicas") == 3 and sum(sets) == 3:
            return
        time.sleep(0.1)
    raise AssertionError("the platform does not settle")


@pytest.fixture
def cluster(access):
    """Its API."""
    return Cluster.connect(access.kubeconfig, access.context)


@pytest.fixture
def changed(tmp_path):
    """A shipped experiment with changes."""

    def write(*changes: tuple[str, str], name: str = "gpu-pod-kill"):
        for each in ("slos/detector.yaml", "golden/detector.json"):
            (tmp_path / each).parent.mkdir(exist_ok=True)
            (tmp_path / each).write_bytes((folder() / each).read_bytes())
        text = experiment_files()[name].read_text()
        for old, new in changes:
            assert old in text, old
            text = text.replace(old, new)
        path = tmp_path / "mine.yaml"
        path.write_text(text)
        return load(path)

    return write


def versions(cluster):
    """resourceVersion of every object that a run could touch, but for what renews itself."""
    kinds = ("Namespace", "Node", "Pod", "Service", "ConfigMap", "Deployment", "ReplicaSet", "PodDisruptionBudget")
    return {
        (kind, each["metadata"].get("namespace"), each["metadata"]["name"]): each["metadata"]["resourceVersion"]
        for kind in kinds
        for each in cluster.list(kind)
        if kind != "Node"  # heartbeats
    } | {node["metadata"]["name"]: json.dumps(node["spec"]) for node in cluster.list("Node")}


@pytest.mark.parametrize("name", experiment_files())
def test_a_plan_names_every_target_and_changes_nothing(access, cluster, name):
    """Targets with their undo; resource versions before and after are equal."""
    experiment = load(experiment_files()[name])
    before = versions(cluster)

    plan = look(experiment, access.name, None)

    assert versions(cluster) == before
    assert plan.exit_code == EXIT_PASSED
    assert plan.refusals == ()
    struck = [step for step in plan.steps if step.ours]
    assert struck
    assert all(step.targets and step.targets[0].undo for step in struck)
    assert all(target.name in plan.text() for step in struck for target in step.targets)
    assert json.loads(json.dumps(plan.to_json()))["steps"]
    assert plan.text().endswith("Nothing was touched.")


def test_the_targets_of_a_plan_are_those_of_the_run(access, cluster):
    """The choice is the seed's: the same pod again while the pods are the same."""
    experiment = load(experiment_files()["gpu-pod-kill"])

    first = make_plan(experiment, cluster, access)
    again = make_plan(experiment, cluster, access)

    assert first.steps == again.steps


def test_a_selector_without_pods_is_refused_with_the_labels_in_use(access, cluster, changed):
    """No run without a target."""
    experiment = changed(("app=detector", "app=detektor"))

    with pytest.raises(GuardError) as caught:
        make_plan(experiment, cluster, access)

    assert caught.value.exit_code == EXIT_INVALID
    assert "No pod matches app=detektor in namespace inference. Nothing was touched." in str(caught.value)
    assert "Labels in use there: app=detector (3 pods)" in str(caught.value)
    assert "Set workload.selector to app=detector." in str(caught.value)


@pytest.mark.parametrize(
    ("namespace", "said"),
    [
        ("kube-system", "belongs to Kubernetes and is never touched"),
        ("kube-public", "belongs to Kubernetes and is never touched"),
        ("kube-node-lease", "belongs to Kubernetes and is never touched"),
        ("default", "has not opted in to chaos. Nothing was touched."),
        ("inferense", "There is no namespace inferense. Nothing was touched."),
    ],
)
def test_a_namespace_that_is_not_ours_is_refused(access, cluster, changed, namespace, said):
    """Opt-in by label, and Kubernetes' own never, even labelled."""
    experiment = changed(("namespace: inference", f"namespace: {namespace}"))

    plan = make_plan(experiment, cluster, access, refuse=False)

    assert plan.exit_code == EXIT_INVALID
    assert any(said in refusal.message for refusal in plan.refusals)
    assert not any(step.targets for step in plan.steps)
    with pytest.raises(GuardError):
        make_plan(experiment, cluster, access)


def test_kubernetes_own_namespaces_stay_refused_when_somebody_labels_them(access, cluster):
    """A label is consent of an owner, and these have another one."""
    cluster.patch("Namespace", "kube-public", None, {"metadata": {"labels": {"bulletproof.dev/chaos": "allowed"}}})
    try:
        assert list(guard.namespace_refusals("kube-public", cluster))
    finally:
        cluster.patch("Namespace", "kube-public", None, {"metadata": {"labels": {"bulletproof.dev/chaos": None}}})


@pytest.mark.parametrize(
    ("changes", "rules"),
    [
        ([("count: 1}", "count: 2}")], {"pods"}),
        ([("count: 1}", "count: all}")], {"pods"}),
        ([("pods: 1, floor: 0", "pods: 1, floor: 2")], set()),
        ([("pods: 1, floor: 0", "pods: 1, floor: 3")], {"floor"}),
        ([("pods: 1, floor: 0", "pods: 1, share: 30%")], {"share"}),
        ([("pods: 1, floor: 0", "pods: 1, share: 34%")], set()),
    ],
)
def test_the_blast_radius_bounds_all_targets_together(access, cluster, changed, changes, rules):
    """At the limit it may, beyond it it may not."""
    plan = make_plan(changed(*changes), cluster, access, refuse=False)

    assert {refusal.rule for refusal in plan.refusals} == rules


def test_two_kills_of_one_pod_each_are_two_pods(access, cluster, changed):
    """A second activity strikes on top of the first; the guard counts what they strike together."""
    text = (
        "\n- type: action\n  name: kill-another\n  provider:\n    type: python\n    module: harness.faults\n"
        "    func: pod_kill\n    arguments: {count: all}\nrollbacks:"
    )
    plan = make_plan(changed(("\nrollbacks:", text)), cluster, access, refuse=False)

    assert {refusal.rule for refusal in plan.refusals} == {"pods"}


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        ("{name: detector}", "foreign-action"),
        ("{name: detector, ns: default}", "namespace"),
        ("{name: detector, ns: kube-system}", "namespace"),
        ('{name: detector, ns: "${where}"}', "namespace"),
        ("{name: detector, ns: inference}", None),
    ],
)
def test_an_action_of_another_package_stays_where_chaos_is_allowed(access, cluster, changed, arguments, rule):
    """chaostoolkit-kubernetes strikes `default` when no namespace is named."""
    action = (
        "\n- type: action\n  name: scale\n  provider:\n    type: python\n    module: chaosk8s.deployment.actions\n"
        f"    func: rollout_deployment\n    arguments: {arguments}\nrollbacks:"
    )
    experiment = changed(
        ("\nrollbacks:", action),
        ("tags:", "configuration: {where: default}\ntags:"),
        ("  workload:", "  trust: [scale]\n  workload:"),
    )

    plan = make_plan(experiment, cluster, access, refuse=False)

    assert [refusal.rule for refusal in plan.refusals] == ([rule] if rule else [])
    assert "it is taken on trust, and not undone by Bulletproof" in plan.text()


def test_a_cluster_that_lacks_something_is_foretold(access, cluster, changed):
    """The run would end SKIPPED."""
    poorer = dataclasses.replace(access, offers=access.offers - {"node-stop"})

    plan = make_plan(changed(("requires: [pods,", "requires: [node-stop, pods,")), cluster, poorer)

    assert plan.missing == ("node-stop",)
    assert "the run would end SKIPPED" in plan.text()


def test_a_plan_starts_and_deploys_nothing(access):
    """A cluster that does not run stays so; an overlay is for runs."""
    experiment = load(experiment_files()["gpu-pod-kill"])

    with pytest.raises(InvalidRun, match="cannot be reached"):
        look(experiment, "sandbox:never-started", None)
    with pytest.raises(UsageError, match="deploys nothing"):
        look(experiment, access.name, "healthy")
    assert not provider_for("sandbox:never-started").status()["running"]
