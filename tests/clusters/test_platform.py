"""The reference platform on a sandbox: it serves when it is said to, and each planted weakness is really there."""

from __future__ import annotations

import json
import time

import pytest

from clusters import apply, kustomize
from clusters.provider import ClusterError, overlay
from tests.clusters.platform_kit import GOLDEN, is_golden, sandbox_with_platform, status, until


@pytest.fixture(scope="module")
def deployed():
    with sandbox_with_platform() as made:
        yield made


def ask(endpoint, case=GOLDEN["cases"][0]):
    """Status of one inference on a new connection, and the answer."""
    body = json.dumps({"inputs": case["inputs"]}).encode()
    code, text = status(f"http://{endpoint[0]}:{endpoint[1]}/v2/models/detector/infer", "POST", body)
    return code, json.loads(text or b"{}")


def statuses_until(condition, endpoint, within_s=30.0):
    """Every status seen on new connections until the condition holds."""
    seen: dict[int, int] = {}

    def step():
        code, _ = ask(endpoint)
        seen[code] = seen.get(code, 0) + 1
        return condition()

    until(step, "the platform is as wanted", within_s)
    return seen


def replaced(deployed, killed):
    """The pod that came for the killed one, once it counts as Ready."""
    names = {pod["metadata"]["name"] for pod in killed}
    new = [pod for pod in deployed.pods() if pod["metadata"]["name"] not in names]
    return new and all(deployed.is_ready(pod) for pod in new)


def test_the_healthy_platform_serves_from_the_first_request(deployed):
    """Three pods on three nodes, one GPU each; new connections spread over them; every answer is golden."""
    deployed.deploy("healthy")
    endpoint = deployed.endpoint()

    answering = set()
    for number in range(60):
        case = GOLDEN["cases"][number % len(GOLDEN["cases"])]
        code, answer = ask(endpoint, case)
        assert code == 200
        assert is_golden([answer["outputs"][0]["data"]], case)
        assert answer["model_version"] == "1"
        answering.add(answer["parameters"]["pod"])
    # A pod gets its share once the Service proxy knows it, which may be a second after it is ready.
    pods = {pod["metadata"]["name"] for pod in deployed.pods()}
    until(lambda: answering.add(ask(endpoint)[1]["parameters"]["pod"]) or answering == pods, "every pod answers", 10.0)
    assert len({pod["spec"]["nodeName"] for pod in deployed.pods()}) == 3


def test_a_platform_that_is_there_already_is_left_alone(deployed):
    deployed.deploy("healthy")
    before = {pod["metadata"]["uid"] for pod in deployed.pods()}
    deployed.deploy("healthy")

    assert {pod["metadata"]["uid"] for pod in deployed.pods()} == before


def test_the_healthy_platform_lets_a_replacement_fail_no_request(deployed):
    """It gets traffic when it serves; connections fail only until the dead pod's endpoint is withdrawn."""
    deployed.deploy("healthy")
    before = deployed.pods()
    deployed.kill(before[0])
    seen = statuses_until(lambda: replaced(deployed, before), deployed.endpoint())

    assert set(seen) <= {0, 200}  # 0: connections to the pod that was killed
    assert {ask(deployed.endpoint())[0] for _ in range(60)} == {200}


def test_a_platform_that_a_run_hurt_is_deployed_afresh(deployed):
    """A version that a release left behind does not meet the next run."""
    deployed.deploy("healthy")
    template = {"spec": {"containers": [{"name": "server", "env": [{"name": "MODEL_VERSION", "value": "4"}]}]}}
    deployed.api.request(
        "PATCH",
        "/apis/apps/v1/namespaces/inference/deployments/detector",
        {"spec": {"template": template}},
        content_type="application/strategic-merge-patch+json",
    )
    deployed.deploy("healthy")

    assert {ask(deployed.endpoint())[1]["model_version"] for _ in range(20)} == {"1"}


def test_a_platform_whose_pods_a_run_crowded_is_deployed_afresh(deployed):
    """Two of three pods on one node, as a drain leaves them: the next fault would strike both, and blame it."""
    deployed.deploy("healthy")
    first = deployed.pods()[0]
    path = f"/api/v1/nodes/{first['spec']['nodeName']}"
    deployed.api.merge(path, {"spec": {"unschedulable": True}})
    deployed.kill(first)
    until(lambda: replaced(deployed, [first]), "a replacement elsewhere", 60)
    deployed.api.merge(path, {"spec": {"unschedulable": None}})
    assert len({pod["spec"]["nodeName"] for pod in deployed.pods()}) == 2

    deployed.deploy("healthy")

    assert len({pod["spec"]["nodeName"] for pod in deployed.pods()}) == 3


def test_one_platform_replaces_another_with_all_that_was_its_own(deployed):
    """The budget of the healthy platform is gone on one that has none."""
    path = "/apis/policy/v1/namespaces/inference/poddisruptionbudgets/detector"
    deployed.deploy("healthy")
    assert deployed.api.find(path)
    deployed.deploy("single-replica")
    assert deployed.api.find(path) is None
    assert len(deployed.pods()) == 1


def test_what_cannot_get_ready_is_told_with_the_reason(deployed):
    objects = kustomize.build(overlay("single-replica"))
    for obj in objects:
        if obj["kind"] == "Deployment":
            obj["spec"]["template"]["spec"]["containers"][0]["image"] = "bulletproof/no-such-image:1"

    with pytest.raises(ClusterError) as failure:
        apply.deploy(deployed.api, objects, deployed.said.append, wait_s=3)

    assert "0 of 1 pods ready" in failure.value.message
    assert "no-such-image" in failure.value.message
    assert "cluster image build" in failure.value.hint


def test_never_recovers_crashes_its_replacement(deployed):
    """And only that: the first deployment is complete, the others go on serving."""
    deployed.deploy("never-recovers")
    formed = json.loads(status("http://{}:{}/v2/group".format(*deployed.endpoint()))[1])["formed_seconds"]
    until(lambda: time.time() - formed > 6.2, "the group admits nobody any more")
    before = deployed.pods()
    deployed.kill(before[0])

    def crashes():
        states = [apply.pod_state(pod) for pod in deployed.pods() if not deployed.is_ready(pod)]
        return any(state.startswith("CrashLoopBackOff") for state in states)

    until(crashes, "the replacement crashes")
    assert sum(deployed.is_ready(pod) for pod in deployed.pods()) == 2
    assert not replaced(deployed, before)


def test_no_readiness_probe_lets_a_replacement_fail_requests(deployed):
    """It is Ready to Kubernetes, gets traffic, and answers 400 until its model is loaded."""
    deployed.deploy("no-readiness-probe")
    assert {ask(deployed.endpoint())[0] for _ in range(20)} == {200}
    before = deployed.pods()
    deployed.kill(before[0])

    until(lambda: replaced(deployed, before), "the replacement counts as Ready")
    assert statuses_until(lambda: ask(deployed.endpoint())[0] == 400, deployed.endpoint())
    until(lambda: all(ask(deployed.endpoint())[0] == 200 for _ in range(20)), "it serves at last")


def test_all_on_one_node_is_on_one_node(deployed):
    deployed.deploy("all-on-one-node")

    assert len(deployed.pods()) == 2
    assert len({pod["spec"]["nodeName"] for pod in deployed.pods()}) == 1
