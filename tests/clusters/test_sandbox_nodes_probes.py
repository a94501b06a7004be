"""Probes of real processes: readiness, liveness, startup."""

from __future__ import annotations

import time

import nodes_kit as kit
import pytest
from nodes_kit import Cluster, container_status, pod, wait_for


@pytest.mark.parametrize("kind", ["httpGet", "tcpSocket", "exec"])
def test_readiness_follows_its_probe(cluster: Cluster, kind: str) -> None:
    """Not ready until it succeeds; not ready again after failureThreshold failures; without a restart."""
    handlers = {
        "httpGet": {"httpGet": {"path": "/check/ready", "port": "http"}},
        "tcpSocket": {"tcpSocket": {"port": 8000}},
        "exec": {"exec": {"command": ["test", "-e", "/s/ready"]}},
    }
    spec = {"volumes": [{"name": "s", "emptyDir": {}}]}
    probe = handlers[kind] | {"periodSeconds": 1, "failureThreshold": 2}
    obj = pod(
        "probed",
        "8000",
        "sick=ready",
        "after=0.5",
        readinessProbe=probe,
        ports=[{"name": "http", "containerPort": 8000}],
        volumeMounts=[{"name": "s", "mountPath": "/s"}],
        spec_=spec,
    )
    cluster.create("pods", obj)
    found = wait_for(
        lambda: "running" in container_status(p := cluster.get("pods", "probed")).get("state", {}) and p, ""
    )
    assert not kit.ready(found)
    address = found["status"]["podIP"]

    if kind == "httpGet":
        wait_for(lambda: kit.answer(found, "well/ready"), "the server")
    if kind == "exec":
        kit.run_in(cluster, "probed", "touch /s/ready")
    cluster.running("probed")

    if kind == "httpGet":
        begun = time.monotonic()
        kit.get(address, "sick/ready")
        wait_for(lambda: not kit.ready(cluster.get("pods", "probed")), "not ready")
        assert time.monotonic() - begun > 0.9
        said = {event["message"] for event in cluster.events("probed", "Unhealthy")}
        assert "Readiness probe failed: HTTP probe failed with statuscode: 503" in said
    assert container_status(cluster.get("pods", "probed"))["restartCount"] == 0


def test_a_grpc_probe_speaks_the_health_protocol(cluster: Cluster) -> None:
    """SERVING is ready, NOT_SERVING is not; asked of a real gRPC server."""
    program = """
import grpc, os, time
from concurrent import futures
answer = [2]
def check(request, context):
    return bytes([8, answer[0]])
handler = grpc.method_handlers_generic_handler("grpc.health.v1.Health",
    {"Check": grpc.unary_unary_rpc_method_handler(check)})
server = grpc.server(futures.ThreadPoolExecutor(2))
server.add_generic_rpc_handlers((handler,))
server.add_insecure_port(os.environ["POD_IP"] + ":9000")
server.start()
print("serving", flush=True)
time.sleep(2)
answer[0] = 1
time.sleep(60)
"""
    probe = {"grpc": {"port": 9000}, "periodSeconds": 1}
    cluster.create("pods", pod("grpc", "-c", program, image="test/python:1", readinessProbe=probe))

    wait_for(lambda: "NOT_SERVING" in str(cluster.events("grpc", "Unhealthy")), "NOT_SERVING seen")

    assert cluster.running("grpc")


def test_a_failed_liveness_probe_restarts_the_container(cluster: Cluster) -> None:
    """The count rises, lastState tells the end, the pod stays the same one."""
    probe = {"httpGet": {"path": "/check/live", "port": 8000}, "periodSeconds": 1, "failureThreshold": 1}
    cluster.create("pods", pod("alive", livenessProbe=probe | {"initialDelaySeconds": 1}))
    before = cluster.running("alive")
    wait_for(lambda: kit.answer(before, "sick/live"), "the server")

    after = wait_for(
        lambda: container_status(p := cluster.get("pods", "alive"))["restartCount"] == 1 and kit.ready(p) and p,
        "restart",
    )

    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["status"]["podIP"] == before["status"]["podIP"]
    assert container_status(after)["lastState"]["terminated"]["exitCode"] == 0
    killing = cluster.events("alive", "Killing")
    assert killing[0]["message"] == "Container main failed liveness probe, will be restarted"


def test_a_startup_probe_holds_the_liveness_probe_back(cluster: Cluster) -> None:
    """A server that needs 2.5 s is not killed by a liveness probe that would allow it 1 s."""
    check = {"httpGet": {"path": "/check/x", "port": 8000}, "periodSeconds": 1}
    obj = pod(
        "late",
        "8000",
        "after=2.5",
        startupProbe=check | {"failureThreshold": 30},
        livenessProbe=check | {"failureThreshold": 1},
    )
    cluster.create("pods", obj)

    found = cluster.running("late")

    assert container_status(found)["restartCount"] == 0
    assert container_status(found)["started"] is True


def test_a_failed_startup_probe_restarts_the_container(cluster: Cluster) -> None:
    """After failureThreshold failures."""
    check = {"httpGet": {"path": "/check/x", "port": 8000}, "periodSeconds": 1, "failureThreshold": 2}
    cluster.create(
        "pods", pod("never", "8000", "after=60", startupProbe=check, spec_={"terminationGracePeriodSeconds": 0})
    )

    wait_for(lambda: container_status(cluster.get("pods", "never")).get("restartCount"), "restart", 12)

    assert "failed startup probe" in cluster.events("never", "Killing")[0]["message"]
