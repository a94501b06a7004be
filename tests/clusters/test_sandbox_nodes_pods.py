"""Pods as real processes: what they find, how they are watched, how they end."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import nodes_kit as kit
import pytest
from nodes_kit import Cluster, container_status, pod, wait_for


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with kit.sandbox(tmp_path_factory.mktemp("pods")) as cluster:
        yield cluster


@pytest.fixture
def cluster(whole: Cluster) -> Iterator[Cluster]:
    with kit.fresh_namespace(whole) as own:
        yield own


def test_a_container_finds_its_environment_as_kubernetes_makes_it(cluster: Cluster) -> None:
    """Services, envFrom, env with $(NAME), downward API: later ones win, unknown names stay as they are."""
    cluster.create("configmaps", {"metadata": {"name": "conf"}, "data": {"COLOUR": "red", "SIZE": "3"}})
    cluster.create("secrets", {"metadata": {"name": "key"}, "stringData": {"token": "abc"}})
    cluster.create("services", kit.service("other"))
    env = [
        {"name": "COLOUR", "value": "blue"},
        {"name": "BOTH", "value": "$(COLOUR)-$(SIZE)-$(NOBODY)-$$(COLOUR)"},
        {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "key", "key": "token"}}},
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
        {"name": "CPUS", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}}},
    ]
    obj = pod("one", "8000", env=env, resources={"limits": {"cpu": "500m"}})
    obj["spec"]["containers"][0]["envFrom"] = [{"configMapRef": {"name": "conf"}}]
    cluster.create("pods", obj)

    running = cluster.running("one")
    found = json.loads(wait_for(lambda: _try(running, "env"), "the server"))

    assert found["COLOUR"] == "blue"
    assert found["BOTH"] == "blue-3-$(NOBODY)-$(COLOUR)"
    assert found["TOKEN"] == "abc"
    assert found["NODE"] == running["spec"]["nodeName"]
    assert found["APP"] == "one"
    assert found["CPUS"] == "500"
    assert found["HOSTNAME"] == "one"
    assert found["OTHER_SERVICE_HOST"] == cluster.get("services", "other")["spec"]["clusterIP"]
    assert found["KUBERNETES_SERVICE_PORT"] == "6443"
    assert "PYTEST_CURRENT_TEST" not in found


def test_volumes_are_found_through_the_paths_of_the_manifest(cluster: Cluster) -> None:
    """A mountPath in args leads to the volume; a changed ConfigMap reaches the file."""
    cluster.create("configmaps", {"metadata": {"name": "conf"}, "data": {"a.txt": "first"}})
    volumes = [{"name": "conf", "configMap": {"name": "conf"}}, {"name": "scratch", "emptyDir": {}}]
    mounts = [{"name": "conf", "mountPath": "/etc/conf"}, {"name": "scratch", "mountPath": "/scratch"}]
    script = "cat /etc/conf/a.txt > /scratch/copy; cat $CONTAINER_ROOT/scratch/copy; echo; sleep 60"
    obj = pod("vol", script, image="test/sh:1", volumeMounts=mounts, spec_={"volumes": volumes})
    cluster.create("pods", obj)
    reader = pod("reader", "8000", "x=/etc/conf/a.txt", volumeMounts=mounts[:1], spec_={"volumes": volumes})
    cluster.create("pods", reader)

    running = cluster.running("reader")
    place = json.loads(wait_for(lambda: _try(running, "argv"), "the server"))[2].partition("=")[2]

    wait_for(lambda: cluster.log("vol") == "first\n", "the copy")
    assert kit.get(running["status"]["podIP"], f"file/{place}") == "first"
    cluster.patch("configmaps", "conf", {"data": {"a.txt": "second"}})
    wait_for(lambda: kit.get(running["status"]["podIP"], f"file/{place}") == "second", "the new content")


def test_init_containers_run_one_after_the_other(cluster: Cluster) -> None:
    """The second begins when the first has ended well; the main one when both have."""
    inits = [
        {"name": "a", "image": "test/sh:1", "args": ["echo a >> $CONTAINER_ROOT/s/log; sleep 0.3"]},
        {"name": "b", "image": "test/sh:1", "args": ["echo b >> $CONTAINER_ROOT/s/log"]},
    ]
    mount = [{"name": "s", "mountPath": "/s"}]
    for init in inits:
        init["volumeMounts"] = mount
    spec = {"initContainers": inits, "volumes": [{"name": "s", "emptyDir": {}}]}
    obj = pod("main", "cat /s/log; sleep 60", image="test/sh:1", volumeMounts=mount, spec_=spec)
    cluster.create("pods", obj)

    first = wait_for(
        lambda: (p := cluster.get("pods", "main"))["status"].get("initContainerStatuses") and p, "the status"
    )
    assert kit.condition(first, "Initialized") == "False"
    assert container_status(first)["state"]["waiting"]["reason"] == "PodInitializing"
    done = cluster.running("main")

    wait_for(lambda: cluster.log("main") == "a\nb\n", "the order")
    assert kit.condition(done, "Initialized") == "True"
    assert [s["state"]["terminated"]["reason"] for s in done["status"]["initContainerStatuses"]] == ["Completed"] * 2


def test_a_pod_whose_init_container_fails_stays_pending(cluster: Cluster) -> None:
    """And its init container is tried again."""
    init = {"name": "bad", "image": "test/sh:1", "args": ["exit 3"]}
    cluster.create("pods", pod("stuck", spec_={"initContainers": [init]}))

    found = wait_for(
        lambda: (
            (p := cluster.get("pods", "stuck"))["status"].get("initContainerStatuses", [{}])[0].get("restartCount")
            and p
        ),
        "a second try",
    )

    assert found["status"]["phase"] == "Pending"
    assert found["status"]["initContainerStatuses"][0]["lastState"]["terminated"]["exitCode"] == 3


def test_conditions_become_true_in_kubernetes_order(cluster: Cluster) -> None:
    """PodScheduled, Initialized, then ContainersReady and Ready together, never the other way round."""
    probe = {"httpGet": {"path": "/check/x", "port": 8000}, "periodSeconds": 1}
    made = cluster.create("pods", pod("slow", "8000", "after=1.2", readinessProbe=probe))
    cluster.running("slow")
    path = cluster.path("pods") + f"?watch=true&timeoutSeconds=1&resourceVersion={made['metadata']['resourceVersion']}"

    order: list[str] = []
    for line in cluster.call("GET", path).splitlines():
        obj = json.loads(line)["object"]
        for entry in obj["status"].get("conditions", ()):
            if entry["status"] == "True" and entry["type"] not in order:
                order.append(entry["type"])

    assert order == ["PodScheduled", "Initialized", "PodReadyToStartContainers", "Ready", "ContainersReady"]
    final = {c["type"]: c for c in cluster.get("pods", "slow")["status"]["conditions"]}
    assert list(final) == ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"]
    assert final["PodScheduled"]["lastTransitionTime"] < final["Ready"]["lastTransitionTime"]


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
        wait_for(lambda: _try(found, "well/ready"), "the server")
    if kind == "exec":
        _run(cluster, "probed", "touch /s/ready")
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
    wait_for(lambda: _try(before, "sick/live"), "the server")

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


def test_the_first_restart_is_at_once_and_the_second_waits_ten_seconds(cluster: Cluster) -> None:
    """CrashLoopBackOff with Kubernetes' words and times."""
    cluster.create("pods", pod("crash", "exit 7", image="test/sh:1"))

    looping = wait_for(
        lambda: "CrashLoopBackOff" in str(container_status(p := cluster.get("pods", "crash"))) and p, "the back-off", 20
    )
    status = container_status(looping)
    assert status["restartCount"] == 1
    assert status["lastState"]["terminated"]["exitCode"] == 7
    assert status["lastState"]["terminated"]["reason"] == "Error"
    assert status["state"]["waiting"]["message"].startswith("back-off 10s restarting failed container=main pod=crash_")
    assert looping["status"]["phase"] == "Running"
    begun = time.monotonic()
    wait_for(lambda: container_status(cluster.get("pods", "crash"))["restartCount"] == 2, "the next try", 30)
    assert time.monotonic() - begun > 7


