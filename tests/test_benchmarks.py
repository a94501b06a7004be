"""The benchmarks start; what they measure is for `make bench` to say, on a machine that does nothing else."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.figure import Figure, print_table

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", ["main_job", "load", "judge", "sandbox"])
def test_a_benchmark_says_what_it_measures(name):
    """All that it imports is there, and its options are told; `make bench` runs the same files."""
    command = [sys.executable, f"benchmarks/{name}.py", "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert f"python benchmarks/{name}.py" in done.stdout


def test_a_short_history_is_made_judged_and_reported():
    """What is measured is what the judge reads today: columns that came later are in it."""
    command = [sys.executable, "benchmarks/judge.py", "--requests", "20000"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert "judge 20,000 requests" in done.stdout


@pytest.mark.parametrize(
    ("seen", "limit", "at_least", "met"),
    [
        (0.9, 1.0, False, True),
        (1.0, 1.0, False, False),
        (1.0, 1.0, True, True),
        (0.9, 1.0, True, False),
        (9.0, None, False, True),
    ],
)
def test_an_aim_that_is_missed_is_told_and_fails(seen, limit, at_least, met, capsys):
    """The table says NO, and the exit code says it too."""
    assert print_table([Figure("speed", seen, limit, "s", at_least=at_least)]) == (0 if met else 1)
    assert ("| NO |" in capsys.readouterr().out) is not met
