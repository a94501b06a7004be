"""The story in words: each sentence is what the verdict says, and nothing is said that it does not."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from harness.verdict import Verdict
from reports import story
from tests.course import Course
from tests.reports import verdicts


def with_measured(verdict: Verdict, **measured: Any) -> Verdict:
    return dataclasses.replace(verdict, measurements=verdict.measurements | measured)


def test_an_unproven_fault_is_called_so():
    """Whoever reads only the top must not believe that something was broken."""
    fault = verdicts.passed().measurements["faults"][0] | {"proven": False, "proven_ns": None}

    (line,) = story.done(with_measured(verdicts.passed(), faults=[fault]))

    assert line == "pod-kill on pod/detector-7d9f-aaaaa at 15.01 s, its effect NOT proven"


def test_an_undo_that_was_not_verified_is_called_so():
    """The cluster may still be broken."""
    undo = [{"entry_id": "a", "begin_ns": 1, "verified_ns": None}, {"entry_id": "b", "begin_ns": 1, "verified_ns": 2}]

    assert story.done(with_measured(verdicts.passed(), undo=undo))[-1] == "1 of 2 undo entries NOT verified"


def test_a_right_answer_that_came_too_late_is_counted_as_slow():
    """Its outcome is ok; only the SLO makes it bad."""
    requests = {
        "scheduled": 100,
        "good": 80,
        "bad": 15,
        "not_judged": 5,
        "by_outcome": {"ok": 85, "not_sent": 5, "reset": 10},
    }

    lines = story.saw(with_measured(verdicts.failed(), requests=requests))

    assert lines[:3] == [
        "100 requests offered, 15 of them bad (15.0 %)",
        "5 more say nothing: the load itself was late, or did not send them",
        "10 reset, 5 not_sent, 5 too slow",
    ]


@pytest.mark.parametrize(
    ("load", "attempts", "sentence"),
    [
        ({"retries": 2}, (37, 36), "37 requests were retried; 36 of them were good only by that"),
        (
            {"hedge_after": "200 ms"},
            (37, 36),
            "37 requests took several attempts, by retries or hedging; 36 of them were good",
        ),
        ({"retries": 2}, (0, 0), None),
    ],
)
def test_what_retries_hide_is_said(load, attempts, sentence):
    """A platform that drops every tenth request looks whole to a client that tries again."""
    verdict = verdicts.passed()
    requests = verdict.measurements["requests"] | {
        "several_attempts": dict(zip(("requests", "good"), attempts, strict=True))
    }
    verdict = dataclasses.replace(with_measured(verdict, requests=requests), environment={"load": load})

    assert [line for line in story.saw(verdict) if "attempts" in line or "retried" in line] == (
        [] if sentence is None else [sentence]
    )


@pytest.mark.parametrize(
    ("recovery", "sentence"),
    [
        ({"start_ns": 0, "after_ns": 0, "by_ns": 4_000_000}, "service was never away after the fault"),
        (
            {"start_ns": 0, "after_ns": 790_000_000, "by_ns": 800_000_000},
            "service back 800 ms after the fault's effect began",
        ),
        ({"start_ns": 0, "after_ns": 5, "by_ns": None}, "service did NOT come back while it was watched"),
        (None, None),
    ],
)
def test_recovery_in_words(recovery, sentence):
    """Never away, back, not back, and not known are four things."""
    lines = story.saw(with_measured(verdicts.failed(), recovery=recovery))

    assert sentence is None or sentence in lines
    assert len(lines) == (2 if sentence is None else 3)


def test_every_promise_is_told(run_of):
    """With its limit, as the file has it."""
    expect = {
        "lost": "0.5s",
        "recovers_within": "5s",
        "lost_requests": 0,
        "wrong_answers": 0,
        "ready_floor": 2,
        "exposed": "10%",
    }
    _, history = run_of(Course(expect=expect, stable_version="1"))

    assert story.promised(history.experiment) == [
        "99.5 % of answers right within 250 ms (detector)",
        "service back within 5 s",
        "at most 500 ms of service lost",
        "no bad request",
        "no wrong answer",
        "at most 10 % of requests on another version",
        "never fewer than 2 pods ready",
    ]


def test_figures_that_are_no_numbers_are_left_out():
    """A text, a flag, NaN where a number should be: nothing is drawn, nothing crashes."""
    broken = with_measured(
        verdicts.failed(), lost_s="much", recovery={"start_ns": True}, slos=[{"availability": float("inf")}], latency=7
    )

    assert story.figures(broken) == []


def test_the_environment_is_flat():
    """Nested versions become dotted names; what is empty is left out."""
    verdict = dataclasses.replace(verdicts.passed(), environment={"a": {"b": 1, "c": None}, "d": "", "e": ["x", "y"]})

    assert story.environment(verdict) == [("a.b", "1"), ("e", "x, y")]
