"""Pods: probes, restarts, init containers, the order of their end."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.api import Api, Object, condition, restarts, status_of, wait_for
from tests.conformance.manifests import CHECK, IDLE, SERVER, STUBBORN, container, pod, visit

# Says when SIGTERM came; ends SECONDS later.
POLITE = """
import os, signal, sys, time
def term(*a):
    print("TERM", time.monotonic(), flush=True)
    time.sleep(float(sys.argv[1]))
    print("END", flush=True)
    os._exit(0)
signal.signal(15, term)
print("up", flush=True)
while True:
    signal.pause()
"""
SAY = "import sys; print(*sys.argv[1:], flush=True)"
EXIT = "import sys; sys.exit(int(sys.argv[1]))"


def _checks(kind: str, what: str) -> Object:
    """The three kinds of asking whether `what` is well."""
    ask = "import os, sys, urllib.request as u; u.urlopen(f\"http://{os.environ['POD_IP']}:8000/check/{sys.argv[1]}\")"
    return {
        "httpGet": {"httpGet": {"path": f"/check/{what}", "port": "http"}},
        "exec": {"exec": {"command": ["python3", "-c", ask, what]}, "timeoutSeconds": 10},
        "tcpSocket": {"tcpSocket": {"port": 8000}},
    }[kind] | {"periodSeconds": 1, "failureThreshold": 2}


PORTS = [{"name": "http", "containerPort": 8000}]


@pytest.mark.parametrize("kind", ["httpGet", "exec"])
def test_readiness_follows_its_probe_without_a_restart(api: Api, kind: str) -> None:
    """Liveness, Readiness and Startup Probes: a failed readiness probe makes the pod unready, nothing else."""
    api.create("pods", pod(api, "one", SERVER, "ready", readinessProbe=_checks(kind, "ready"), ports=PORTS))
    api.said("one", "serving")
    assert condition(api.get("pods", "one"), "Ready") == "False"

    visit(api, "one", "well/ready")
    api.ready("one")
    visit(api, "one", "sick/ready")
    found = api.until("pods", "one", lambda p: condition(p, "Ready") == "False", "unready again")
    assert condition(found, "ContainersReady") == "False"
    assert (restarts(found), found["status"]["phase"]) == (0, "Running")


def test_a_tcp_probe_asks_whether_the_port_is_open(api: Api) -> None:
    """Liveness, Readiness and Startup Probes, check mechanisms: tcpSocket."""
    late = "import time; time.sleep(2)\n" + SERVER
    api.create("pods", pod(api, "open", late, readinessProbe=_checks("tcpSocket", "")))
    api.create("pods", pod(api, "closed", IDLE, readinessProbe=_checks("tcpSocket", "")))

    api.ready("open")
    api.said("closed", "up")
    assert condition(api.get("pods", "closed"), "Ready") == "False"


@pytest.mark.parametrize("kind", ["httpGet", "exec"])
def test_a_failed_liveness_probe_restarts_the_container(api: Api, kind: str) -> None:
    """Liveness, Readiness and Startup Probes: killed after failureThreshold failures, and restarted."""
    api.create("pods", pod(api, "one", SERVER, livenessProbe=_checks(kind, "live"), ports=PORTS))
    api.said("one", "serving")
    visit(api, "one", "sick/live")

    found = api.until("pods", "one", lambda p: restarts(p) == 1 and condition(p, "Ready") == "True", "restarted")
    assert "terminated" in status_of(found)["lastState"]
    api.event("one", "Unhealthy")
    assert "failed liveness probe, will be restarted" in api.event("one", "Killing")["message"]


def test_a_startup_probe_holds_the_others_back(api: Api) -> None:
    """Liveness, Readiness and Startup Probes: until it has succeeded the other probes do not run."""
    startup = _checks("httpGet", "started") | {"failureThreshold": 100}
    liveness = _checks("httpGet", "live") | {"failureThreshold": 1}
    probes = {"startupProbe": startup, "livenessProbe": liveness, "readinessProbe": CHECK}
    api.create("pods", pod(api, "one", SERVER, "started", "live", ports=PORTS, **probes))
    api.said("one", "serving")
    # Failures of the startup probe are told; when there were some, liveness would have failed as often.
    api.event("one", "Unhealthy")
    found = api.get("pods", "one")
    assert (restarts(found), status_of(found)["started"], status_of(found)["ready"]) == (0, False, False)

    visit(api, "one", "well/live")
    visit(api, "one", "well/started")
    assert status_of(api.ready("one"))["started"]


def test_a_startup_probe_that_never_succeeds_restarts_the_container(api: Api) -> None:
    """Liveness, Readiness and Startup Probes: after failureThreshold x periodSeconds it is killed."""
    startup = _checks("httpGet", "started") | {"failureThreshold": 2}
    api.create("pods", pod(api, "one", SERVER, "started", ports=PORTS, startupProbe=startup))

    api.until("pods", "one", lambda p: restarts(p) >= 1, "restarted")


def test_the_first_restart_is_at_once_and_the_next_waits(api: Api) -> None:
    """Pod Lifecycle, container restarts: exponential back-off from 10 s, CrashLoopBackOff meanwhile."""
    api.create("pods", pod(api, "one", EXIT, "3"))

    def backing_off(found: Object) -> bool:
        reason = (status_of(found).get("state") or {}).get("waiting", {}).get("reason")
        return restarts(found) >= 1 and reason == "CrashLoopBackOff"

    found = api.until("pods", "one", backing_off, "in CrashLoopBackOff")
    assert found["status"]["phase"] == "Running"
    last = status_of(found)["lastState"]["terminated"]
    assert (last["exitCode"], last["reason"]) == (3, "Error")
    api.event("one", "BackOff")


@pytest.mark.parametrize(
    ("policy", "code", "phase", "reason"),
    [
        ("Never", "0", "Succeeded", "Completed"),
        ("Never", "7", "Failed", "Error"),
        ("OnFailure", "0", "Succeeded", "Completed"),
    ],
)
def test_a_pod_that_ended_has_a_final_phase(api: Api, policy: str, code: str, phase: str, reason: str) -> None:
    """Pod Lifecycle, pod phase: Succeeded when all containers ended well and will not be restarted, else Failed."""
    api.create("pods", pod(api, "one", EXIT, code, spec={"restartPolicy": policy}))

    found = api.until("pods", "one", lambda p: p["status"]["phase"] == phase, phase)
    state = status_of(found)["state"]["terminated"]
    assert (state["exitCode"], state["reason"], restarts(found)) == (int(code), reason, 0)
    assert condition(found, "Ready") == "False"


def test_a_container_that_succeeded_is_restarted_under_always(api: Api) -> None:
    """Pod Lifecycle, restart policy: Always restarts after any end."""
    api.create("pods", pod(api, "one", EXIT, "0"))

    found = api.until("pods", "one", lambda p: restarts(p) >= 1, "restarted")
    assert found["status"]["phase"] == "Running"


def test_init_containers_run_one_after_the_other_before_the_others(api: Api) -> None:
    """Init Containers: each must end well before the next one starts."""
    inits = [container(api, SAY, f"step {n}", name=f"init-{n}") for n in (1, 2)]
    api.create("pods", pod(api, "one", spec={"initContainers": inits}))
    found = api.ready("one")

    ended = [s["state"]["terminated"] for s in found["status"]["initContainerStatuses"]]
    assert [e["exitCode"] for e in ended] == [0, 0]
    assert ended[0]["finishedAt"] <= ended[1]["startedAt"]
    assert ended[1]["finishedAt"] <= status_of(found)["state"]["running"]["startedAt"]
    assert api.log("one", container="init-2") == "step 2\n"
    assert condition(found, "Initialized") == "True"


def test_a_failed_init_container_ends_a_pod_that_never_restarts(api: Api) -> None:
    """Init Containers: with restartPolicy Never its failure is the pod's."""
    spec = {"restartPolicy": "Never", "initContainers": [container(api, EXIT, "4", name="init")]}
    api.create("pods", pod(api, "one", spec=spec))

    found = api.until("pods", "one", lambda p: p["status"]["phase"] == "Failed", "failed")
    assert "running" not in status_of(found)["state"]
    assert condition(found, "Initialized") == "False"


