"""An experiment that replays recorded arrivals."""

from __future__ import annotations

import numpy as np
import pytest

from harness.experiment.companions import copy_into
from harness.experiment.contradictions import warnings
from harness.experiment.loader import load
from harness.run.load_place import Place
from harness.run.offering import load_config
from loadtests.config import LoadConfig
from tests.harness.experiment.files import errors_of

TRACED = (
    "load: {rate: 200/s, arrivals: poisson, timeout: 1.5s, seed: 7}",
    "load: {arrivals: trace, trace: x.csv}",
)


NO_LOST = ("lost: 0.5s, ", "")


def test_a_trace_is_read_copied_and_found_again_by_the_judge(place, tmp_path):
    """The load gets the copy in the run's folder, and so does everyone who judges it later, elsewhere."""
    path = place(TRACED, NO_LOST, ("x.csv}", "x.csv, trace_speed: 2, timeout: 2s}"))
    (tmp_path / "x.csv").write_text("seconds,size\n0,1\n1,2\n3,5\n")
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    (run_dir / "run.json").write_text("{}")

    experiment = load(path)
    copy = copy_into(experiment, run_dir)
    config = load_config(experiment, Place(inside=False, host="127.0.0.1", port=8000), run_dir)
    (tmp_path / "x.csv").unlink()
    judged = load(copy)

    assert experiment.bulletproof.load.rate_per_s == judged.bulletproof.load.rate_per_s == pytest.approx(4 / 3)
    assert (run_dir / "traces" / "x.csv").read_text() == "seconds,size\n0,1\n1,2\n3,5\n"
    assert LoadConfig.parse(config).trace == str(run_dir / "traces" / "x.csv")
    assert config["users"] == 8 + 4  # three arrivals within 2 s, and a quarter more
    assert judged.replay.offsets_ns(np.arange(4)).tolist() == [0, 500_000_000, 1_500_000_000, 2_250_000_000]
    assert any("the trace lasts 2.25 s at this speed" in warning for warning in warnings(judged))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("x.csv}", "y.csv}"), '32: bulletproof.load.trace: there is no file "y.csv" beside this one.'),
        (("trace: x.csv}", "rate: 5/s}"), "32: bulletproof.load.arrivals: needs a file of recorded arrivals."),
        (("trace: x.csv}", "trace: x.csv, rate: 5/s}"), "32: bulletproof.load.rate: is what the trace says. Leave it"),
        (
            ("x.csv}", "x.csv, shape: spike to 9/s at 2s for 5s}"),
            "32: bulletproof.load.shape: is what the trace says. Leave it out",
        ),
        (("{arrivals: trace, trace: x.csv}", "{timeout: 1s}"), "32: bulletproof.load.rate: is missing."),
        (
            ("{arrivals: trace, trace: x.csv}", "{rate: 5/s, trace: x.csv}"),
            "32: bulletproof.load.trace: is for arrivals: trace alone.",
        ),
        (("x.csv}", "x.csv, trace_speed: 0}"), '32: bulletproof.load.trace_speed: "0" must be more than 0.'),
        (
            ("recovers_within: 5s", "lost: 1s, recovers_within: 5s"),
            "35: bulletproof.expect.lost: is seconds at one arrival rate, and load.trace changes it.",
        ),
    ],
)
def test_what_does_not_go_with_a_trace_is_told(place, tmp_path, change, said):
    """Two fields that contradict each other are no guess of ours."""
    path = place(TRACED, NO_LOST, change)
    (tmp_path / "x.csv").write_text("seconds\n0\n1\n")

    assert any(f"experiment.yaml:{said}" in error for error in errors_of(path)), errors_of(path)


def test_a_wrong_trace_is_told_with_its_own_line(place, tmp_path):
    """As every other file that an experiment names."""
    path = place(TRACED, NO_LOST)
    (tmp_path / "x.csv").write_text("seconds\n0\n2\n1\n")

    (error,) = errors_of(path)

    assert error == "x.csv:4: is earlier than the line before it. Expected arrivals in order of time."
