"""chaostoolkit-kubernetes works on the sandbox unchanged."""

from __future__ import annotations

import pytest
from chaosk8s.deployment.actions import scale_deployment
from chaosk8s.deployment.probes import deployment_available_and_healthy
from chaosk8s.node.actions import cordon_node, drain_nodes, uncordon_node
from chaosk8s.node.probes import get_nodes
from chaosk8s.pod.actions import exec_in_pods, terminate_pods
from chaosk8s.pod.probes import count_pods, pods_in_phase, read_pod_logs
from chaoslib.exceptions import ActivityFailed
from conftest import wait_for

MARK = {"app": "chaos"}


@pytest.fixture
def web(http, namespace, sandbox, monkeypatch):
    """A Deployment of two whose pods write a line and wait."""
    monkeypatch.setenv("KUBECONFIG", str(sandbox.kubeconfig))
    # The kubernetes package reads KUBECONFIG when it is imported; here that was long ago.
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(sandbox.kubeconfig))
    monkeypatch.setenv("KUBERNETES_CONTEXT", sandbox.context)
    container = {"name": "main", "image": "test/tools:1", "command": ["sh", "-c", "echo here; exec sleep 600"]}
    template = {"metadata": {"labels": MARK}, "spec": {"containers": [container], "terminationGracePeriodSeconds": 1}}
    spec = {"replicas": 2, "selector": {"matchLabels": MARK}, "template": template}
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
    http.ok("POST", path, {"metadata": {"name": "web", "labels": MARK}, "spec": spec})
    wait_for(lambda: http.ok("GET", path + "/web")["status"].get("availableReplicas") == 2, "available Deployment")
    return namespace


def names(http, namespace):
    return {pod["metadata"]["name"] for pod in http.ok("GET", f"/api/v1/namespaces/{namespace}/pods")["items"]}


def test_probes_see_pods_deployments_and_logs(web):
    """Counting, phases, health, logs."""
    assert count_pods("app=chaos", phase="Running", ns=web) == 2
    assert pods_in_phase("app=chaos", phase="Running", ns=web)
    assert deployment_available_and_healthy("web", ns=web)
    assert set(read_pod_logs(label_selector="app=chaos", ns=web).values()) != set()
    assert all(text.endswith("Z here\n") for text in read_pod_logs(label_selector="app=chaos", ns=web).values())
    with pytest.raises(ActivityFailed):
        pods_in_phase("app=none", phase="Running", ns=web)


def test_terminated_pods_are_replaced(http, web):
    """terminate_pods deletes, the ReplicaSet refills."""
    before = names(http, web)

    gone = terminate_pods(label_selector="app=chaos", qty=1, ns=web, grace_period=0)

    assert len(gone) == 1
    wait_for(lambda: len(names(http, web)) == 2 and names(http, web) != before, "replacement")


def test_a_deployment_scales(web):
    """scale_deployment patches the scale."""
    scale_deployment("web", replicas=1, ns=web)

    wait_for(lambda: count_pods("app=chaos", phase="Running", ns=web) == 1, "one pod")


def test_commands_run_in_pods(web):
    """exec_in_pods gives output and exit code of each."""
    answers = exec_in_pods(cmd="echo hello", label_selector="app=chaos", ns=web, qty=2, container_name="main")

    assert [(a["stdout"].strip(), a["exit_code"]) for a in answers] == [("hello", 0)] * 2


def test_nodes_are_cordoned_drained_and_opened(http, web):
    """drain_nodes evicts what a Deployment owns."""
    pods = http.ok("GET", f"/api/v1/namespaces/{web}/pods")["items"]
    node = pods[0]["spec"]["nodeName"]
    try:
        cordon_node(name=node)
        assert any(n["metadata"]["name"] == node for n in get_nodes()["items"])
        assert drain_nodes(name=node, timeout=30, pod_namespace=web)

        left = http.ok("GET", f"/api/v1/namespaces/{web}/pods", fieldSelector=f"spec.nodeName={node}")
        assert [p for p in left["items"] if "deletionTimestamp" not in p["metadata"]] == []
    finally:
        uncordon_node(name=node)
    assert not http.ok("GET", f"/api/v1/nodes/{node}")["spec"].get("unschedulable")
