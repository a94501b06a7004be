"""The copy of an experiment in the folder of its run."""

from __future__ import annotations

import json

import pytest

from harness.errors import FileErrors
from harness.experiment.companions import copy_into, golden_path
from harness.experiment.loader import load


def test_a_run_s_copy_loads_wherever_its_files_came_from(place, tmp_path):
    """The bytes of the experiment are kept; SLO and golden files lie in slos/ and golden/ whatever the file says."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "detector.yaml").write_text(
        (tmp_path / "slos/detector.yaml").read_text().replace("name: detector\n", "name: strict\n")
    )
    (elsewhere / "answers.json").write_bytes((tmp_path / "golden/detector.json").read_bytes())
    (tmp_path / "mine").mkdir()
    path = place(
        ("slos: [slos/detector.yaml]", f"slos: [../slos/detector.yaml, {elsewhere}/detector.yaml]"),
        ("golden: golden/detector.json", "golden: ../elsewhere/answers.json"),
        name="mine/own.yaml",
    )
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    experiment = load(path)

    copy = copy_into(experiment, run_dir)
    (run_dir / "run.json").write_text("{}")
    for file in (path, elsewhere / "detector.yaml", elsewhere / "answers.json"):
        file.unlink()

    again = load(copy)
    assert copy.read_bytes() == (run_dir / "experiment.yaml").read_bytes()
    assert sorted(file.name for file in (run_dir / "slos").iterdir()) == ["detector-2.yaml", "detector.yaml"]
    assert [slo.name for slo in again.slos] == [slo.name for slo in experiment.slos] == ["detector", "strict"]
    assert again.bulletproof == experiment.bulletproof
    assert golden_path(again) == run_dir / "golden" / "answers.json"
    assert json.loads(golden_path(again).read_text())["model"] == "detector"


def test_a_run_s_copy_needs_no_modules_to_be_judged(place):
    """Years later the module of a fault may be gone; the verdict must not be."""
    path = place(("module: harness.faults", "module: a_module_of_2026"))

    assert load(path, recorded=True).title
    with pytest.raises(FileErrors):
        load(path)
