"""Experiment files as pytest tests: collected only when a cluster is named, red with a sentence that can be read."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from clusters.provider import provider_for
from harness.experiment.shipped import folder
from harness.judge import judge
from harness.pytest_plugin import describe
from tests.histories import build_run

SHORT = {"baseline: 15s": "baseline: 4s", "recover: 30s": "recover: 8s", "settle: 10s": "settle: 3s"}


def run_pytest(*arguments: str, cwd: Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """pytest in a process of its own, as a user has it: by the plugin's entry point, with no configuration of ours."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-c",
        os.devnull,
        "--rootdir",
        str(cwd),
        "-p",
        "no:cacheprovider",
        *arguments,
    ]
    env = {**os.environ, **(env or {})}
    return subprocess.run(command, capture_output=True, text=True, timeout=170, cwd=cwd, env=env)


@pytest.fixture
def own(tmp_path):
    """A folder `experiments` of a user's own, with a short experiment and files that are none."""
    place = tmp_path / "experiments"
    for name in ("slos/detector.yaml", "golden/detector.json"):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes((folder() / name).read_bytes())
    # A kill costs some 50 requests whatever the run's length is; the objective is for the length of the shipped one.
    slo = place / "slos" / "detector.yaml"
    slo.write_text(slo.read_text().replace("target: 0.98", "target: 0.9"))
    text = (folder() / "gpu-pod-kill.yaml").read_text()
    for old, new in SHORT.items():
        text = text.replace(old, new)
    (place / "short.yaml").write_text(text)
    (place / "suite.yaml").write_text("title: A suite about bulletproof\nexperiments: [short.yaml]\n")
    (place / "values.yml").write_text("bulletproof: {a: [1, 2}\n")
    (place / "chaos.yaml").write_text(
        "title: x\ndescription: y\nmethod: []\nextensions: [{name: other}] # no bulletproof\n"
    )
    return place


def test_nothing_is_collected_without_a_cluster(own):
    """A test run must not strike a cluster because a YAML file lies around."""
    done = run_pytest("experiments", "--collect-only", "-q", cwd=own.parent)

    assert "no tests ran" in done.stdout or "no tests collected" in done.stdout
    assert "short" not in done.stdout


def test_only_experiments_are_collected(own):
    """Suites, SLO files, broken YAML and other extensions are left alone. Tags select."""
    done = run_pytest("experiments", "--collect-only", "-q", "--cluster", "sandbox", cwd=own.parent)
    nightly = run_pytest("experiments", "--collect-only", "-q", "--cluster", "sandbox", "-k", "nightly", cwd=own.parent)
    other = run_pytest("experiments", "--collect-only", "-q", "--cluster", "sandbox", "-k", "weekly", cwd=own.parent)

    assert re.findall(r"^(\S+::\S+)", done.stdout, re.M) == ["experiments/short.yaml::short"], done.stdout
    assert "short.yaml::short" in nightly.stdout
    assert "short.yaml::short" not in other.stdout


def test_a_wrong_file_is_an_error_of_the_collection(own):
    """With its line, as everywhere."""
    path = own / "short.yaml"
    path.write_text(path.read_text().replace("recovers_within: 5s", "recovers_within: 5"))

    done = run_pytest("experiments", "--cluster", "sandbox", cwd=own.parent)

    assert done.returncode == 2
    assert "short.yaml:35: bulletproof.expect.recovers_within" in done.stdout


def test_a_broken_promise_reads_as_a_sentence(tmp_path):
    """The promise, what was expected and seen of each check that did not hold, where the report is; no traceback."""
    run_dir = build_run(tmp_path, outage=(0.0, 8.0))

    text = describe(judge(run_dir), run_dir)

    assert "FAILED recovers_within" in text
    assert re.search(r"expected: .*5 s", text)
    assert "seen:" in text
    assert "report.html" in text
    assert "load_delivered" not in text


@pytest.fixture(scope="module")
def bare():
    """A cluster that knows no way to stop a node: arguments and environment of a pytest on it."""
    provider = provider_for(f"sandbox:test-plugin-{uuid.uuid4().hex[:6]}")
    access = provider.up()
    try:
        yield ["--cluster", f"context:{access.context}"], {"KUBECONFIG": str(access.kubeconfig)}
    finally:
        provider.down(access)


def needing_node_stop(own, number):
    """So many experiments that a cluster without node_stop skips."""
    text = (own / "short.yaml").read_text().replace("requires: [pods,", "requires: [node-stop, pods,")
    (own / "short.yaml").unlink()
    for count in range(number):
        (own / f"stop-{count}.yaml").write_text(text)


def test_a_session_of_skipped_experiments_is_no_success(own, bare):
    """Exit code 5, as pytest ends without tests and `bulletproof run` with SKIPPED; and it says why.

    With pytest-xdist, whose workers are told nothing of it. Without it: the test below, where all is skipped.
    """
    needing_node_stop(own, 2)
    arguments, env = bare

    done = run_pytest("experiments", *arguments, "-n", "1", "--junit-xml", "junit.xml", cwd=own.parent, env=env)

    assert done.returncode == 5, done.stdout + done.stderr
    assert "2 skipped" in done.stdout
    assert "Nothing was tested: all experiments that ran ended SKIPPED (2), and no other test ran." in done.stdout
    assert 'name="bulletproof.verdict" value="SKIPPED"' in (own.parent / "junit.xml").read_text()


@pytest.mark.parametrize(
    ("other", "code"),
    [
        ("def test_other(): pass", 0),
        ("import pytest\n@pytest.mark.xfail\ndef test_other(): assert False", 0),
        ("import pytest\n@pytest.mark.skip\ndef test_other(): pass", 5),
    ],
    ids=["passed", "xfailed", "skipped"],
)
def test_beside_other_tests_pytests_own_rules_hold(own, bare, other, code):
    """A skipped experiment beside a test that ran is a skipped test; one that was skipped too tested nothing either."""
    needing_node_stop(own, 1)
    (own / "test_other.py").write_text(f"{other}\n")
    arguments, env = bare

    done = run_pytest("experiments", *arguments, cwd=own.parent, env=env)

    assert done.returncode == code, done.stdout + done.stderr
    assert ("Nothing was tested" in done.stdout) == (code == 5)


def test_skipped_tests_of_others_are_not_ours_to_judge(own, bare):
    """Without an experiment that was SKIPPED pytest's exit code stays, with --cluster too."""
    (own / "short.yaml").unlink()
    (own / "test_other.py").write_text("import pytest\n@pytest.mark.skip\ndef test_other(): pass\n")
    arguments, env = bare

    assert run_pytest("experiments", *arguments, cwd=own.parent, env=env).returncode == 0


@pytest.mark.slow
def test_an_experiment_passes_or_fails_as_a_test(own):
    """On one sandbox for the session: the healthy platform passes, one without a second replica fails readably."""
    passed = run_pytest("experiments", "--cluster", "sandbox", "--bulletproof-out", "mine", cwd=own.parent)
    failed = run_pytest("experiments", "--cluster", "sandbox", "--platform", "single-replica", cwd=own.parent)

    assert passed.returncode == 0, passed.stdout + passed.stderr
    assert len(list((own.parent / "mine").glob("*/report.html"))) == 1
    assert failed.returncode == 1, failed.stdout
    assert "A GPU pod dies under load" in failed.stdout
    assert "FAILED ready_floor" in failed.stdout  # what its clients lose is luck
    assert "Traceback" not in failed.stdout
