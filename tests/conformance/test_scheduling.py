"""Which node a pod gets, and what happens to it when the node is no longer good for it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.api import Api, Object, condition, status_of, wait_for
from tests.conformance.made_nodes import made_nodes, only
from tests.conformance.manifests import pod

GPU = "nvidia.com/gpu"
ZONE = "topology.kubernetes.io/zone"


def _placed(api: Api, name: str) -> str:
    """The node, once the scheduler has chosen one."""
    return str(api.until("pods", name, lambda p: p["spec"].get("nodeName"), "placed")["spec"]["nodeName"])


def _unplaced(api: Api, name: str, words: str) -> str:
    """The scheduler's words about a pod that fits nowhere, once they are these."""

    def told(found: Object) -> bool:
        return words in _why(found)

    return _why(api.until("pods", name, told, f"Pending with {words!r}"))


def _why(found: Object) -> str:
    conditions = found.get("status", {}).get("conditions", ())
    return next((c.get("message", "") for c in conditions if c["type"] == "PodScheduled"), "")


def _spread(**more: Any) -> list[Object]:
    base = {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule"}
    return [base | {"labelSelector": {"matchLabels": {"app": "one"}}} | more]


def test_a_pod_that_fits_nowhere_is_pending_and_says_why(api: Api) -> None:
    """Schedule GPUs / Resource Management: Insufficient RESOURCE in PodScheduled and in a FailedScheduling event."""
    api.create("pods", pod(api, "one", resources={"limits": {GPU: 1000}}))

    message = _unplaced(api, "one", f"Insufficient {GPU}")
    count = len(api.list("nodes"))
    assert message.startswith("0/")
    assert "nodes are available: " in message
    assert count
    found = api.get("pods", "one")
    assert found["status"]["phase"] == "Pending"
    (why,) = [c for c in found["status"]["conditions"] if c["type"] == "PodScheduled"]
    assert (why["status"], why["reason"]) == ("False", "Unschedulable")
    event = api.event("one", "FailedScheduling")
    assert event["type"] == "Warning"
    assert f"Insufficient {GPU}" in event["message"]


def test_extended_resources_are_counted(api: Api) -> None:
    """Advertise Extended Resources: a node has as many as its allocatable says; requests must equal limits."""
    chip = "conformance.example.com/chip"
    with made_nodes(api, {}, **{chip: "2"}) as nodes:
        for name in ("a", "b"):
            api.create("pods", pod(api, name, resources={"limits": {chip: 1}}, spec=only(nodes)))
        assert {_placed(api, "a"), _placed(api, "b")} == {nodes[0].name}
        api.create("pods", pod(api, "c", resources={"limits": {chip: 1}}, spec=only(nodes)))
        _unplaced(api, "c", f"Insufficient {chip}")

        api.delete("pods", "a", gracePeriodSeconds=0)
        assert _placed(api, "c") == nodes[0].name


def test_an_extended_resource_is_not_split_or_overcommitted(api: Api) -> None:
    """Resource Management, extended resources: whole numbers, and requests equal to limits."""
    for wrong in ({"limits": {GPU: "500m"}}, {"limits": {GPU: 2}, "requests": {GPU: 1}}):
        code, status, _ = api.send(
            "POST", api.path("pods"), {"apiVersion": "v1", "kind": "Pod"} | pod(api, "one", resources=wrong)
        )
        assert (code, status["reason"]) == (422, "Invalid")


def test_allocatable_follows_an_advertised_capacity(api: Api) -> None:
    """Advertise Extended Resources for a Node: capacity patched in /status appears in allocatable by itself."""
    chip = f"{api.namespace}.example.com/chip"
    node = next(n for n in api.list("nodes") if condition(n, "Ready") == "True" and "example" not in str(n["spec"]))
    name, pointer = node["metadata"]["name"], chip.replace("/", "~1")
    add = [{"op": "add", "path": f"/status/capacity/{pointer}", "value": "3"}]
    api.patch("nodes", name, add, "json", "status")
    try:
        api.until("nodes", name, lambda n: n["status"]["allocatable"].get(chip) == "3", "with it in allocatable", 90)
    finally:
        both = api.get("nodes", name)["status"]
        parts = [part for part in ("capacity", "allocatable") if chip in both[part]]
        remove = [{"op": "remove", "path": f"/status/{part}/{pointer}"} for part in parts]
        api.patch("nodes", name, remove, "json", "status")


def test_a_container_that_asked_for_a_gpu_finds_it(api: Api) -> None:
    """Device Plugins: a container that asks for a device is run with it, on a node that has one free."""
    having = [n for n in api.list("nodes") if n["status"].get("allocatable", {}).get(GPU, "0") != "0"]
    if not having:
        pytest.skip("no node of this cluster offers nvidia.com/gpu")
    program = "import os, time; print('devices', os.environ.get('NVIDIA_VISIBLE_DEVICES'), flush=True); time.sleep(60)"
    api.create("pods", pod(api, "one", program, resources={"limits": {GPU: 1}}))

    assert api.said("one", "devices").split()[1] != "None"
    assert api.get("pods", "one")["spec"]["nodeName"] in {n["metadata"]["name"] for n in having}


def test_a_taint_keeps_pods_off_that_do_not_tolerate_it(api: Api) -> None:
    """Taints and Tolerations: NoSchedule; the toleration must match key, value and effect."""
    with made_nodes(api, {}) as nodes:
        nodes[0].taint("conformance.example.com/own", "NoSchedule")
        api.create("pods", pod(api, "without", spec=only(nodes)))
        _unplaced(api, "without", "untolerated taint")
        bears = {"key": "conformance.example.com/own", "operator": "Exists", "effect": "NoSchedule"}
        api.create("pods", pod(api, "with", spec=only(nodes, bears)))

        assert _placed(api, "with") == nodes[0].name
        assert not api.get("pods", "without")["spec"].get("nodeName")


def test_a_cordoned_node_takes_no_new_pods(api: Api) -> None:
    """Nodes, manual administration: unschedulable keeps new pods off, running ones stay; a taint shows it."""
    with made_nodes(api, {}) as nodes:
        api.create("pods", pod(api, "before", spec=only(nodes)))
        _placed(api, "before")
        api.patch("nodes", nodes[0].name, {"spec": {"unschedulable": True}})
        mark = "node.kubernetes.io/unschedulable"
        api.until("nodes", nodes[0].name, lambda n: mark in {t["key"] for t in n["spec"]["taints"]}, "marked")
        api.create("pods", pod(api, "after", spec=only(nodes)))
        _unplaced(api, "after", "0/")
        assert "deletionTimestamp" not in api.get("pods", "before")["metadata"]

        api.patch("nodes", nodes[0].name, {"spec": {"unschedulable": None}})
        assert _placed(api, "after") == nodes[0].name


def test_a_node_selector_must_match(api: Api) -> None:
    """Assigning Pods to Nodes, nodeSelector and required node affinity: In, NotIn, Exists, Gt."""
    with made_nodes(api, {"size": "3"}, {"size": "7"}) as nodes:
        rules = [{"key": "size", "operator": "Gt", "values": ["5"]}]
        required = {"nodeSelectorTerms": [{"matchExpressions": rules}]}
        affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}
        api.create("pods", pod(api, "big", spec=only(nodes, affinity=affinity)))
        spec = only(nodes)
        spec["nodeSelector"]["size"] = "3"
        api.create("pods", pod(api, "small", spec=spec))
        none = only(nodes)
        none["nodeSelector"] |= {"size": "4"}
        api.create("pods", pod(api, "none", spec=none))

        assert (_placed(api, "big"), _placed(api, "small")) == (nodes[1].name, nodes[0].name)
        _unplaced(api, "none", "didn't match Pod's node affinity/selector")


