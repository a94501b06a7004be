"""Experiment files as pytest tests: collected only when a cluster is named, red with a sentence that can be read."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from harness.experiment.shipped import folder
from harness.judge import judge
from harness.pytest_plugin import describe
from tests.histories import build_run

SHORT = {"baseline: 15s": "baseline: 4s", "recover: 30s": "recover: 8s", "settle: 10s": "settle: 3s"}


def run_pytest(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
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
    return subprocess.run(command, capture_output=True, text=True, timeout=170, cwd=cwd)


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
