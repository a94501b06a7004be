"""Several runs by one command: repeats with seeds of their own, the whole, the overview, GitHub."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.cli import main
from harness.experiment.model import Experiment
from harness.judge import judge
from harness.run.options import RunOptions, RunResult
from tests.course import Course
from tests.histories import write_course

BULLETPROOF = Path(sys.executable).parent / "bulletproof"
SHORT = {"baseline_s": 5.0, "recover_s": 8.0, "settle_s": 2.0, "expect": {"recovers_within": "2s"}, "target": 0.9}
GOOD, BAD = {"outage": (0.0, 0.5)}, {"outage": (0.0, 4.0)}
USELESS, RESIDUE = {"strikes": False}, {"undo_verified": False}


def cluster_that_is_not_there(folder: Path) -> Path:
    """A kubeconfig with the context `nowhere`, at whose address nobody listens."""
    path = folder / "kubeconfig"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "nowhere", "cluster": {"server": "https://127.0.0.1:1"}}],
        "contexts": [{"name": "nowhere", "context": {"cluster": "nowhere", "user": "nobody"}}],
        "users": [{"name": "nobody", "user": {"token": "x"}}],
    }
    path.write_text(json.dumps(config))  # JSON is YAML
    return path


@pytest.fixture
def courses(monkeypatch, tmp_path):
    """What the next runs will have recorded. A real run takes a minute; its history is what the command works with."""
    monkeypatch.chdir(tmp_path)
    kubeconfig = str(cluster_that_is_not_there(tmp_path))
    monkeypatch.setenv("KUBECONFIG", kubeconfig)
    # The kubernetes package reads KUBECONFIG when it is imported; here that may be long ago.
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", kubeconfig)
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)
    waiting: list[dict[str, object]] = []
    seeds: list[int] = []

    def recorded(experiment: Experiment, options: RunOptions, progress: object) -> RunResult:
        seed = experiment.bulletproof.load.seed
        seeds.append(seed)
        run_dir = (options.out or Path("runs") / f"run-{len(seeds)}").resolve()
        write_course(run_dir, Course(**{**SHORT, "seed": seed, **waiting.pop(0)}))
        described = json.loads((run_dir / "run.json").read_text())
        (run_dir / "run.json").write_text(json.dumps({**described, "run_id": f"run-{len(seeds)}", "seed": seed}))
        return RunResult(run_dir=run_dir, verdict=judge(run_dir))

    monkeypatch.setattr("harness.run.runner.run_experiment", recorded)

    def will_be(*given: dict[str, object]) -> list[int]:
        waiting.extend(given)
        return seeds

    return will_be


def run(*arguments: str) -> int:
    """The command on a cluster that nobody starts."""
    return main(["run", *arguments, "--cluster", "context:nowhere"])


def test_repeats_have_seeds_of_their_own_and_are_judged_as_a_whole(courses, capsys):
    """Three that pass show a pass rate of 37 %, and not of 100 %."""
    seeds = courses(GOOD, GOOD, GOOD)

    assert run("gpu-pod-kill", "--repeat", "3", "--json", "--out", "here") == 0
    found = json.loads(capsys.readouterr().out)
    assert seeds == [7, 8, 9]
    assert [Path(one["run_dir"]).name for one in found["runs"]] == [f"0{n}-gpu-pod-kill" for n in (1, 2, 3)]
    (whole,) = found["repeats"]
    assert whole["verdict"] == "PASSED"
    assert "at least 37%" in whole["why"]
    assert found["overview"] == "here/index.html"


@pytest.mark.parametrize(
    ("given", "code"), [((GOOD, BAD, GOOD), 1), ((GOOD, USELESS, GOOD), 2), ((BAD, USELESS, GOOD), 2)]
)
def test_the_exit_code_is_the_whole_s(courses, capsys, given, code):
    """All must pass; a run that says nothing makes the whole say nothing."""
    courses(*given)

    assert run("gpu-pod-kill", "--repeat", "3") == code
    assert "of 3 " in capsys.readouterr().out


def test_a_residue_ends_the_repeats(courses, capsys):
    """The next run would start on what the last one left."""
    seeds = courses(GOOD, RESIDUE, GOOD)

    assert run("gpu-pod-kill", "--repeat", "3", "--json") == 4
    found = json.loads(capsys.readouterr().out)
    assert seeds == [7, 8]
    assert len(found["not_begun"]) == 1
    assert found["repeats"][0]["verdict"] == "RESIDUE"


def test_each_experiment_is_a_whole_of_its_own(courses, capsys):
    """Two experiments, twice each; the second begins with its own seed again."""
    seeds = courses(GOOD, GOOD, GOOD, BAD)

    assert run("gpu-pod-kill", "gpu-node-drain", "--repeat", "2", "--json") == 1
    found = json.loads(capsys.readouterr().out)
    assert seeds == [7, 8, 7, 8]
    assert [whole["verdict"] for whole in found["repeats"]] == ["PASSED", "FAILED"]


def test_a_pass_rate_may_be_asked_for(courses, capsys):
    """Six that pass show 60 %; a single failure among them doesn't."""
    courses(*[GOOD] * 6, *[GOOD] * 5, BAD)

    assert run("gpu-pod-kill", "--repeat", "6", "--pass-rate", "60%", "--out", "a") == 0
    assert run("gpu-pod-kill", "--repeat", "6", "--pass-rate", "60%", "--out", "b") == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--repeat", "5", "--pass-rate", "90%"], "It takes --repeat 29."),
        (["--repeat", "5", "--pass-rate", "100%"], "cannot be shown by any number of runs"),
        (["--pass-rate", "90%"], "says nothing without --repeat"),
        (["--repeat", "5", "--pass-rate", "0.9"], '"0.9" has no unit. Write 99.9%.'),
        (["--repeat", "0"], "--repeat"),
    ],
)
def test_what_so_many_runs_cannot_show_is_not_begun(courses, capsys, arguments, said):
    """64, and no run: it would cost half an hour to learn the same."""
    seeds = courses()

    assert run("gpu-pod-kill", *arguments) == 64
    assert said in capsys.readouterr().err
    assert seeds == []