def test_pods_are_spread_over_nodes(api: Api) -> None:
    """Pod Topology Spread Constraints, DoNotSchedule: the skew stays within maxSkew."""
    with made_nodes(api, {}, {}, {}) as nodes:
        for number in range(6):
            spec = only(nodes, topologySpreadConstraints=_spread())
            api.create("pods", pod(api, f"p{number}", labels={"app": "one"}, spec=spec))
        where = [_placed(api, f"p{number}") for number in range(6)]

        assert sorted(where.count(node.name) for node in nodes) == [2, 2, 2]


def test_a_pod_that_would_skew_the_spread_waits(api: Api) -> None:
    """Pod Topology Spread Constraints, DoNotSchedule: a domain without room holds the others back."""
    with made_nodes(api, {ZONE: "x"}, {ZONE: "y"}) as nodes:
        api.patch("nodes", nodes[1].name, {"spec": {"unschedulable": True}})
        mark = "node.kubernetes.io/unschedulable"
        api.until("nodes", nodes[1].name, lambda n: mark in {t["key"] for t in n["spec"]["taints"]}, "marked")
        spec = only(nodes, topologySpreadConstraints=_spread(topologyKey=ZONE))
        api.create("pods", pod(api, "first", labels={"app": "one"}, spec=spec))
        assert _placed(api, "first") == nodes[0].name
        api.create("pods", pod(api, "second", labels={"app": "one"}, spec=spec))

        _unplaced(api, "second", "didn't match pod topology spread constraints")


def test_a_soft_spread_prefers_and_does_not_insist(api: Api) -> None:
    """Pod Topology Spread Constraints, ScheduleAnyway: only a preference."""
    with made_nodes(api, {ZONE: "x"}) as nodes:
        spec = only(nodes, topologySpreadConstraints=_spread(topologyKey=ZONE, whenUnsatisfiable="ScheduleAnyway"))
        for name in ("a", "b", "c"):
            api.create("pods", pod(api, name, labels={"app": "one"}, spec=spec))

        assert {_placed(api, name) for name in ("a", "b", "c")} == {nodes[0].name}


