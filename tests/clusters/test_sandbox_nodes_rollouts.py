"""Deployments, ReplicaSets, DaemonSets and budgets do what Kubernetes' own controllers do."""

from __future__ import annotations

import time

import nodes_kit as kit
import pytest
from nodes_kit import Cluster, condition, deployment, pod, wait_for


def _version(value: str) -> kit.Object:
    """A patch of the template."""
    return {"spec": {"template": {"metadata": {"annotations": {"version": value}}}}}


def _rolling(surge: object, unavailable: object, **more: object) -> kit.Object:
    return {
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}
    } | more


def test_a_deployment_says_when_it_is_complete(cluster: Cluster) -> None:
    """Counts, observedGeneration and both conditions with Kubernetes' reasons."""
    made = cluster.create("deployments", deployment("web", 2))

    status = cluster.in_use("web")["status"]

    assert {k: v for k, v in status.items() if k != "conditions"} == {
        "observedGeneration": made["metadata"]["generation"],
        "replicas": 2,
        "updatedReplicas": 2,
        "readyReplicas": 2,
        "availableReplicas": 2,
    }
    reasons = wait_for(
        lambda: (
            (r := {c["type"]: c["reason"] for c in cluster.get("deployments", "web")["status"]["conditions"]})[
                "Progressing"
            ]
            == "NewReplicaSetAvailable"
            and r
        ),
        "Progressing",
    )
    assert reasons == {"Available": "MinimumReplicasAvailable", "Progressing": "NewReplicaSetAvailable"}
    replica_set = cluster.list("replicasets")[0]
    digest = replica_set["metadata"]["labels"]["pod-template-hash"]
    assert replica_set["metadata"]["name"] == f"web-{digest}"
    assert replica_set["spec"]["selector"]["matchLabels"]["pod-template-hash"] == digest
    assert replica_set["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "1"
    assert cluster.list("pods")[0]["metadata"]["ownerReferences"][0]["name"] == f"web-{digest}"


@pytest.mark.parametrize(("surge", "unavailable", "most", "least"), [(1, 0, 4, 3), (0, 1, 3, 2), ("34%", "34%", 5, 2)])
def test_a_rolling_update_keeps_between_its_fences(
    cluster: Cluster, surge: object, unavailable: object, most: int, least: int
) -> None:
    """Never more pods than replicas + maxSurge (rounded up), never fewer available than replicas - maxUnavailable."""
    cluster.create("deployments", deployment("web", 3, deploy=_rolling(surge, unavailable)))
    cluster.in_use("web")
    old = {p["metadata"]["uid"] for p in cluster.list("pods")}

    cluster.patch("deployments", "web", _version("2"))
    seen: list[tuple[int, int]] = []

    def rolled() -> bool:
        pods = [p for p in cluster.list("pods") if "deletionTimestamp" not in p["metadata"]]
        seen.append((len(pods), sum(1 for p in pods if kit.ready(p))))
        return len(pods) == 3 and not old & {p["metadata"]["uid"] for p in pods} and all(kit.ready(p) for p in pods)

    wait_for(rolled, "rolled", 20, every_s=0.01)

    assert max(total for total, _ in seen) <= most
    assert min(available for _, available in seen) >= least


def test_an_undone_rollout_uses_the_old_replica_set_with_a_new_revision(cluster: Cluster) -> None:
    """The template decides which ReplicaSet is the new one."""
    cluster.create("deployments", deployment("web", 1))
    cluster.in_use("web")
    first = cluster.list("replicasets")[0]["metadata"]["name"]
    cluster.patch("deployments", "web", _version("2"))
    cluster.in_use("web")

    cluster.patch("deployments", "web", _version(None))  # type: ignore[arg-type]
    cluster.in_use("web")

    sets = {rs["metadata"]["name"]: rs for rs in cluster.list("replicasets")}
    assert len(sets) == 2
    assert sets[first]["spec"]["replicas"] == 1
    notes = sets[first]["metadata"]["annotations"]
    assert notes["deployment.kubernetes.io/revision"] == "3"
    assert notes["deployment.kubernetes.io/revision-history"] == "1"
    assert cluster.get("deployments", "web")["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "3"


def test_a_rollout_that_makes_no_progress_says_so_and_keeps_the_old_pods(cluster: Cluster) -> None:
    """ProgressDeadlineExceeded; Available stays True."""
    cluster.create("deployments", deployment("web", 2, deploy=_rolling(1, 0, progressDeadlineSeconds=2)))
    cluster.in_use("web")

    bad = {"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "nobody/has:1"}]}}}}
    cluster.patch("deployments", "web", bad)

    found = wait_for(
        lambda: condition(d := cluster.get("deployments", "web"), "Progressing") == "False" and d, "the deadline", 8
    )
    by_type = {c["type"]: c for c in found["status"]["conditions"]}
    assert by_type["Progressing"]["reason"] == "ProgressDeadlineExceeded"
    assert by_type["Progressing"]["message"].endswith("has timed out progressing.")
    assert by_type["Available"]["status"] == "True"
    assert sum(1 for p in cluster.list("pods") if kit.ready(p)) == 2


def test_min_ready_seconds_delay_availability(cluster: Cluster) -> None:
    """Ready at once, available only after them."""
    cluster.create("deployments", deployment("web", 1, deploy={"minReadySeconds": 3}))

    status = wait_for(
        lambda: (s := cluster.get("deployments", "web").get("status", {})).get("readyReplicas") == 1 and s, "ready"
    )
    begun = time.monotonic()
    assert "availableReplicas" not in status
    cluster.in_use("web")

    assert time.monotonic() - begun > 1.5


def test_a_paused_deployment_does_not_roll(cluster: Cluster) -> None:
    """It scales, and rolls when resumed."""
    cluster.create("deployments", deployment("web", 1))
    cluster.in_use("web")
    cluster.patch("deployments", "web", {"spec": {"paused": True}} | {})
    cluster.patch("deployments", "web", _version("2"))
    cluster.patch("deployments", "web", {"spec": {"replicas": 2}})

    wait_for(lambda: cluster.get("deployments", "web")["status"].get("readyReplicas") == 2, "scaled")
    assert len(cluster.list("replicasets")) == 1
    reasons = [c.get("reason") for c in cluster.get("deployments", "web")["status"]["conditions"]]
    assert "DeploymentPaused" in reasons
    cluster.patch("deployments", "web", {"spec": {"paused": False}})
    cluster.in_use("web")

    assert len(cluster.list("replicasets")) == 2


def test_recreate_ends_all_old_pods_before_the_first_new_one(cluster: Cluster) -> None:
    """Two versions never run side by side."""
    cluster.create("deployments", deployment("web", 2, "8000", "term=0.5", deploy={"strategy": {"type": "Recreate"}}))
    cluster.in_use("web")
    old = {p["metadata"]["uid"] for p in cluster.list("pods")}

    cluster.patch("deployments", "web", _version("2"))

    def done() -> bool:
        uids = {p["metadata"]["uid"] for p in cluster.list("pods")}
        assert not (uids & old and uids - old)
        return len(uids - old) == 2

    wait_for(done, "recreated", 15, every_s=0.01)


def test_old_replica_sets_are_kept_up_to_the_limit(cluster: Cluster) -> None:
    """revisionHistoryLimit 1: of three, the oldest goes."""
    cluster.create("deployments", deployment("web", 1, deploy={"revisionHistoryLimit": 1}))
    cluster.in_use("web")
    for version in ("2", "3"):
        cluster.patch("deployments", "web", _version(version))
        cluster.in_use("web")

    revisions = wait_for(
        lambda: (
            len(
                r := sorted(
                    rs["metadata"]["annotations"]["deployment.kubernetes.io/revision"]
                    for rs in cluster.list("replicasets")
                )
            )
            == 2
            and r
        ),
        "cleaned",
    )
    assert revisions == ["2", "3"]


def test_scaling_in_the_middle_of_a_rollout_keeps_its_proportions(cluster: Cluster) -> None:
    """3 old and 1 new that cannot get ready: the old ones take the larger share of what is added."""
    cluster.create("deployments", deployment("web", 3, deploy=_rolling(1, 0)))
    cluster.in_use("web")
    bad = {"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "nobody/has:1"}]}}}}
    cluster.patch("deployments", "web", bad)
    wait_for(lambda: sorted(rs["spec"]["replicas"] for rs in cluster.list("replicasets")) == [1, 3], "3 and 1")

    cluster.patch("deployments", "web", {"spec": {"replicas": 7}})

    wait_for(lambda: sorted(rs["spec"]["replicas"] for rs in cluster.list("replicasets")) == [2, 6], "6 and 2")


def test_a_deleted_pod_is_replaced_at_once_by_the_same_replica_set(cluster: Cluster) -> None:
    """While the old one still terminates."""
    cluster.create("deployments", deployment("web", 1, "8000", "term=2"))
    cluster.in_use("web")
    old = cluster.list("pods")[0]["metadata"]

    cluster.delete("pods", old["name"])

    pods = wait_for(lambda: len(p := cluster.list("pods")) == 2 and p, "both")
    assert {p["metadata"]["ownerReferences"][0]["uid"] for p in pods} == {old["ownerReferences"][0]["uid"]}


def test_orphans_that_match_are_adopted_and_others_released(cluster: Cluster) -> None:
    """By labels, both ways."""
    cluster.create("pods", pod("orphan", labels={"app": "web"}))
    spec = {"replicas": 1, "selector": {"matchLabels": {"app": "web"}}}
    template = {"metadata": {"labels": {"app": "web"}}, "spec": kit.pod_spec()}
    made = cluster.create("replicasets", {"metadata": {"name": "rs"}, "spec": spec | {"template": template}})
    wait_for(
        lambda: (
            cluster.get("pods", "orphan")["metadata"].get("ownerReferences", [{}])[0].get("uid")
            == made["metadata"]["uid"]
        ),
        "adopted",
    )
    assert len(cluster.list("pods")) == 1

    cluster.patch("pods", "orphan", {"metadata": {"labels": {"app": "other"}}})

    wait_for(lambda: "ownerReferences" not in cluster.get("pods", "orphan")["metadata"], "released")
    wait_for(lambda: len(cluster.list("pods")) == 2, "a new one in its place")


def test_scaling_down_gives_up_what_is_not_ready_first(cluster: Cluster) -> None:
    """A pod that cannot get ready goes before one that serves, and deletion cost decides among equals."""
    cluster.create("deployments", deployment("web", 3))
    cluster.in_use("web")
    pods = cluster.list("pods")
    sick, cheap, kept = (p["metadata"]["name"] for p in pods)
    kit.get(pods[0]["status"]["podIP"], "sick/ready")
    note = {"metadata": {"annotations": {"controller.kubernetes.io/pod-deletion-cost": "-5"}}}
    cluster.patch("pods", cheap, note)
    wait_for(lambda: not kit.ready(cluster.get("pods", sick)), "not ready", 8)

    cluster.patch("deployments", "web", {"spec": {"replicas": 2}})
    wait_for(lambda: {p["metadata"]["name"] for p in cluster.list("pods")} == {cheap, kept}, "the sick one gone")
    cluster.patch("deployments", "web", {"spec": {"replicas": 1}})

    wait_for(lambda: {p["metadata"]["name"] for p in cluster.list("pods")} == {kept}, "the cheap one gone")


# Deletion


def test_what_belongs_to_a_deleted_deployment_goes_with_it(cluster: Cluster) -> None:
    """Background is the default: the owner first, the rest after it."""
    cluster.create("deployments", deployment("web", 1))
    cluster.in_use("web")

    cluster.delete("deployments", "web")

    wait_for(lambda: not cluster.list("replicasets") and not cluster.list("pods"), "all gone")


def test_foreground_deletion_keeps_the_owner_to_the_end(cluster: Cluster) -> None:
    """The Deployment goes when its last pod has."""
    cluster.create("deployments", deployment("web", 1, "8000", "term=1"))
    cluster.in_use("web")

    cluster.delete("deployments", "web", propagationPolicy="Foreground")

    def look() -> bool:
        owner = cluster.find("deployments", "web")
        if owner is not None:
            assert owner["metadata"]["finalizers"] == ["foregroundDeletion"]
            return False
        assert not cluster.list("pods")
        return True

    wait_for(look, "gone", every_s=0.01)


def test_orphaned_pods_stay(cluster: Cluster) -> None:
    """And nobody owns them any more."""
    cluster.create("deployments", deployment("web", 1))
    cluster.in_use("web")

    cluster.delete("deployments", "web", propagationPolicy="Orphan")
    wait_for(lambda: cluster.find("deployments", "web") is None, "the owner gone")

    sets = cluster.list("replicasets")
    assert len(sets) == 1
    assert "ownerReferences" not in sets[0]["metadata"]
    assert len(cluster.list("pods")) == 1


def test_a_deleted_namespace_is_emptied_first(whole: Cluster) -> None:
    """Terminating as long as something is in it, pods with their grace included."""
    whole.create("namespaces", {"metadata": {"name": "leaving"}})
    own = whole.into("leaving")
    own.create("deployments", deployment("web", 1, "8000", "term=1"))
    own.in_use("web")

    own.delete("namespaces", "leaving")
    assert own.get("namespaces", "leaving")["status"]["phase"] == "Terminating"
    wait_for(lambda: own.find("namespaces", "leaving") is None, "gone")

    assert not own.list("pods")


# DaemonSets and budgets


def test_a_daemon_set_has_one_pod_on_every_node_that_fits(cluster: Cluster) -> None:
    """A nodeSelector narrows it; a cordon does not keep it away."""
    template = {"metadata": {"labels": {"app": "agent"}}, "spec": kit.pod_spec()}
    spec = {"selector": {"matchLabels": {"app": "agent"}}, "template": template}
    cluster.create("daemonsets", {"metadata": {"name": "agent"}, "spec": spec})
    wait_for(lambda: cluster.get("daemonsets", "agent").get("status", {}).get("numberReady") == 3, "3 ready")
    assert {p["spec"]["nodeName"] for p in cluster.list("pods")} == {"gpu-1", "gpu-2", "gpu-3"}

    only = {"spec": {"template": {"spec": {"nodeSelector": {"kubernetes.io/hostname": "gpu-2"}}}}}
    cluster.patch("daemonsets", "agent", only)

    def narrowed() -> bool:
        pods = cluster.list("pods")
        status = cluster.get("daemonsets", "agent")["status"]
        return [p["spec"]["nodeName"] for p in pods] == ["gpu-2"] and status.get("updatedNumberScheduled") == 1

    wait_for(narrowed, "one pod of the new template", 20)


@pytest.mark.parametrize(
    ("budget", "allowed", "desired"),
    [
        ({"minAvailable": 2}, 1, 2),
        ({"minAvailable": "50%"}, 1, 2),
        ({"maxUnavailable": 1}, 1, 2),
        ({"maxUnavailable": "34%"}, 2, 1),
    ],
)
def test_a_budget_counts_what_may_be_disrupted(
    cluster: Cluster, budget: kit.Object, allowed: int, desired: int
) -> None:
    """minAvailable and maxUnavailable, as numbers and as percentages (both rounded up)."""
    spec = {"selector": {"matchLabels": {"app": "web"}}} | budget
    cluster.create("poddisruptionbudgets", {"metadata": {"name": "web"}, "spec": spec})
    cluster.create("deployments", deployment("web", 3))
    cluster.in_use("web")

    wait_for(
        lambda: (
            [
                cluster.get("poddisruptionbudgets", "web")["status"].get(k)
                for k in ("disruptionsAllowed", "desiredHealthy", "currentHealthy", "expectedPods")
            ]
            == [allowed, desired, 3, 3]
        ),
        "the budget",
    )


def test_an_eviction_obeys_the_budget(cluster: Cluster) -> None:
    """The second one is told 429 until the first one's replacement is ready."""
    spec = {"selector": {"matchLabels": {"app": "web"}}, "minAvailable": 1}
    cluster.create("poddisruptionbudgets", {"metadata": {"name": "web"}, "spec": spec})
    cluster.create("deployments", deployment("web", 2, "8000", "after=1"))
    cluster.in_use("web")
    wait_for(lambda: cluster.get("poddisruptionbudgets", "web")["status"]["disruptionsAllowed"] == 1, "1 allowed")
    first, second = (p["metadata"]["name"] for p in cluster.list("pods"))

    _evict(cluster, first)
    with pytest.raises(kit.RefusedError) as refused:
        _evict(cluster, second)

    assert refused.value.code == 429

    def evicted() -> bool:
        try:
            _evict(cluster, second)
        except kit.RefusedError as error:
            assert error.code == 429
            return False
        return True

    wait_for(evicted, "the second eviction")
    ready = [p for p in cluster.list("pods") if kit.ready(p) and "deletionTimestamp" not in p["metadata"]]
    assert ready


def _evict(cluster: Cluster, name: str) -> None:
    cluster.call("POST", cluster.path("pods", name) + "/eviction", {"metadata": {"name": name}})
