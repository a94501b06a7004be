"""Deletion: grace, preconditions, finalizers, owners, namespaces."""

from __future__ import annotations

import uuid

import pytest

from tests.conformance.api import Api, Object, RefusedError, wait_for
from tests.conformance.manifests import config_map, deployment, nowhere, pod, replicaset, unplaced


def _owned(name: str, *owners: Object, **more: object) -> Object:
    made = config_map(name)
    made["metadata"]["ownerReferences"] = [
        {"apiVersion": "v1", "kind": "ConfigMap", "name": o["metadata"]["name"], "uid": o["metadata"]["uid"], **more}
        for o in owners
    ]
    return made


def test_a_running_pod_is_marked_and_goes_when_its_processes_have_ended(api: Api) -> None:
    """Pod Lifecycle, termination of Pods: deletionTimestamp lies one grace period ahead; the kubelet removes it."""
    api.create("pods", pod(api, "one", spec={"terminationGracePeriodSeconds": 7}))
    api.ready("one")

    marked = api.delete("pods", "one")
    assert marked["metadata"]["deletionTimestamp"]
    assert marked["metadata"]["deletionGracePeriodSeconds"] == 7
    api.gone("pods", "one")


def test_a_pod_that_no_node_has_goes_at_once(api: Api) -> None:
    """Pod Lifecycle, termination of Pods: without a node there is nobody to wait for."""
    api.create("pods", nowhere(api, "one"))

    api.delete("pods", "one")
    assert api.find("pods", "one") is None


def test_a_forced_deletion_does_not_wait_for_the_node(api: Api) -> None:
    """Pod Lifecycle, forced Pod termination: with grace 0 the API server removes the object at once."""
    api.create("pods", pod(api, "one", spec={"terminationGracePeriodSeconds": 30}))
    api.ready("one")

    api.delete("pods", "one", gracePeriodSeconds=0)
    assert api.find("pods", "one") is None


def test_a_later_deletion_shortens_the_grace_and_never_lengthens_it(api: Api) -> None:
    """API Conventions, graceful deletion: deletionGracePeriodSeconds may only be shortened."""
    program = "import time; print('up', flush=True); time.sleep(600)"
    api.create("pods", pod(api, "one", program, spec={"terminationGracePeriodSeconds": 20}))
    api.ready("one")

    for asked, kept in ((15, 15), (20, 15), (10, 10)):
        api.delete("pods", "one", gracePeriodSeconds=asked)
        assert api.get("pods", "one")["metadata"]["deletionGracePeriodSeconds"] == kept
    api.delete("pods", "one", gracePeriodSeconds=0)