def test_several_runs_get_an_overview(courses, capsys):
    """Its path is printed last; the page links the runs' reports."""
    courses(GOOD, BAD)

    assert run("gpu-pod-kill", "gpu-node-drain") == 1
    assert capsys.readouterr().out.splitlines()[-1] == "Overview runs/index.html"
    assert "run-2/report.html" in Path("runs/index.html").read_text()
    assert Path("runs/junit.xml").is_file()


def test_one_run_gets_none(courses, capsys):
    """Its report is the page."""
    courses(GOOD)

    assert run("gpu-pod-kill", "--json") == 0
    assert json.loads(capsys.readouterr().out)["overview"] is None
    assert not Path("runs/index.html").exists()


def test_github_is_told_on_stderr_and_in_the_step_summary(courses, capsys, monkeypatch, tmp_path):
    """Annotations of what did not hold; stdout stays JSON."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    courses(GOOD, BAD, BAD)

    assert run("gpu-pod-kill", "gpu-node-drain", "--json") == 1
    printed = capsys.readouterr()
    json.loads(printed.out)
    lines, file = printed.err.splitlines(), "experiments/gpu-pod-kill.yaml"
    assert any(line.startswith(f"::error file={file},title=FAILED%3A recovers_within::") for line in lines)
    assert "1 of 2 experiments passed" in (tmp_path / "summary.md").read_text()

    assert run("gpu-pod-kill", "--out", "alone") == 1
    assert "FAILED: A GPU pod dies under load" in (tmp_path / "summary.md").read_text()


def test_outside_of_github_nothing_is_told(courses, capsys):
    """A terminal needs no annotations."""
    courses(BAD)

    run("gpu-pod-kill")
    assert "::error" not in capsys.readouterr().err


def test_repeats_on_a_cluster_that_is_not_there_are_invalid(tmp_path):
    """The real runner, three times: each run is recorded with its seed and says nothing, and so does the whole."""
    kubeconfig = str(cluster_that_is_not_there(tmp_path))
    env = {**os.environ, "KUBECONFIG": kubeconfig, "GITHUB_ACTIONS": "", "GITHUB_STEP_SUMMARY": ""}
    words = ["run", "gpu-pod-kill", "--cluster", "context:nowhere", "--repeat", "3", "--out", "here", "--json"]

    done = subprocess.run([BULLETPROOF, *words], capture_output=True, text=True, timeout=60, cwd=tmp_path, env=env)

    assert done.returncode == 2, done.stderr
    found = json.loads(done.stdout)
    folders = [Path(one["run_dir"]) for one in found["runs"]]
    assert [json.loads((folder / "run.json").read_text())["seed"] for folder in folders] == [7, 8, 9]
    assert found["repeats"][0]["verdict"] == "INVALID"
    assert (tmp_path / "here" / "index.html").is_file()