@pytest.mark.parametrize(
    ("policy", "code", "phase", "restarts"),
    [("Never", 0, "Succeeded", 0), ("Never", 4, "Failed", 0), ("OnFailure", 0, "Succeeded", 0)],
)
def test_a_pod_that_ends_has_a_final_phase(cluster: Cluster, policy: str, code: int, phase: str, restarts: int) -> None:
    """Succeeded or Failed with the exit code, and no longer ready."""
    cluster.create("pods", pod("job", f"exit {code}", image="test/sh:1", spec_={"restartPolicy": policy}))

    done = wait_for(lambda: (p := cluster.get("pods", "job"))["status"]["phase"] == phase and p, phase)

    status = container_status(done)
    assert (status["state"]["terminated"]["exitCode"], status["restartCount"]) == (code, restarts)
    ready = next(c for c in done["status"]["conditions"] if c["type"] == "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "PodCompleted" if code == 0 else "PodFailed")


def test_an_unknown_image_is_told_and_tried_again(cluster: Cluster) -> None:
    """ErrImagePull, then ImagePullBackOff; the pod stays Pending."""
    cluster.create("pods", pod("lost", image="nobody/has:1"))

    reasons: list[str] = []

    def look() -> bool:
        waiting = container_status(cluster.get("pods", "lost")).get("state", {}).get("waiting", {}).get("reason")
        if waiting and waiting not in reasons:
            reasons.append(waiting)
        return "ImagePullBackOff" in reasons

    wait_for(look, "the back-off")
    assert reasons[-2:] == ["ErrImagePull", "ImagePullBackOff"]
    assert cluster.get("pods", "lost")["status"]["phase"] == "Pending"


def test_a_command_that_is_not_there_is_a_start_error(cluster: Cluster) -> None:
    """128 and StartError, as containerd has it."""
    obj = pod("typo", image="test/sh:1", command=["no-such-program"], spec_={"restartPolicy": "Never"})
    cluster.create("pods", obj)

    done = wait_for(lambda: (p := cluster.get("pods", "typo"))["status"]["phase"] == "Failed" and p, "Failed")

    ended = container_status(done)["state"]["terminated"]
    assert (ended["reason"], ended["exitCode"]) == ("StartError", 128)
    assert "executable file not found in $PATH" in ended["message"]


def test_a_missing_config_map_holds_the_container_until_it_is_there(cluster: Cluster) -> None:
    """CreateContainerConfigError, then it starts by itself."""
    env = [{"name": "X", "valueFrom": {"configMapKeyRef": {"name": "later", "key": "x"}}}]
    cluster.create("pods", pod("waits", env=env))
    wait_for(lambda: "CreateContainerConfigError" in str(cluster.get("pods", "waits")["status"]), "the error")

    cluster.create("configmaps", {"metadata": {"name": "later"}, "data": {"x": "1"}})

    assert cluster.running("waits")


def test_a_container_beyond_its_memory_limit_is_oom_killed(cluster: Cluster) -> None:
    """137 and OOMKilled."""
    program = "import time; x = bytearray(80 << 20); time.sleep(60)"
    limits = {"limits": {"memory": "40Mi"}}
    cluster.create(
        "pods", pod("fat", "-c", program, image="test/python:1", resources=limits, spec_={"restartPolicy": "Never"})
    )

    done = wait_for(lambda: (p := cluster.get("pods", "fat"))["status"]["phase"] == "Failed" and p, "Failed")

    ended = container_status(done)["state"]["terminated"]
    assert (ended["reason"], ended["exitCode"]) == ("OOMKilled", 137)


def test_the_log_of_the_run_before_is_kept(cluster: Cluster) -> None:
    """stdout and stderr in order; `previous` is the run that ended."""
    cluster.create("pods", pod("talks", "echo out; echo err >&2; sleep 0.2; exit 1", image="test/sh:1"))
    wait_for(lambda: container_status(cluster.get("pods", "talks")).get("restartCount") == 1, "restart")

    assert sorted(cluster.log("talks", "?previous=true").splitlines()) == ["err", "out"]


def test_a_sidecar_starts_first_and_ends_last(cluster: Cluster) -> None:
    """An init container with restartPolicy Always: it runs beside the main one, and does not keep a job from ending."""
    sidecar = {
        "name": "side",
        "image": "test/server:1",
        "args": ["8001"],
        "restartPolicy": "Always",
        "env": [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
        "startupProbe": {"httpGet": {"path": "/name", "port": 8001}, "periodSeconds": 1},
    }
    spec = {"initContainers": [sidecar], "restartPolicy": "Never"}
    cluster.create("pods", pod("both", "sleep 1", image="test/sh:1", spec_=spec))

    running = wait_for(
        lambda: "running" in container_status(p := cluster.get("pods", "both")).get("state", {}) and p, ""
    )
    assert running["status"]["initContainerStatuses"][0]["started"] is True
    done = wait_for(lambda: (p := cluster.get("pods", "both"))["status"]["phase"] == "Succeeded" and p, "Succeeded")

    assert "terminated" in done["status"]["initContainerStatuses"][0]["state"]


def test_a_pod_beyond_its_deadline_fails_and_leaves_nothing(cluster: Cluster) -> None:
    """activeDeadlineSeconds: Failed with DeadlineExceeded; its folder goes with the object."""
    cluster.create("pods", pod("late", spec_={"activeDeadlineSeconds": 1, "restartPolicy": "Never"}))

    done = wait_for(lambda: (p := cluster.get("pods", "late"))["status"]["phase"] == "Failed" and p, "Failed")
    assert done["status"]["reason"] == "DeadlineExceeded"
    folder = cluster.info.dir / "pods" / f"{cluster.namespace}_late_{done['metadata']['uid']}"
    assert folder.exists()
    cluster.delete("pods", "late")

    wait_for(lambda: not folder.exists(), "the folder gone")


def test_a_readiness_gate_waits_for_its_condition(cluster: Cluster) -> None:
    """Ready only when somebody has set it True."""
    cluster.create("pods", pod("gated", spec_={"readinessGates": [{"conditionType": "example.com/open"}]}))
    found = wait_for(lambda: kit.condition(p := cluster.get("pods", "gated"), "ContainersReady") == "True" and p, "")
    assert not kit.ready(found)

    conditions = [*found["status"]["conditions"], {"type": "example.com/open", "status": "True"}]
    cluster.patch("pods", "gated", {"status": {"conditions": conditions}}, "status")

    cluster.running("gated")


# The end


def test_a_deleted_pod_gets_its_hook_then_sigterm_then_its_grace(cluster: Cluster) -> None:
    """While preStop runs it serves on; SIGTERM comes after it; it goes when the process has ended."""
    spec = {"terminationGracePeriodSeconds": 30}
    obj = pod("polite", "8000", "term=0.5", lifecycle={"preStop": {"sleep": {"seconds": 2}}}, spec_=spec)
    cluster.create("pods", obj)
    found = cluster.running("polite")
    wait_for(lambda: _try(found, "name"), "the server")

    begun = time.monotonic()
    cluster.delete("pods", "polite")
    marked = cluster.get("pods", "polite")
    assert marked["metadata"]["deletionGracePeriodSeconds"] == 30
    assert kit.get(found["status"]["podIP"], "name") == "polite"
    assert "SIGTERM" not in cluster.log("polite")
    wait_for(lambda: "SIGTERM" in cluster.log("polite"), "SIGTERM")
    assert time.monotonic() - begun > 1.95
    wait_for(lambda: cluster.find("pods", "polite") is None, "gone")

    assert 2.4 < time.monotonic() - begun < 20


def test_a_hook_may_run_a_command_or_ask_the_server(cluster: Cluster) -> None:
    """exec and httpGet as preStop."""
    for name, hook in (
        ("by-exec", {"exec": {"command": ["sh", "-c", "echo hooked > /s/mark"]}}),
        ("by-http", {"httpGet": {"path": "/name/hooked", "port": 8000}}),
    ):
        mounts = [{"name": "s", "mountPath": "/s"}]
        spec = {"volumes": [{"name": "s", "emptyDir": {}}], "terminationGracePeriodSeconds": 60}
        cluster.create(
            "pods", pod(name, "8000", "term=never", lifecycle={"preStop": hook}, volumeMounts=mounts, spec_=spec)
        )
        wait_for(lambda n=name: _try(cluster.running(n), "name"), "the server")
        cluster.delete("pods", name)

    wait_for(lambda: "GET /name/hooked" in cluster.log("by-http"), "the hook's request")
    wait_for(lambda: "hooked" in _run(cluster, "by-exec", "cat /s/mark"), "the hook's file")
    for name in ("by-exec", "by-http"):
        _try(cluster.get("pods", name), "exit/0")


def test_a_pod_that_ignores_sigterm_is_killed_when_its_grace_is_over(cluster: Cluster) -> None:
    """Not earlier."""
    cluster.create("pods", pod("stubborn", "8000", "term=never", spec_={"terminationGracePeriodSeconds": 2}))
    wait_for(lambda: _try(cluster.running("stubborn"), "name"), "the server")

    begun = time.monotonic()
    cluster.delete("pods", "stubborn")
    wait_for(lambda: cluster.find("pods", "stubborn") is None, "gone")

    assert 1.8 < time.monotonic() - begun < 15


def test_the_first_process_ignores_sigterm_unless_it_has_a_handler(cluster: Cluster) -> None:
    """The kernel's rule for PID 1 of a container: `sleep` lives until its grace is over."""
    spec = {"terminationGracePeriodSeconds": 2}
    cluster.create("pods", pod("sleeper", image="test/sh:1", command=["sleep", "60"], spec_=spec))
    cluster.running("sleeper")

    begun = time.monotonic()
    cluster.delete("pods", "sleeper")
    wait_for(lambda: cluster.find("pods", "sleeper") is None, "gone")

    assert time.monotonic() - begun > 1.8


def test_a_forced_deletion_leaves_no_process_even_of_those_that_hide(cluster: Cluster) -> None:
    """SIGKILL for the whole container at its end, a daemon in a session of its own included."""
    script = "setsid sleep 61 & echo $!; sleep 62 & echo $!; echo $$$$; wait"
    cluster.create("pods", pod("brood", script, image="test/sh:1"))
    cluster.running("brood")
    pids = wait_for(lambda: len(p := cluster.log("brood").split()) == 3 and p, "three processes")

    cluster.delete("pods", "brood", gracePeriodSeconds=0)

    assert cluster.find("pods", "brood") is None
    wait_for(lambda: not any(kit.alive(int(pid)) for pid in pids), "all dead")


@pytest.mark.parametrize(("hooked", "term_s"), [(False, 0.0), (True, 1.0)])
def test_a_forced_deletion_ends_in_order_though_the_object_is_gone(
    cluster: Cluster, hooked: bool, term_s: float
) -> None:
    """preStop for at most 1 s, SIGTERM, SIGKILL 2 s later (seen on 1.36.3); the GPU may be another's at once."""
    gpus = {"resources": {"limits": {"nvidia.com/gpu": 2}}}
    place = {"nodeName": "gpu-1"}
    hook = {"lifecycle": {"preStop": {"sleep": {"seconds": 4}}}} if hooked else {}
    cluster.create("pods", pod("old", "8000", "term=never", spec_=place, **gpus, **hook))
    first = cluster.running("old")
    wait_for(lambda: _try(first, "name"), "the server")
    log = next(cluster.info.dir.glob(f"pods/{cluster.namespace}_old_*/logs/main/0.log"))
    followed = log.open()

    begun = time.monotonic()
    cluster.delete("pods", "old", gracePeriodSeconds=0)
    assert cluster.find("pods", "old") is None
    cluster.create("pods", pod("new", "8000", spec_=place, **gpus))
    second = cluster.running("new")
    assert _try(first, "name") == "old"
    assert second["status"]["podIP"] != first["status"]["podIP"]
    wait_for(lambda: "SIGTERM" in followed.read(), "SIGTERM")
    assert time.monotonic() - begun >= term_s
    wait_for(lambda: not _try(first, "name"), "the end")

    assert time.monotonic() - begun >= term_s + 1.9
    followed.close()


@pytest.mark.parametrize("grace_s", [0, 1])
def test_a_pod_that_ends_already_keeps_its_grace(cluster: Cluster, grace_s: int) -> None:
    """A kubelet does not heed a second deletion, not even a forced one (seen on 1.36.3)."""
    cluster.create("pods", pod("slow", "8000", "term=never"))
    running = cluster.running("slow")
    wait_for(lambda: _try(running, "name"), "the server")

    begun = time.monotonic()
    cluster.delete("pods", "slow")
    cluster.delete("pods", "slow", gracePeriodSeconds=grace_s)
    wait_for(lambda: not _try(running, "name"), "the end")

    assert 4.8 < time.monotonic() - begun < 20


def test_what_a_container_started_ends_with_it(cluster: Cluster) -> None:
    """When the first process ends, the others do too."""
    cluster.create("pods", pod("parent", "sleep 63 & echo $!; sleep 0.5", image="test/sh:1"))
    pid = wait_for(lambda: cluster.log("parent").split(), "the child's pid")[0]

    wait_for(lambda: not kit.alive(int(pid)), "the child dead")


def _try(running: kit.Object, path: str) -> str:
    """A GET, or nothing while the server does not answer."""
    try:
        return kit.get(running["status"]["podIP"], path)
    except OSError:
        return ""


def _run(cluster: Cluster, name: str, script: str) -> str:
    """A command in a pod, through the API."""
    from kubernetes import client, config
    from kubernetes.stream import stream

    api = config.new_client_from_config(str(cluster.info.kubeconfig))
    core = client.CoreV1Api(api)
    return str(
        stream(
            core.connect_get_namespaced_pod_exec,
            name,
            cluster.namespace,
            command=["sh", "-c", script],
            stdin=False,
            stdout=True,
            stderr=True,
            tty=False,
        )
    )
