"""Experiment x platform: what each must come out as, and which check must say so.

A healthy platform keeps every promise. Each planted weakness breaks the one promise that it should, in the experiment
that should notice. These are real runs, with shorter phases than the shipped files have: on the sandbox, or on the
cluster that `--cluster context:NAME` names (`make real`).
"""

from __future__ import annotations

import pytest

from tests.truth.shortened import run_until_measured, shortened

pytestmark = [pytest.mark.slow, pytest.mark.timeout(540)]

BAD_RELEASES = ("bad-release-crash", "bad-release-never-ready", "bad-release-wrong", "bad-release-slow")
# The drain's objective is 99.8 %: to claim it of the steady state takes 1,497 requests without a failure.
DRAIN_PHASES = {"baseline": "9s", "recover": "10s", "settle": "4s"}
RELEASE_PHASES = {"baseline": "5s", "recover": "8s", "settle": "4s"}

# experiment, platform, phases
HEALTHY = [
    ("gpu-pod-kill", None),
    ("gpu-node-drain", DRAIN_PHASES),
    ("pod-latency", None),
    *((name, RELEASE_PHASES) for name in BAD_RELEASES),
]

# experiment, platform, the checks of which at least one must be FAILED, phases
PLANTED = [
    ("gpu-pod-kill", "single-replica", {"recovers_within", "lost", "ready_floor"}, None),
    ("gpu-pod-kill", "no-readiness-probe", {"lost", "recovers_within"}, None),
    ("gpu-pod-kill", "never-recovers", {"replicas_within"}, {"baseline": "5s", "recover": "25s", "settle": "4s"}),
    ("gpu-node-drain", "no-drain", {"lost_requests"}, DRAIN_PHASES),
    ("gpu-node-drain", "all-on-one-node", {"lost_requests", "ready_floor"}, DRAIN_PHASES),
    ("bad-release-wrong", "release-without-verification", {"stable_within"}, None),
]


@pytest.fixture
def on(request) -> tuple[str, ...]:
    """The cluster's arguments for `bulletproof run`."""
    return ("--cluster", request.config.getoption("--cluster") or "sandbox")


@pytest.mark.parametrize(("experiment", "phases"), HEALTHY, ids=[row[0] for row in HEALTHY])
def test_the_healthy_platform_keeps_the_promise(experiment, phases, on, tmp_path):
    """PASSED, with the fault proven and the undo verified."""
    ended = run_until_measured(
        shortened(experiment, tmp_path / "files", phases=phases), tmp_path / "run", "--platform", "healthy", *on
    )

    assert (ended.exit_code, ended.not_passed()) == (0, {}), ended.output
    assert ended.verdict["verdict"] == "PASSED"
    for name in ("load_delivered", "baseline_steady", "fault_proven", "undo_verified"):
        assert ended.check(name)["verdict"] == "PASSED"


@pytest.mark.parametrize(
    ("experiment", "platform", "expected", "phases"), PLANTED, ids=[f"{row[0]}-on-{row[1]}" for row in PLANTED]
)
def test_a_planted_weakness_is_found(experiment, platform, expected, phases, on, tmp_path):
    """FAILED by the check that names the weakness, with the instrument sound and nothing left behind."""
    path = shortened(experiment, tmp_path / "files", phases=phases)

    ended = run_until_measured(path, tmp_path / "run", "--platform", platform, *on)

    assert (ended.exit_code, ended.verdict["verdict"]) == (1, "FAILED"), ended.output
    failed = {name for name, verdict in ended.not_passed().items() if verdict == "FAILED"}
    assert failed & expected, ended.not_passed()
    assert any(name in ended.verdict["why"] for name in failed), ended.verdict["why"]
    for name in ("load_delivered", "baseline_steady", "fault_proven", "undo_verified"):
        assert ended.check(name)["verdict"] == "PASSED"
