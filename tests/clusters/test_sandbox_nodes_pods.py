"""Pods as real processes: what they find, in which order they start, what becomes of one that fails."""

from __future__ import annotations

import json
import time

import nodes_kit as kit
import pytest
from nodes_kit import Cluster, container_status, pod, wait_for


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
    found = json.loads(wait_for(lambda: kit.answer(running, "env"), "the server"))

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
    place = json.loads(wait_for(lambda: kit.answer(running, "argv"), "the server"))[2].partition("=")[2]

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
