"""The release step: it ships what is good, undoes what is bad, and says why."""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys

import pytest

from clusters.platform.release.__main__ import seconds
from clusters.platform.release.verify import ENOUGH_ANSWERS, Prober, right
from tests.clusters.platform_kit import GOLDEN, ROOT, sandbox_with_platform, server

CASE = GOLDEN["cases"][0]


# -- what an answer is worth --


def answer(change=None):
    outputs = [dict(CASE["outputs"][0], data=list(CASE["outputs"][0]["data"]))]
    if change:
        change(outputs[0])
    return {"outputs": outputs}


@pytest.mark.parametrize(
    ("change", "is_right"),
    [
        (None, True),
        (lambda output: output["data"].__setitem__(2, output["data"][2] + 0.9e-4), True),
        (lambda output: output["data"].__setitem__(2, output["data"][2] + 1.2e-4), False),
        (lambda output: output["data"].__setitem__(2, float("nan")), False),
        (lambda output: output["data"].pop(), False),
        (lambda output: output.update(shape=[4, 1]), False),
        (lambda output: output.update(name="OTHER"), False),
        (lambda output: output.pop("data"), False),
    ],
)
def test_an_answer_is_right_when_every_number_is_near_the_golden_one(change, is_right):
    assert right(answer(change), CASE, GOLDEN["tolerance"]) is is_right


@pytest.mark.parametrize(
    ("seen", "finding"),
    [
        ({}, None),
        ({"answers": {"4": 100}, "asked": 100}, None),
        ({"answers": {"4": 100}, "wrong": 1, "asked": 100}, "1 of 100 answers of version 4 are wrong"),
        ({"answers": {"4": 3}, "slow": 2, "asked": 3}, None),
        ({"answers": {"4": 3}, "slow": 3, "asked": 3}, "3 of 3 answers of version 4 took more than 500 ms"),
        ({"answers": {"4": 100}, "slow": 10, "asked": 100}, None),
        ({"answers": {"4": 100}, "slow": 11, "asked": 100}, "11 of 100"),
        ({"answers": {"1": 50}, "errors": 4, "asked": 54}, None),
        ({"answers": {"1": 50}, "errors": 5, "asked": 55, "last_error": "reset"}, "the last one by reset"),
        ({"answers": {"1": 100}, "errors": 5, "asked": 105}, None),
    ],
)
def test_a_finding_needs_one_wrong_answer_or_more_than_noise(seen, finding):
    """Boundaries: wrong 1; slow 3 and over 10 %; errors 5 and over 5 %."""
    prober = Prober(("127.0.0.1", 9), GOLDEN, "4", 0.5)
    for name, value in seen.items():
        setattr(prober._seen, name, value)

    assert prober.finding() is None if finding is None else finding in prober.finding()


@pytest.mark.parametrize(("text", "value"), [("60s", 60), ("500ms", 0.5), ("2m", 120), ("1.5s", 1.5)])
def test_a_timeout_has_a_unit(text, value):
    assert seconds(text) == value


def test_a_timeout_without_a_unit_is_refused():
    with pytest.raises(argparse.ArgumentTypeError, match="60s"):
        seconds("60")


def test_the_prober_tells_versions_apart():
    """A wrong answer counts against the version that gave it, and only then."""
    with server(MODEL_VERSION="4") as (host, _):
        for version, bad in (("4", True), ("5", False)):
            prober = Prober((host, 8000), GOLDEN, version, 0.5)
            for case in GOLDEN["cases"] * 2:
                prober._probe(case)
            assert (prober.finding() is not None) is bad
            assert prober.enough() is bad
            assert prober.seen()["answers"] == {"4": 2 * len(GOLDEN["cases"])}
    assert 2 * len(GOLDEN["cases"]) >= ENOUGH_ANSWERS


# -- the step as a program, on a platform that serves --


@pytest.fixture(scope="module")
def deployed():
    with sandbox_with_platform() as made:
        yield made


