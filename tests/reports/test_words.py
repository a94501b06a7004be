"""The reports made of words: summary.md, the terminal's last lines, GitHub's annotations."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from harness.verdict import CheckKind, CheckResult, VerdictName
from reports import github, markdown, text
from tests.course import Course
from tests.reports import verdicts

HOSTILE = "x|y\n# <img src=x onerror=alert(1)> [a](http://evil.example) @someone `code` \x1b[2J"


def hostile_verdict():
    """Everything that a cluster may say, saying the worst."""
    check = CheckResult(
        name="lost",
        kind=CheckKind.PROMISE,
        verdict=VerdictName.FAILED,
        expected=HOSTILE,
        seen=HOSTILE,
        why=HOSTILE,
        hint=HOSTILE,
    )
    verdict = verdicts.failed()
    measurements = verdict.measurements | {
        "errors": [{"outcome": HOSTILE, "error": HOSTILE, "count": 3, "first_ns": None}]
    }
    return dataclasses.replace(verdict, title=HOSTILE, why=HOSTILE, checks=(check,), measurements=measurements)


def test_summary_looks_as_agreed(golden: Callable[[str, str], None], run_of):
    """The page that a merge request shows."""
    run_dir, history = run_of(Course(outage=(0.0, 0.8)))

    golden("summary.md", markdown.render(verdicts.failed(), history.experiment, run_dir))


def test_a_summary_without_an_experiment_says_what_it_knows():
    """A run that was skipped has neither measurements nor checks."""
    summary = markdown.render(verdicts.skipped())

    assert "SKIPPED" in summary
    assert "no eviction" in summary


def test_a_hostile_name_stays_a_name():
    """No table row, markup, link or mention comes out of a pod's error message."""
    summary = markdown.render(hostile_verdict())

    assert "<img" not in summary
    assert "http://" not in summary
    assert "@someone" not in summary
    assert "[a](" not in summary
    rows = [line for line in summary.splitlines() if line.startswith("| ❌")]
    assert len(rows) == 1
    assert rows[0].replace("\\|", "").count("|") == 6


def test_a_summary_fits_githubs_step_summary():
    """GitHub drops a whole step's summary above 1 MiB; a run takes a tenth of it at most."""
    verdict = verdicts.failed()
    summary = markdown.render(dataclasses.replace(verdict, checks=verdict.checks * 5000))

    assert len(summary.encode()) < markdown.LONGEST_BYTES + 100
    assert summary.endswith("the report has the rest.\n")


def test_a_step_summary_that_is_full_is_left_alone(tmp_path):
    """Better one run's page missing than all of them."""
    file = tmp_path / "summary"

    assert github.append_step_summary(file, "first\n")
    assert not github.append_step_summary(file, "x" * github.STEP_SUMMARY_BYTES)
    assert file.read_text() == "first\n"


def test_every_broken_check_is_an_annotation():
    """With the experiment file, so that it stands in the merge request's diff."""
    lines = github.error_lines(verdicts.failed())

    assert lines == [
        "::error file=experiments/gpu-pod-kill.yaml,title=FAILED%3A lost::"
        "0.80 s of service were lost, 500 ms are allowed."
        "%0AThe dead pod's endpoint was withdrawn late: look at the readiness probe."
    ]
    assert github.error_lines(verdicts.passed()) == []
    assert github.error_lines(verdicts.skipped())[0].startswith("::notice file=experiments/gpu-node-drain.yaml")


def test_an_annotation_is_one_line_whatever_it_says():
    """A line break in an error message would end the annotation, or begin another command."""
    for line in github.error_lines(hostile_verdict()):
        assert "\n" not in line
        assert "\r" not in line


def test_plain_text_looks_as_agreed(golden: Callable[[str, str], None]):
    """What a log ends with."""
    golden("text.txt", text.plain(verdicts.failed(), Path("runs/r/report.html")))


@pytest.mark.parametrize("width", [80, 120])
def test_the_terminal_looks_as_agreed(golden: Callable[[str, str], None], width):
    """No line is wider than the terminal, and none has a colour when it is none."""
    stream = io.StringIO()

    Console(file=stream, width=width).print(text.render(verdicts.failed(), Path("runs/r/report.html")))

    lines = [line.rstrip() for line in stream.getvalue().splitlines()]
    assert max(map(len, lines)) <= width
    assert "\x1b" not in stream.getvalue()
    golden(f"terminal-{width}.txt", "\n".join(lines) + "\n")


def test_a_terminal_shows_colour_and_the_whole_path():
    """A path that is longer than the terminal is wide goes on in the next line; nothing of it is cropped."""
    stream = io.StringIO()
    path = Path("runs") / ("a-long-name-" * 9) / "report.html"

    Console(file=stream, width=60, force_terminal=True, color_system="standard").print(
        text.render(verdicts.failed(), path)
    )

    assert "\x1b[" in stream.getvalue()
    assert str(path) in stream.getvalue().replace("\n", "")


def test_an_error_message_cannot_move_the_cursor():
    """Control characters of a pod's error become blanks in both forms."""
    stream = io.StringIO()

    Console(file=stream, width=100).print(text.render(hostile_verdict()))

    assert "\x1b" not in stream.getvalue()
    assert "\x1b" not in text.plain(hostile_verdict())
    assert max(map(len, text.plain(verdicts.failed()).splitlines())) <= 80
