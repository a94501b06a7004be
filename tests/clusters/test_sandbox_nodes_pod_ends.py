"""How pods end as real processes: hooks, SIGTERM, grace, SIGKILL, and nothing left."""

from __future__ import annotations

import time

import nodes_kit as kit
import pytest
from nodes_kit import Cluster, pod, wait_for


def test_a_deleted_pod_gets_its_hook_then_sigterm_then_its_grace(cluster: Cluster) -> None:
    """While preStop runs it serves on; SIGTERM comes after it; it goes when the process has ended."""
    spec = {"terminationGracePeriodSeconds": 30}
    obj = pod("polite", "8000", "term=0.5", lifecycle={"preStop": {"sleep": {"seconds": 2}}}, spec_=spec)
    cluster.create("pods", obj)
    found = cluster.running("polite")
    wait_for(lambda: kit.answer(found, "name"), "the server")

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
        wait_for(lambda n=name: kit.answer(cluster.running(n), "name"), "the server")
        cluster.delete("pods", name)

    wait_for(lambda: "GET /name/hooked" in cluster.log("by-http"), "the hook's request")
    wait_for(lambda: "hooked" in kit.run_in(cluster, "by-exec", "cat /s/mark"), "the hook's file")
    for name in ("by-exec", "by-http"):
        kit.answer(cluster.get("pods", name), "exit/0")


def test_a_pod_that_ignores_sigterm_is_killed_when_its_grace_is_over(cluster: Cluster) -> None:
    """Not earlier."""
    cluster.create("pods", pod("stubborn", "8000", "term=never", spec_={"terminationGracePeriodSeconds": 2}))
    wait_for(lambda: kit.answer(cluster.running("stubborn"), "name"), "the server")

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
    wait_for(lambda: kit.answer(first, "name"), "the server")
    log = next(cluster.info.dir.glob(f"pods/{cluster.namespace}_old_*/logs/main/0.log"))
    followed = log.open()

    begun = time.monotonic()
    cluster.delete("pods", "old", gracePeriodSeconds=0)
    assert cluster.find("pods", "old") is None
    cluster.create("pods", pod("new", "8000", spec_=place, **gpus))
    second = cluster.running("new")
    assert kit.answer(first, "name") == "old"
    assert second["status"]["podIP"] != first["status"]["podIP"]
    wait_for(lambda: "SIGTERM" in followed.read(), "SIGTERM")
    assert time.monotonic() - begun >= term_s
    wait_for(lambda: not kit.answer(first, "name"), "the end")

    assert time.monotonic() - begun >= term_s + 1.9
    followed.close()


@pytest.mark.parametrize("grace_s", [0, 1])
def test_a_pod_that_ends_already_keeps_its_grace(cluster: Cluster, grace_s: int) -> None:
    """A kubelet does not heed a second deletion, not even a forced one (seen on 1.36.3)."""
    cluster.create("pods", pod("slow", "8000", "term=never"))
    running = cluster.running("slow")
    wait_for(lambda: kit.answer(running, "name"), "the server")

    begun = time.monotonic()
    cluster.delete("pods", "slow")
    cluster.delete("pods", "slow", gracePeriodSeconds=grace_s)
    wait_for(lambda: not kit.answer(running, "name"), "the end")

    assert 4.8 < time.monotonic() - begun < 20


def test_what_a_container_started_ends_with_it(cluster: Cluster) -> None:
    """When the first process ends, the others do too."""
    cluster.create("pods", pod("parent", "sleep 63 & echo $!; sleep 0.5", image="test/sh:1"))
    pid = wait_for(lambda: cluster.log("parent").split(), "the child's pid")[0]

    wait_for(lambda: not kit.alive(int(pid)), "the child dead")