def command(deployed, version, *more):
    access = deployed.access
    where = ["--kubeconfig", str(access.kubeconfig), "--context", access.context]
    return [sys.executable, "-m", "clusters.platform.release", "--version", version, *where, *more]


def release(deployed, version, *more):
    """Exit code and the lines it wrote, by step."""
    done = subprocess.run(
        command(deployed, version, *more), capture_output=True, text=True, cwd=ROOT, timeout=90, check=False
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return done.returncode, {line["step"]: line for line in lines}


def version(deployed):
    found = deployed.api.find("/apis/apps/v1/namespaces/inference/deployments/detector")
    env = found["spec"]["template"]["spec"]["containers"][0]["env"]
    return next(each["value"] for each in env if each["name"] == "MODEL_VERSION")


def ready_for(deployed, seconds):
    """The rollout waits this long before it takes a ready pod as available."""
    path = "/apis/apps/v1/namespaces/inference/deployments/detector"
    deployed.api.merge(path, {"spec": {"minReadySeconds": seconds}})


@pytest.mark.parametrize(
    ("bad", "reason"),
    [("2", "crashes"), ("4", "are wrong"), ("5", "took more than 500 ms")],
)
def test_a_bad_version_is_undone_while_one_pod_has_it(deployed, bad, reason):
    """Exit 1, with the reason, and never more than one pod of it."""
    deployed.deploy("healthy")
    code, steps = release(deployed, bad)

    assert (code, version(deployed)) == (1, "1"), steps
    assert reason in steps["bad"]["reason"]
    assert "rolled-back" in steps
    assert steps["bad"]["t_ns"] <= steps["undone"]["t_ns"] <= steps["rolled-back"]["t_ns"]


def test_a_version_that_never_gets_ready_is_undone_when_the_rollout_stalls(deployed):
    deployed.deploy("healthy")
    deployed.api.merge("/api/v1/namespaces/inference/configmaps/release-policy", {"data": {"stall_seconds": "4"}})
    code, steps = release(deployed, "3")

    assert (code, version(deployed)) == (1, "1")
    assert "no progress for 4 s" in steps["bad"]["reason"]


def test_an_interrupted_release_is_undone(deployed):
    """SIGTERM in the middle leaves the stable version."""
    deployed.deploy("healthy")
    process = subprocess.Popen(command(deployed, "3"), stdout=subprocess.PIPE, text=True, cwd=ROOT)
    for line in process.stdout:
        if json.loads(line)["step"] == "version-set":
            break
    process.send_signal(signal.SIGTERM)
    rest = process.communicate(timeout=60)[0]

    assert (process.returncode, version(deployed)) == (1, "1")
    assert '"reason": "interrupted"' in rest


def test_what_cannot_begin_touches_nothing(deployed):
    deployed.deploy("healthy")
    code, steps = release(deployed, "4", "--deployment", "other")

    assert (code, version(deployed)) == (3, "1")
    assert "no Deployment other" in steps["not-begun"]["reason"]


def test_without_verification_a_wrong_version_ships(deployed):
    """The planted weakness: every pod gets it."""
    deployed.deploy("release-without-verification")
    ready_for(deployed, 0)
    code, steps = release(deployed, "4")

    assert (code, version(deployed)) == (0, "4"), steps
    assert steps["policy"]["verify"] is False


def test_a_good_version_ships_verified(deployed):
    """From version 5, within a policy that lets it, back to version 1."""
    deployed.deploy("single-replica")
    ready_for(deployed, 1)
    policy = "/api/v1/namespaces/inference/configmaps/release-policy"
    deployed.api.merge(policy, {"data": {"latency_ms": "1000"}})
    code, steps = release(deployed, "5")

    assert (code, version(deployed)) == (0, "5"), steps
    assert steps["shipped"]["seen"]["answers"]["5"] >= ENOUGH_ANSWERS
    assert release(deployed, "5")[1]["nothing-to-do"]["version"] == "5"