def test_a_sidecar_starts_before_and_ends_after_the_others(api: Api) -> None:
    """Sidecar Containers: init containers with restartPolicy Always; terminated after the main containers."""
    side = container(api, IDLE, name="side", restartPolicy="Always")
    spec = {"initContainers": [side], "restartPolicy": "Never", "terminationGracePeriodSeconds": 5}
    api.create("pods", pod(api, "one", SAY, "done", spec=spec))

    found = api.until("pods", "one", lambda p: p["status"]["phase"] == "Succeeded", "succeeded")
    main, sidecar = status_of(found), found["status"]["initContainerStatuses"][0]
    assert sidecar["state"]["terminated"]["finishedAt"] >= main["state"]["terminated"]["finishedAt"]


def test_conditions_come_true_in_their_order(api: Api) -> None:
    """Pod Lifecycle, pod conditions: scheduled, initialized, containers ready, ready."""
    api.create("pods", pod(api, "one"))
    found = api.ready("one")

    times = {c["type"]: c["lastTransitionTime"] for c in found["status"]["conditions"] if c["status"] == "True"}
    order = ["PodScheduled", "Initialized", "ContainersReady", "Ready"]
    assert [times[one] for one in order] == sorted(times[one] for one in order)
    assert found["status"]["podIP"] == found["status"]["podIPs"][0]["ip"]
    assert found["status"]["qosClass"] == "BestEffort"


