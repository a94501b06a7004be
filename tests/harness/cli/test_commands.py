"""The command line as a program sees it: exit codes, streams, JSON, and help that answers at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from harness import cli
from harness.checks import catalogue
from harness.errors import Interrupted, InvalidRun, Residue, Skipped, UsageError
from harness.experiment.shipped import experiment_files
from tests.histories import build_run

BULLETPROOF = Path(sys.executable).parent / "bulletproof"


def bulletproof(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The installed command in a process of its own, with a width that breaks no line."""
    env = {**os.environ, "COLUMNS": "200"}
    return subprocess.run([BULLETPROOF, *arguments], capture_output=True, text=True, timeout=60, cwd=cwd, env=env)


def commands(group: click.Group = cli.cli, path: tuple[str, ...] = ()):
    """Every command of the command line by its words."""
    for name, command in group.commands.items():
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


def test_help_answers_at_once():
    """Under 0.4 s: what is heavy is imported by the command that needs it. CPU seconds, as the machine is shared."""
    before = os.times()
    done = bulletproof("--help")
    after = os.times()

    took = after.children_user + after.children_system - before.children_user - before.children_system
    assert done.returncode == 0
    assert took < 0.4


def test_help_imports_nothing_heavy():
    """The reason for the figure above, and steadier than a clock."""
    heavy = (
        "pydantic",
        "yaml",
        "kubernetes",
        "numpy",
        "pyarrow",
        "scipy",
        "rich",
        "chaoslib",
        "jinja2",
        "aiohttp",
        "requests",
    )
    code = f"import sys, harness.cli; print([name for name in {heavy!r} if name in sys.modules])"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(("words", "command"), [pytest.param(w, c, id=" ".join(w)) for w, c in commands()])
def test_each_command_s_help_shows_an_example(words, command):
    """Most people copy and change."""
    done = bulletproof(*words, "--help")

    assert done.returncode == 0
    assert "Example" in done.stdout
    assert f"bulletproof {' '.join(words)}" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["rum"], 'There is no command "rum". Did you mean run?'),
        (["cluster", "upp"], 'There is no command "upp". Did you mean up?'),
        (["run"], "Missing argument"),
        (["run", "gpu-pod-kill", "--clutser", "x"], "--clutser"),
        (["run", "gpu-pod-kil"], "Did you mean gpu-pod-kill or"),
        (["run", "gpu-pod-kill", "--cluster", "minikube"], '"minikube" is no cluster.'),
        (["run", "gpu-pod-kill", "--cluster", "context:"], '"context:" is no cluster.'),
        (["run", "gpu-pod-kill", "--cluster", "context:nope"], "There is no context nope in"),
        (["plan", "gpu-pod-kill", "--cluster", "context:nope"], "There is no context nope in"),
        (["run", "gpu-pod-kill", "--platform", "singel-replica"], 'There is no platform "singel-replica".'),
        (["plan", "no/such/file.yaml"], 'There is no file "no/such/file.yaml"'),
        (["judge", "no-such-folder"], "does not exist"),
        (["judge", "."], "is no run's folder"),
        (["report", "."], "is no run's folder"),
        (["gate", "runs", "--policy", "none.yaml"], "does not exist"),
        (["gate", "runs"], "--policy"),
        (["cluster", "up", "sandbox"], "Give it a name"),
        (["cluster", "up", "nowhere"], '"nowhere" is no cluster.'),
        (["cluster", "kubeconfig", "sandbox:never-started"], "sandbox:never-started is not running."),
        (["list", "fault"], "Did you mean faults?"),
    ],
)
def test_a_wrong_call_is_64_and_says_what_is_right(arguments, said, tmp_path):
    """64, never click's 2: 2 means INVALID. On stderr, with nothing on stdout."""
    done = bulletproof(*arguments, cwd=tmp_path)

    assert done.returncode == 64, done.stderr
    assert said in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("x"), 64),
        (InvalidRun("x"), 2),
        (Residue("x"), 4),
        (Skipped("x"), 5),
        (Interrupted("SIGTERM"), 3),
        (KeyboardInterrupt(), 3),
        (ZeroDivisionError("a defect of ours"), 2),
        (RecursionError("another"), 2),
    ],
)
def test_an_error_leads_to_its_exit_code(error, code, monkeypatch, capsys):
    """A crash of the harness is INVALID: Python's own 1 would say that the platform FAILED."""

    def explode(context):
        raise error

    monkeypatch.setattr(cli.cli, "invoke", explode)

    assert cli.main(["list", "experiments"]) == code
    assert capsys.readouterr().out == ""


