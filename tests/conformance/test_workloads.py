"""Deployments, ReplicaSets, DaemonSets."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.api import Api, Object, condition, settled, wait_for
from tests.conformance.manifests import deployment, nowhere, pod_spec, replicaset, unplaced

REVISION = "deployment.kubernetes.io/revision"


def _image(name: str) -> Object:
    """A change of the template that needs no other image."""
    return {"spec": {"template": {"metadata": {"annotations": {"version": name}}}}}


def _sets(api: Api, name: str = "one") -> list[Object]:
    """The ReplicaSets, oldest revision first."""
    found = api.list("replicasets", f"app={name}")
    return sorted(found, key=lambda r: int(r["metadata"]["annotations"][REVISION]))


def _owned_by(obj: Object) -> str:
    (owner,) = [o for o in obj["metadata"].get("ownerReferences", ()) if o.get("controller")]
    return str(owner["name"])


def _rolled(api: Api, **strategy: Any) -> tuple[list[int], list[int]]:
    """Rolls three replicas out again: (the ReplicaSets' sizes added up, available pods), each as it went on.

    Not the status' own count of pods: a ReplicaSet that is about to shrink still counts what it will give up.
    """
    rolling = {"type": "RollingUpdate", "rollingUpdate": strategy}
    api.create("deployments", deployment(api, "one", 3, deploy={"strategy": rolling}))
    start = api.rolled_out("one")["metadata"]["resourceVersion"]
    sizes = {r["metadata"]["name"]: r["spec"]["replicas"] for r in _sets(api)}
    totals = []
    with (
        api.watch("deployments", resourceVersion=start) as deployments,
        api.watch("replicasets", resourceVersion=start) as sets,
    ):
        api.patch("deployments", "one", _image("2"))
        api.rolled_out("one")
        available = [event["object"]["status"].get("availableReplicas", 0) for event in deployments.events]
        for event in list(sets.events):
            sizes[event["object"]["metadata"]["name"]] = event["object"]["spec"]["replicas"]
            totals.append(sum(sizes.values()))
    return totals, available


def test_a_rollout_with_surge_never_has_fewer_available(api: Api) -> None:
    """Deployments, rolling update: maxSurge 1, maxUnavailable 0: at most one more, never one less."""
    totals, available = _rolled(api, maxSurge=1, maxUnavailable=0)

    assert max(totals) == 4, totals
    assert min(available) == 3, available


def test_a_rollout_without_surge_never_has_more(api: Api) -> None:
    """Deployments, rolling update: maxSurge 0, maxUnavailable 1: never one more, at most one less."""
    totals, available = _rolled(api, maxSurge=0, maxUnavailable=1)

    assert (min(totals), max(totals)) == (2, 3), totals
    assert min(available) == 2, available


def test_recreate_ends_the_old_pods_before_it_makes_new_ones(api: Api) -> None:
    """Deployments, recreate: all existing pods are ended before new ones are created."""
    api.create("deployments", deployment(api, "one", 2, deploy={"strategy": {"type": "Recreate"}}))
    api.rolled_out("one")
    old = {p["metadata"]["uid"] for p in api.list("pods", "app=one")}
    start = api.call("GET", api.path("pods"))["metadata"]["resourceVersion"]

    with api.watch("pods", resourceVersion=start) as watching:
        api.patch("deployments", "one", _image("2"))
        api.rolled_out("one")
        events = list(watching.events)
    verbs = [(e["type"], e["object"]["metadata"]["uid"] in old) for e in events]
    first_new = verbs.index(("ADDED", False))
    running = {e["object"]["metadata"]["uid"] for e in events[:first_new] if e["type"] == "DELETED"}
    ended = {
        e["object"]["metadata"]["uid"]
        for e in events[:first_new]
        if e["object"]["status"].get("phase") in ("Succeeded", "Failed")
    }
    assert old <= running | ended


def test_a_new_template_makes_a_new_replica_set_with_the_next_revision(api: Api) -> None:
    """Deployments, updating: pod-template-hash tells the ReplicaSets apart, the revision annotation counts."""
    api.create("deployments", unplaced(api, "one", 1))
    wait_for(lambda: len(_sets(api)) == 1, "the first ReplicaSet")

    api.patch("deployments", "one", _image("2"))
    wait_for(lambda: len(_sets(api)) == 2, "the second ReplicaSet")
    first, second = _sets(api)
    assert [r["metadata"]["annotations"][REVISION] for r in (first, second)] == ["1", "2"]
    for one in (first, second):
        mark = one["metadata"]["labels"]["pod-template-hash"]
        assert one["metadata"]["name"] == f"one-{mark}"
        assert one["spec"]["selector"]["matchLabels"] == {"app": "one", "pod-template-hash": mark}
        assert _owned_by(one) == "one"
    api.until("deployments", "one", lambda d: d["metadata"]["annotations"][REVISION] == "2", "at revision 2")


def test_scaling_is_no_new_revision(api: Api) -> None:
    """Deployments: a rollout is triggered by the template only."""
    api.create("deployments", unplaced(api, "one", 1))
    api.patch("deployments", "one", {"spec": {"replicas": 2}})

    wait_for(lambda: len(api.list("pods", "app=one")) == 2, "two pods")
    assert len(_sets(api)) == 1


def test_an_undo_uses_the_old_replica_set_under_a_new_revision(api: Api) -> None:
    """Deployments, rolling back: the old template again is the old ReplicaSet, as the newest revision."""
    before = api.create("deployments", deployment(api, "one", 1))
    api.rolled_out("one")
    (first,) = _sets(api)
    api.patch("deployments", "one", _image("2"))
    api.rolled_out("one")

    undo = [{"op": "replace", "path": "/spec/template", "value": before["spec"]["template"]}]
    api.patch("deployments", "one", undo, "json")
    api.rolled_out("one")
    again = _sets(api)[-1]
    assert again["metadata"]["uid"] == first["metadata"]["uid"]
    assert again["metadata"]["annotations"][REVISION] == "3"
    assert again["metadata"]["annotations"]["deployment.kubernetes.io/revision-history"] == "1"


def test_a_paused_deployment_waits_with_its_rollout(api: Api) -> None:
    """Deployments, pausing and resuming: changes have no effect until it is resumed; scaling has."""
    api.create("deployments", unplaced(api, "one", 1))
    wait_for(lambda: len(_sets(api)) == 1, "the first ReplicaSet")

    api.patch("deployments", "one", {"spec": {"paused": True}})
    api.patch("deployments", "one", _image("2"))
    api.patch("deployments", "one", {"spec": {"replicas": 2}})
    generation = api.get("deployments", "one")["metadata"]["generation"]
    api.until("deployments", "one", lambda d: d["status"].get("observedGeneration") == generation, "seen")
    wait_for(lambda: len(api.list("pods", "app=one")) == 2, "two pods")
    assert len(_sets(api)) == 1
    assert condition(api.get("deployments", "one"), "Progressing") == "Unknown"
    api.patch("deployments", "one", {"spec": {"paused": False}})
    wait_for(lambda: len(_sets(api)) == 2, "the second ReplicaSet")


@pytest.mark.long
def test_a_rollout_without_progress_is_overdue(api: Api) -> None:
    """Deployments, failed deployment: Progressing=False, reason ProgressDeadlineExceeded, after the deadline."""
    api.create("deployments", unplaced(api, "one", 1, deploy={"progressDeadlineSeconds": 3}))

    found = api.until("deployments", "one", lambda d: condition(d, "Progressing") == "False", "overdue")
    (why,) = [c for c in found["status"]["conditions"] if c["type"] == "Progressing"]
    assert why["reason"] == "ProgressDeadlineExceeded"
    assert condition(found, "Available") == "False"


@pytest.mark.long
def test_a_pod_is_available_when_it_was_ready_for_long_enough(api: Api) -> None:
    """Deployments, min ready seconds: ready at once, available only then."""
    api.create("deployments", deployment(api, "one", 1, deploy={"minReadySeconds": 5}))

    ready = api.until("deployments", "one", lambda d: d.get("status", {}).get("readyReplicas") == 1, "ready")
    assert ready["status"].get("availableReplicas", 0) == 0
    api.rolled_out("one")


def test_a_finished_rollout_says_so(api: Api) -> None:
    """Deployments, complete deployment: Available, and Progressing with reason NewReplicaSetAvailable."""
    api.create("deployments", deployment(api, "one", 1))

    def complete(found: Object) -> bool:
        reasons = {c["type"]: c["reason"] for c in found.get("status", {}).get("conditions", ())}
        finished = {"Available": "MinimumReplicasAvailable", "Progressing": "NewReplicaSetAvailable"}
        return settled(found) and reasons == finished

    api.until("deployments", "one", complete, "complete")


def test_old_replica_sets_are_kept_up_to_the_limit(api: Api) -> None:
    """Deployments, clean up policy: revisionHistoryLimit old ReplicaSets, the newest of them."""
    api.create("deployments", deployment(api, "one", 1, deploy={"revisionHistoryLimit": 1}))
    api.rolled_out("one")
    for version in ("2", "3"):
        api.patch("deployments", "one", _image(version))
        api.rolled_out("one")

    wait_for(lambda: [r["metadata"]["annotations"][REVISION] for r in _sets(api)] == ["2", "3"], "two ReplicaSets")


def test_a_replica_set_adopts_a_matching_orphan(api: Api) -> None:
    """ReplicaSet, non-template pod acquisitions: a matching pod without a controller becomes its own."""
    api.create("pods", nowhere(api, "stray", app="one"))
    api.create("replicasets", replicaset(api, "one", 1, spec={"nodeSelector": {"conformance/exists": "nowhere"}}))

    found = api.until("pods", "stray", lambda p: p["metadata"].get("ownerReferences"), "adopted")
    assert _owned_by(found) == "one"
    api.until("replicasets", "one", lambda r: r.get("status", {}).get("replicas") == 1, "counted")
    assert len(api.list("pods", "app=one")) == 1


def test_a_replica_set_lets_go_of_a_pod_whose_labels_changed(api: Api) -> None:
    """ReplicaSet, isolating pods: it loses its controller and is replaced."""
    api.create("replicasets", replicaset(api, "one", 1, spec={"nodeSelector": {"conformance/exists": "nowhere"}}))
    (before,) = wait_for(lambda: api.list("pods", "app=one"), "a pod")
    name = before["metadata"]["name"]

    api.patch("pods", name, {"metadata": {"labels": {"app": "debug"}}})
    wait_for(lambda: api.list("pods", "app=one"), "a replacement")
    api.until("pods", name, lambda p: not p["metadata"].get("ownerReferences"), "released")


def test_the_cheapest_pod_is_deleted_first(api: Api) -> None:
    """ReplicaSet, pod deletion cost: of otherwise equal pods the one with the lower cost goes first."""
    api.create("replicasets", replicaset(api, "one", 3))
    api.until("replicasets", "one", lambda r: r.get("status", {}).get("readyReplicas") == 3, "ready")
    names = sorted(p["metadata"]["name"] for p in api.list("pods", "app=one"))
    cost = "controller.kubernetes.io/pod-deletion-cost"
    for name, value in zip(names, ("10", "-10", "0"), strict=True):
        api.patch("pods", name, {"metadata": {"annotations": {cost: value}}})

    api.patch("replicasets", "one", {"spec": {"replicas": 2}}, sub="scale")

    api.gone("pods", names[1])
    assert {p["metadata"]["name"] for p in api.list("pods", "app=one")} == {names[0], names[2]}


def test_a_pod_that_is_not_ready_is_deleted_before_ready_ones(api: Api) -> None:
    """ReplicaSet, scaling down: pending and unready pods first."""
    api.create("replicasets", replicaset(api, "one", 2))
    api.until("replicasets", "one", lambda r: r.get("status", {}).get("readyReplicas") == 2, "ready")
    ready = {p["metadata"]["name"] for p in api.list("pods", "app=one")}
    api.patch("replicasets", "one", {"spec": {"template": {"spec": {"nodeSelector": {"conformance/exists": "no"}}}}})
    api.patch("replicasets", "one", {"spec": {"replicas": 3}})
    wait_for(lambda: len(api.list("pods", "app=one")) == 3, "a third, pending pod")

    api.patch("replicasets", "one", {"spec": {"replicas": 2}})
    wait_for(lambda: len(api.list("pods", "app=one")) == 2, "two pods")
    assert {p["metadata"]["name"] for p in api.list("pods", "app=one")} == ready


def test_a_daemon_set_puts_one_pod_on_every_node_that_matches(api: Api) -> None:
    """DaemonSet: one pod a node, by node affinity to its name, with the tolerations that keep it there."""
    nodes = [n for n in api.list("nodes") if condition(n, "Ready") == "True" and not n["spec"].get("taints")][:2]
    names = [n["metadata"]["labels"]["kubernetes.io/hostname"] for n in nodes]
    expression = {"key": "kubernetes.io/hostname", "operator": "In", "values": names}
    required = {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}
    template = {"metadata": {"labels": {"app": "one"}}, "spec": pod_spec(api, spec={"affinity": affinity})}
    spec = {"selector": {"matchLabels": {"app": "one"}}, "template": template}
    api.create("daemonsets", {"metadata": {"name": "one"}, "spec": spec})

    api.until("daemonsets", "one", lambda d: d.get("status", {}).get("numberReady") == len(nodes), "ready")
    pods = api.list("pods", "app=one")
    assert {p["spec"]["nodeName"] for p in pods} == {n["metadata"]["name"] for n in nodes}
    kept = {(t["key"], t["effect"]) for t in pods[0]["spec"]["tolerations"] if "tolerationSeconds" not in t}
    assert {
        ("node.kubernetes.io/not-ready", "NoExecute"),
        ("node.kubernetes.io/unreachable", "NoExecute"),
        ("node.kubernetes.io/unschedulable", "NoSchedule"),
    } <= kept
    gone = pods[0]
    api.delete("pods", gone["metadata"]["name"])

    def replaced() -> bool:
        there = {
            p["spec"].get("nodeName")
            for p in api.list("pods", "app=one")
            if p["metadata"]["uid"] != gone["metadata"]["uid"]
        }
        return gone["spec"]["nodeName"] in there

    wait_for(replaced, "a pod on the same node again")