def test_a_readiness_gate_is_waited_for(api: Api) -> None:
    """Pod Lifecycle, pod readiness: Ready needs every condition of readinessGates."""
    gate = "conformance.example.com/gate"
    api.create("pods", pod(api, "one", spec={"readinessGates": [{"conditionType": gate}]}))
    found = api.until("pods", "one", lambda p: condition(p, "ContainersReady") == "True", "its containers ready")
    assert condition(found, "Ready") == "False"

    patch = {"status": {"conditions": [{"type": gate, "status": "True"}]}}
    api.patch("pods", "one", patch, "strategic", "status")
    api.ready("one")


def test_the_hook_comes_first_then_sigterm(api: Api) -> None:
    """Pod Lifecycle, termination flow: preStop runs to its end, then SIGTERM; the pod goes when its process has."""
    # Long enough for a busy cluster to tell of it in the meantime.
    hook = {"preStop": {"exec": {"command": ["python3", "-c", "import time; time.sleep(6)"]}}}
    api.create("pods", pod(api, "one", POLITE, "2", lifecycle=hook, spec={"terminationGracePeriodSeconds": 30}))
    api.said("one", "up")

    api.delete("pods", "one")
    api.event("one", "Killing")
    assert "TERM" not in api.log("one")
    api.said("one", "TERM")
    api.gone("pods", "one", 15)


def test_sigkill_comes_when_the_grace_is_over(api: Api) -> None:
    """Pod Lifecycle, termination flow: whoever ignores SIGTERM is killed at the end of the grace period."""
    api.create("pods", pod(api, "one", STUBBORN, spec={"terminationGracePeriodSeconds": 4}))
    api.said("one", "up")
    start = api.call("GET", api.path("pods"))["metadata"]["resourceVersion"]

    with api.watch("pods", resourceVersion=start) as watching:
        api.delete("pods", "one")
        api.said("one", "TERM")
        watching.until(lambda e: e and e[-1]["type"] == "DELETED", "the end")
        last = watching.events[-1]["object"]
    state = status_of(last)["state"]["terminated"]
    assert (state["exitCode"], state["reason"]) == (137, "Error")


def test_the_hooks_time_counts_as_grace(api: Api) -> None:
    """Pod Lifecycle, termination flow: the grace begins before the hook; 2 s more when the hook used it up."""
    hook = {"preStop": {"sleep": {"seconds": 2}}}
    spec = {"terminationGracePeriodSeconds": 2}
    api.create("pods", pod(api, "one", POLITE, "30", lifecycle=hook, spec=spec))
    api.said("one", "up")

    api.delete("pods", "one")
    api.said("one", "TERM")
    api.gone("pods", "one", 15)


def test_a_process_without_a_handler_does_not_get_sigterm(api: Api) -> None:
    """Pod Lifecycle, termination: the first process of a container is PID 1; it lives to the end of the grace."""
    program = "import time; print('up', flush=True); time.sleep(600)"
    api.create("pods", pod(api, "one", program, spec={"terminationGracePeriodSeconds": 3}))
    api.said("one", "up")
    start = api.call("GET", api.path("pods"))["metadata"]["resourceVersion"]

    with api.watch("pods", resourceVersion=start) as watching:
        api.delete("pods", "one")
        watching.until(lambda e: e and e[-1]["type"] == "DELETED", "the end")
        last = watching.events[-1]["object"]
    assert status_of(last)["state"]["terminated"]["exitCode"] == 137