def test_validate_tells_programs_every_error(tmp_path):
    """With file, line, field, message and hint apart."""
    text = experiment_files()["gpu-pod-kill"].read_text()
    (tmp_path / "mine.yaml").write_text(text.replace("recovers_within: 5s", "recovers_within: 5"))

    done = bulletproof("validate", "mine.yaml", "gpu-pod-kill", "--json", cwd=tmp_path)

    found = json.loads(done.stdout)
    assert (done.returncode, found["valid"]) == (64, False)
    mine, shipped = found["files"]
    assert shipped["valid"]
    assert {
        "file": "mine.yaml",
        "line": 35,
        "field": "bulletproof.expect.recovers_within",
        "message": '"5" has no unit. Write 15s, 2m or 500ms.',
        "hint": "",
    } in mine["errors"]


def test_every_shipped_file_is_valid():
    """Experiments and suites, in one call."""
    done = bulletproof("validate", *experiment_files(), "nightly", "pods")

    assert done.returncode == 0, done.stdout
    assert "warning" not in done.stdout


def test_list_experiments_finds_the_shipped_ones():
    """By the names that `run` takes."""
    rows = json.loads(bulletproof("list", "experiments", "--json").stdout)

    assert {"gpu-pod-kill", "gpu-node-drain", "pod-latency", "nightly"} <= {row["name"] for row in rows}
    assert all(row["title"] and Path(row["file"]).is_file() for row in rows)


def test_list_faults_shows_how_each_is_called():
    """The functions that a method may name, with their arguments."""
    rows = json.loads(bulletproof("list", "faults", "--json").stdout)

    faults = {row["name"]: row for row in rows}
    assert {"pod_kill", "node_drain", "pod_latency", "bad_release"} <= set(faults)
    assert "count=1" in faults["pod_kill"]["kind"]
    assert faults["pod_kill"]["title"]


def test_list_checks_says_what_each_asks():
    """The names that verdicts, reports and JUnit files carry."""
    rows = json.loads(bulletproof("list", "checks", "--json").stdout)

    assert [(row["name"], row["kind"]) for row in rows] == [(one.name, one.kind.value) for one in catalogue()]
    assert next(row for row in rows if row["name"] == "gray_pods")["title"].endswith("(expect.gray_pods)")


@pytest.mark.parametrize(
    ("course", "code"), [({}, 0), ({"outage": (0.0, 8.0)}, 1), ({"strikes": False, "claims": {}}, 2)]
)
def test_judge_ends_with_the_verdict_s_exit_code(tmp_path, course, code):
    """And reads the folder only: not a byte of it changes."""
    run_dir = build_run(tmp_path, **course)
    before = {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}

    done = bulletproof("judge", str(run_dir), "--json")

    assert done.returncode == code, done.stdout + done.stderr
    assert json.loads(done.stdout)["exit_code"] == code
    assert {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()} == before


def test_judge_prints_the_verdict_for_people(tmp_path):
    """The verdict first, then the checks with what was expected and seen."""
    done = bulletproof("judge", str(build_run(tmp_path, outage=(0.0, 8.0))))

    assert done.stdout.startswith("FAILED")
    assert "recovers_within" in done.stdout
    assert "expected" in done.stdout


def test_report_writes_the_reports_and_a_manifest_only_for_what_was_recorded(tmp_path):
    """A history that was altered since its manifest was written is reported, and not vouched for."""
    from harness.history.manifest import check_manifest, write_manifest

    run_dir = build_run(tmp_path)
    write_manifest(run_dir)

    done = bulletproof("report", str(run_dir), "--json")

    assert done.returncode == 0, done.stderr
    assert (run_dir / "report.html").is_file()
    assert check_manifest(run_dir) == []

    with (run_dir / "actions.jsonl").open("a") as file:
        file.write('{"type":"note","t_ns":1,"text":"made up"}\n')
    done = bulletproof("report", str(run_dir))

    assert "The manifest is left as it was" in done.stderr
    assert any("actions.jsonl" in problem for problem in check_manifest(run_dir))