def test_pods_may_keep_apart(api: Api) -> None:
    """Assigning Pods to Nodes, inter-pod anti-affinity (required): no two in one domain."""
    term = {"labelSelector": {"matchLabels": {"app": "one"}}, "topologyKey": "kubernetes.io/hostname"}
    affinity = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    with made_nodes(api, {}, {}) as nodes:
        for name in ("a", "b", "c"):
            api.create("pods", pod(api, name, labels={"app": "one"}, spec=only(nodes, affinity=affinity)))
        wait_for(lambda: sum(bool(p["spec"].get("nodeName")) for p in api.list("pods")) == 2, "two placed")
        (left,) = [p["metadata"]["name"] for p in api.list("pods") if not p["spec"].get("nodeName")]

        _unplaced(api, left, "anti-affinity")


def test_a_no_execute_taint_evicts(api: Api) -> None:
    """Taints and Tolerations, NoExecute: at once without a toleration, after tolerationSeconds, or never."""
    key = "conformance.example.com/out"
    with made_nodes(api, {}) as nodes:
        bears = {"key": key, "operator": "Exists", "effect": "NoExecute"}
        api.create("pods", pod(api, "at-once", spec=only(nodes)))
        api.create("pods", pod(api, "later", spec=only(nodes, bears | {"tolerationSeconds": 3})))
        api.create("pods", pod(api, "never", spec=only(nodes, bears)))
        for name in ("at-once", "later", "never"):
            _placed(api, name)
        nodes[0].taint(key, "NoExecute")

        def leaving(name: str) -> bool:
            found = api.find("pods", name)
            return found is None or "deletionTimestamp" in found["metadata"]

        wait_for(lambda: leaving("at-once"), "evicted at once", 20)
        assert not leaving("never")
        wait_for(lambda: leaving("later"), "evicted after its seconds", 20)
        assert not leaving("never")


@pytest.mark.long
def test_a_silent_node_is_not_ready_and_loses_its_pods(api: Api) -> None:
    """Nodes, node status / Taints, condition-based eviction: Ready=Unknown, unreachable, then tolerationSeconds."""
    unreachable = "node.kubernetes.io/unreachable"
    with made_nodes(api, {}) as nodes:
        name = nodes[0].name
        bears = {"key": unreachable, "operator": "Exists", "effect": "NoExecute"}
        api.create("pods", pod(api, "soon", spec=only(nodes, bears | {"tolerationSeconds": 2})))
        api.create("pods", pod(api, "never", spec=only(nodes, bears)))
        for one in ("soon", "never"):
            _placed(api, one)
        running = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
        api.patch("pods", "never", {"status": running}, sub="status")
        nodes[0].fall_silent()

        lost = api.until("nodes", name, lambda n: condition(n, "Ready") == "Unknown", "NotReady", 120)
        (why,) = [c for c in lost["status"]["conditions"] if c["type"] == "Ready"]
        assert why["reason"] == "NodeStatusUnknown"

        def tainted(found: Object) -> bool:
            effects = {t["effect"] for t in found["spec"]["taints"] if t["key"] == unreachable}
            return effects == {"NoSchedule", "NoExecute"}

        api.until("nodes", name, tainted, "tainted", 60)
        api.until("pods", "soon", lambda p: "deletionTimestamp" in p["metadata"], "evicted", 60)
        (target,) = [c for c in api.get("pods", "soon")["status"]["conditions"] if c["type"] == "DisruptionTarget"]
        assert target["reason"] == "DeletionByTaintManager"
        api.until("pods", "never", lambda p: condition(p, "Ready") == "False", "not ready")
        assert "deletionTimestamp" not in api.get("pods", "never")["metadata"]


def test_every_node_renews_a_lease(api: Api) -> None:
    """Leases, node heartbeats: one of the node's name in kube-node-lease."""
    leases = api.into("kube-node-lease")
    node = next(n for n in api.list("nodes") if condition(n, "Ready") == "True" and "example" not in str(n["spec"]))
    name = node["metadata"]["name"]
    before = leases.get("leases", name)
    assert before["spec"]["holderIdentity"] == name

    leases.until("leases", name, lambda n: n["spec"]["renewTime"] > before["spec"]["renewTime"], "renewed", 40)


def test_a_pod_bound_by_name_passes_the_scheduler_by(api: Api) -> None:
    """Assigning Pods to Nodes, nodeName: the kubelet runs it, the scheduler has no say."""
    node = next(n for n in api.list("nodes") if condition(n, "Ready") == "True" and "example" not in str(n["spec"]))
    api.create("pods", pod(api, "one", spec={"nodeName": node["metadata"]["name"]}))

    api.ready("one")
    assert not api.list("events", fieldSelector="involvedObject.name=one,reason=Scheduled")
    assert "running" in status_of(api.get("pods", "one"))["state"]