def test_a_deletion_may_name_the_uid_and_the_version_it_means(api: Api) -> None:
    """API reference, DeleteOptions.preconditions: 409 when they do not hold."""
    made = api.create("configmaps", config_map("one"))

    for wrong in ({"uid": str(uuid.uuid4())}, {"resourceVersion": "1"}):
        with pytest.raises(RefusedError) as told:
            api.delete("configmaps", "one", preconditions=wrong)
        assert (told.value.code, told.value.reason) == (409, "Conflict")
    meta = made["metadata"]
    right = {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"]}
    answer = api.delete("configmaps", "one", preconditions=right)
    assert (answer["status"], answer["details"]["uid"]) == ("Success", meta["uid"])


def test_a_dry_deletion_deletes_nothing(api: Api) -> None:
    """API Concepts, Dry-run: DELETE too."""
    api.create("configmaps", config_map("one"))

    api.delete("configmaps", "one", dryRun=["All"])
    assert api.find("configmaps", "one") is not None


def test_a_finalizer_holds_the_object_until_it_is_taken_away(api: Api) -> None:
    """Finalizers: the object is marked, and removed when the last finalizer is gone."""
    made = config_map("one")
    made["metadata"]["finalizers"] = ["conformance.example.com/hold"]
    api.create("configmaps", made)

    assert api.delete("configmaps", "one")["metadata"]["deletionTimestamp"]
    assert api.get("configmaps", "one")["metadata"]["deletionTimestamp"]
    with pytest.raises(RefusedError) as told:
        api.patch("configmaps", "one", {"metadata": {"finalizers": ["conformance.example.com/hold", "a.b/more"]}})
    assert told.value.code == 422  # Finalizers: none can be added once the deletion began
    api.patch("configmaps", "one", {"metadata": {"finalizers": []}})
    assert api.find("configmaps", "one") is None


def test_a_collection_is_deleted_by_selector(api: Api) -> None:
    """API Concepts, verbs: deletecollection."""
    api.create("configmaps", config_map("a1", {"set": "a"}))
    api.create("configmaps", config_map("a2", {"set": "a"}))
    api.create("configmaps", config_map("b1", {"set": "b"}))

    api.call("DELETE", api.path("configmaps"), labelSelector="set=a")
    wait_for(lambda: not api.list("configmaps", "set=a"), "the collection gone")
    assert api.find("configmaps", "b1") is not None


def test_deleting_what_is_not_there_is_not_found(api: Api) -> None:
    """API Conventions, response codes: 404."""
    with pytest.raises(RefusedError) as told:
        api.delete("configmaps", "nobody")
    assert told.value.code == 404


def test_dependents_follow_their_owner(api: Api) -> None:
    """Garbage Collection, background cascading deletion: the owner goes first, then what it owns."""
    api.create("deployments", unplaced(api, "one", 2))
    wait_for(lambda: len(api.list("pods", "app=one")) == 2, "two pods")

    api.delete("deployments", "one", propagationPolicy="Background")
    assert api.find("deployments", "one") is None
    wait_for(lambda: not api.list("replicasets", "app=one") and not api.list("pods", "app=one"), "all gone")


def test_in_the_foreground_the_owner_waits_for_its_dependents(api: Api) -> None:
    """Garbage Collection, foreground cascading deletion: finalizer foregroundDeletion while dependents are left."""
    owner = api.create("configmaps", config_map("owner"))
    held = _owned("held", owner, blockOwnerDeletion=True)
    held["metadata"]["finalizers"] = ["conformance.example.com/hold"]
    api.create("configmaps", held)

    api.delete("configmaps", "owner", propagationPolicy="Foreground")
    api.until("configmaps", "held", lambda c: "deletionTimestamp" in c["metadata"], "marked")
    waiting = api.get("configmaps", "owner")["metadata"]
    assert waiting["finalizers"] == ["foregroundDeletion"]
    assert waiting["deletionTimestamp"]
    api.patch("configmaps", "held", {"metadata": {"finalizers": []}})
    api.gone("configmaps", "owner")


def test_orphans_stay(api: Api) -> None:
    """Garbage Collection, orphaned dependents: propagation Orphan takes the owner references away."""
    api.create("deployments", unplaced(api, "one", 1))
    wait_for(lambda: api.list("pods", "app=one"), "a pod")
    (before,) = api.list("replicasets", "app=one")

    api.delete("deployments", "one", propagationPolicy="Orphan")
    api.gone("deployments", "one")
    name = before["metadata"]["name"]
    api.until("replicasets", name, lambda r: not r["metadata"].get("ownerReferences"), "orphaned")
    assert len(api.list("pods", "app=one")) == 1


def test_an_object_lives_as_long_as_one_of_its_owners(api: Api) -> None:
    """Garbage Collection, owners and dependents: it goes when none of its owners exists any more."""
    first, second = api.create("configmaps", config_map("first")), api.create("configmaps", config_map("second"))
    api.create("configmaps", _owned("both", first, second))

    api.delete("configmaps", "first")
    uid = second["metadata"]["uid"]
    api.until(
        "configmaps", "both", lambda c: [o["uid"] for o in c["metadata"]["ownerReferences"]] == [uid], "left by one"
    )
    api.delete("configmaps", "second")
    api.gone("configmaps", "both")


def test_an_owner_that_never_was_is_as_good_as_gone(api: Api) -> None:
    """Garbage Collection, owner references: an owner is meant by its uid, a namesake does not count."""
    namesake = api.create("configmaps", config_map("namesake"))
    wrong = {"metadata": namesake["metadata"] | {"uid": str(uuid.uuid4())}}
    api.create("configmaps", _owned("child", wrong))

    api.gone("configmaps", "child")
    assert api.find("configmaps", "namesake") is not None


def test_a_namespace_takes_its_content_with_it(api: Api) -> None:
    """Namespaces: Terminating until everything in it is gone; nothing new meanwhile (403)."""
    name = f"{api.namespace}-x"
    api.create("namespaces", {"metadata": {"name": name}})
    own = api.into(name)
    held = config_map("held")
    held["metadata"]["finalizers"] = ["conformance.example.com/hold"]
    own.create("configmaps", held)
    own.create("configmaps", config_map("free"))

    own.delete("namespaces", name)
    own.gone("configmaps", "free")
    assert own.get("namespaces", name)["status"]["phase"] == "Terminating"
    with pytest.raises(RefusedError) as told:
        own.create("configmaps", config_map("late"))
    assert told.value.code == 403
    assert told.value.status["details"]["causes"][0]["reason"] == "NamespaceTerminating"
    own.patch("configmaps", "held", {"metadata": {"finalizers": []}})
    own.gone("namespaces", name)


def test_a_new_namespace_is_furnished(api: Api) -> None:
    """Namespaces, automatic labelling; Service Accounts, default; the cluster's root certificate as a ConfigMap."""
    found = api.get("namespaces", api.namespace)

    assert found["metadata"]["labels"]["kubernetes.io/metadata.name"] == api.namespace
    assert found["status"]["phase"] == "Active"
    api.until("configmaps", "kube-root-ca.crt", lambda c: "BEGIN CERTIFICATE" in c["data"]["ca.crt"], "filled")


def test_a_deleted_pod_of_a_replica_set_is_replaced(api: Api) -> None:
    """ReplicaSet, how it works: it makes pods until there are as many as desired."""
    api.create("replicasets", replicaset(api, "one", 2))
    wait_for(lambda: len(api.list("pods", "app=one")) == 2, "two pods")
    before = {p["metadata"]["uid"] for p in api.list("pods", "app=one")}

    api.delete("pods", api.list("pods", "app=one")[0]["metadata"]["name"])

    def replaced() -> bool:
        now = {p["metadata"]["uid"] for p in api.list("pods", "app=one") if "deletionTimestamp" not in p["metadata"]}
        return len(now) == 2 and now != before

    wait_for(replaced, "a replacement")


def test_a_terminating_pod_is_replaced_before_it_is_gone(api: Api) -> None:
    """Deployments, pod replacement: a terminating pod no longer counts as a replica."""
    hook = {"preStop": {"sleep": {"seconds": 6}}}
    api.create("deployments", deployment(api, "one", 1, lifecycle=hook, spec={"terminationGracePeriodSeconds": 10}))
    api.rolled_out("one")
    (old,) = api.list("pods", "app=one")

    api.delete("pods", old["metadata"]["name"])
    wait_for(lambda: len(api.list("pods", "app=one")) == 2, "two pods: one going, one new")
    new = next(p for p in api.list("pods", "app=one") if p["metadata"]["uid"] != old["metadata"]["uid"])
    api.ready(new["metadata"]["name"])
