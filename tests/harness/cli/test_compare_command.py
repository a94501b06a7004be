"""`bulletproof compare` and `bulletproof list runs`, as a program sees them."""

from __future__ import annotations

import json
import shutil

import pytest

from harness.cli import main
from tests.course import Course
from tests.histories import write_course

SHORT = {"baseline_s": 10.0, "recover_s": 12.0, "settle_s": 2.0, "expect": {}, "target": 0.9}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Three old runs, three new ones as good, three that recover later. The folder that holds them all."""
    folder = tmp_path_factory.mktemp("recorded")
    for first, name, outage in ((100, "old", 0.5), (200, "new", 0.5), (300, "late", 3.0)):
        for number in range(3):
            course = Course(**SHORT, seed=first + number, outage=(0.0, outage))
            write_course(folder / name / str(number), course)
    return folder


@pytest.fixture(autouse=True)
def outside_of_github(monkeypatch):
    """These tests may run there."""
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)


def spread(folder, name):
    """The folders as a shell's `name/*` gives them."""
    return [str(path) for path in sorted((folder / name).iterdir())]


@pytest.mark.parametrize(("new", "code"), [("new", 0), ("late", 1)])
def test_a_comparison_ends_like_a_run(recorded, capsys, new, code):
    """PASSED 0, FAILED 1, and JSON in the form of a verdict."""
    assert main(["compare", *spread(recorded, new), "--against", *spread(recorded, "old"), "--json"]) == code

    found = json.loads(capsys.readouterr().out)
    assert found["exit_code"] == code
    assert len(found["measurements"]["new"]) == len(found["measurements"]["old"]) == 3


def test_too_few_runs_say_nothing(recorded, capsys):
    """One against one is INVALID, for people too."""
    words = ["compare", str(recorded / "new" / "0"), "--against", str(recorded / "old" / "0")]

    assert main(words) == 2
    out = capsys.readouterr().out
    assert out.startswith("INVALID")
    assert "3 against 3" in " ".join(out.split())


def test_sides_may_be_given_in_every_usual_way(recorded, capsys):
    """Folders of runs, options in front, the option again: the same runs on the same sides."""
    new, old = spread(recorded, "new"), spread(recorded, "old")
    ways = [
        [*new, "--against", *old],
        [str(recorded / "new"), "--against", str(recorded / "old")],
        ["--against", *old, "--json", *new],
        [*new, *(word for one in old for word in ("--against", one))],
        [*new, f"--against={recorded / 'old'}"],
    ]
    told = []
    for words in ways:
        assert main(["compare", "--json", *words]) == 0
        told.append(json.loads(capsys.readouterr().out)["measurements"])

    assert all(one == told[0] for one in told)


def test_margins_have_units(recorded, capsys):
    """With 4 s of room a recovery that is 2.5 s longer is not worse."""
    words = ["compare", str(recorded / "late"), "--against", str(recorded / "old")]

    assert main([*words, "--recovery", "4s", "--lost", "4s"]) == 0
    assert main([*words, "--recovery", "4"]) == 64
    assert '"4" has no unit. Write 15s, 2m or 500ms.' in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["new"], "--against"),
        (["new", "--against"], "requires an argument"),
        (["--against", "old"], "Missing argument"),
        (["new", "--against", "nowhere"], "does not exist"),
        (["new", "--against", "empty"], "is no run's folder, and holds none"),
        (["new", "--against", "old", "new"], "holds the same run as"),
        (["new", "copy", "--against", "old"], "holds the same run as"),
    ],
)
def test_a_wrong_call_is_64(recorded, capsys, monkeypatch, tmp_path, words, said):
    """Among them: a run on both sides, and a run given twice as a copy, which would be two trials out of one."""
    for name in ("new", "old"):
        (tmp_path / name).symlink_to(recorded / name)
    (tmp_path / "empty").mkdir()
    shutil.copytree(recorded / "new" / "0", tmp_path / "copy")
    monkeypatch.chdir(tmp_path)

    assert main(["compare", *words]) == 64
    printed = capsys.readouterr()
    assert said in printed.err
    assert printed.out == ""


def test_a_folder_that_cannot_be_read_is_invalid(recorded, capsys, tmp_path):
    """Nothing can be said of it, which is not a failure of the platform."""
    broken = tmp_path / "broken"
    shutil.copytree(recorded / "new" / "0", broken)
    (broken / "experiment.yaml").unlink()

    assert main(["compare", str(broken), "--against", str(recorded / "old")]) == 2
    assert "nobody knows what was promised" in capsys.readouterr().err


def test_list_runs_shows_what_was_recorded(recorded, capsys, monkeypatch, tmp_path):
    """Newest first, with the verdict as written; without a verdict, and broken, they stay in the list."""
    monkeypatch.chdir(tmp_path)
    assert main(["list", "runs"]) == 0
    assert "There are no runs in runs." in capsys.readouterr().err
    for number, name in enumerate(("first", "second")):
        run_dir = tmp_path / "runs" / name
        shutil.copytree(recorded / "new" / "0", run_dir)
        described = json.loads((run_dir / "run.json").read_text())
        started = described["started_wall_ns"] - 10**18 + number
        (run_dir / "run.json").write_text(json.dumps({**described, "run_id": name, "started_wall_ns": started}))
    (tmp_path / "runs" / "second" / "verdict.json").write_text('{"verdict": "FAILED"}')
    (tmp_path / "runs" / "broken").mkdir()
    (tmp_path / "runs" / "broken" / "run.json").write_text("[")

    assert main(["list", "runs", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["name"]: row["verdict"] for row in rows} == {"second": "FAILED", "first": "none", "broken": "none"}
    assert rows[-1]["name"] == "broken"
    assert main(["list", "runs"]) == 0
    assert "FAILED   second" in capsys.readouterr().out