def test_a_terminating_pod_is_not_ready(api: Api) -> None:
    """Pod Lifecycle, termination flow: its status stays Running; nothing new is sent to it (see endpoints)."""
    hook = {"preStop": {"sleep": {"seconds": 3}}}
    api.create("pods", pod(api, "one", lifecycle=hook, spec={"terminationGracePeriodSeconds": 9}))
    api.ready("one")

    api.delete("pods", "one")
    found = api.get("pods", "one")
    assert found["status"]["phase"] == "Running"
    assert found["metadata"]["deletionTimestamp"]
    api.gone("pods", "one")


def test_a_post_start_hook_that_fails_kills_the_container(api: Api) -> None:
    """Container Lifecycle Hooks: if either hook handler fails... postStart's failure kills the container."""
    hook = {"postStart": {"exec": {"command": ["python3", "-c", "raise SystemExit(1)"]}}}
    api.create("pods", pod(api, "one", lifecycle=hook))

    api.event("one", "FailedPostStartHook")
    api.until("pods", "one", lambda p: restarts(p) >= 1, "restarted")


def test_an_end_by_its_deadline(api: Api) -> None:
    """API reference, activeDeadlineSeconds: the pod is Failed with reason DeadlineExceeded."""
    api.create("pods", pod(api, "one", spec={"activeDeadlineSeconds": 2}))

    found = api.until("pods", "one", lambda p: p["status"]["phase"] == "Failed", "failed")
    assert found["status"]["reason"] == "DeadlineExceeded"


def test_a_container_whose_image_is_not_there_waits(api: Api) -> None:
    """Images, ImagePullPolicy Never: the kubelet does not try to fetch: ErrImageNeverPull."""
    api.create("pods", pod(api, "one", image="conformance.example.com/no/such:1", imagePullPolicy="Never"))

    def refused(found: Object) -> bool:
        return (status_of(found).get("state") or {}).get("waiting", {}).get("reason") == "ErrImageNeverPull"

    assert api.until("pods", "one", refused, "without an image")["status"]["phase"] == "Pending"


def test_a_container_beyond_its_memory_limit_is_killed(api: Api) -> None:
    """Resource Management, how limits are enforced: OOMKilled, exit code 137."""
    program = "import time; time.sleep(1); kept = [bytearray(b'x' * 2**20) for _ in range(300)]; time.sleep(60)"
    limits: Any = {"limits": {"memory": "64Mi"}}
    api.create("pods", pod(api, "one", program, resources=limits, spec={"restartPolicy": "Never"}))

    found = api.until("pods", "one", lambda p: p["status"]["phase"] == "Failed", "failed")
    state = status_of(found)["state"]["terminated"]
    assert (state["exitCode"], state["reason"]) == (137, "OOMKilled")


def test_a_containers_last_words_are_in_its_status(api: Api) -> None:
    """Determine the Reason for Pod Failure: FallbackToLogsOnError takes the end of the log."""
    program = "print('these are my last words'); raise SystemExit(5)"
    more = {"terminationMessagePolicy": "FallbackToLogsOnError"}
    api.create("pods", pod(api, "one", program, spec={"restartPolicy": "Never"}, **more))

    found = api.until("pods", "one", lambda p: p["status"]["phase"] == "Failed", "failed")
    assert "these are my last words" in status_of(found)["state"]["terminated"]["message"]


def test_a_start_that_fails_is_told(api: Api) -> None:
    """Debug Pods: a command that is not there: the container could not start, exit code 128 (StartError)."""
    made = pod(api, "one", spec={"restartPolicy": "Never"})
    made["spec"]["containers"][0]["command"] = ["no-such-program"]
    api.create("pods", made)

    found = api.until("pods", "one", lambda p: p["status"]["phase"] == "Failed", "failed")
    state = status_of(found)["state"]["terminated"]
    assert (state["exitCode"], state["reason"]) == (128, "StartError")


def test_two_containers_are_ready_together(api: Api) -> None:
    """Pod Lifecycle, pod conditions: ContainersReady when all of them are."""
    second = container(api, SERVER, "ready", name="second", readinessProbe=CHECK)
    made = pod(api, "one")
    made["spec"]["containers"].append(second)
    api.create("pods", made)
    api.said("one", "serving", container="second")
    found = api.until("pods", "one", lambda p: any(s["ready"] for s in p["status"].get("containerStatuses", ())), "one")
    assert condition(found, "Ready") == "False"

    visit(api, "one", "well/ready")
    api.ready("one")
    wait_for(lambda: all(s["ready"] for s in api.get("pods", "one")["status"]["containerStatuses"]), "both ready")
