"""The network remembers unanswered connections: the next run waits, and no other does."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest

from harness.run import earlier_run
from harness.run.active import state_dir


@pytest.fixture(autouse=True)
def _state(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


def ended(**by_outcome):
    return SimpleNamespace(measurements={"requests": {"by_outcome": by_outcome}} if by_outcome else {})


@pytest.mark.parametrize("outcome", ["timeout", "unreachable"])
def test_after_unanswered_requests_the_same_cluster_is_waited_for(outcome):
    """For two minutes from the end of the run, whoever asks."""
    earlier_run.remember("context:staging", ended(ok=100, **{outcome: 1}))

    assert 110e9 < earlier_run.left_ns("context:staging") <= 120e9
    assert earlier_run.left_ns("context:other") == 0


@pytest.mark.parametrize(
    ("cluster", "by_outcome"),
    [
        ("context:staging", {"ok": 100}),
        ("context:staging", {"ok": 100, "refused": 5, "reset": 5, "not_sent": 1, "wrong_answer": 1}),
        ("context:staging", {}),  # nothing was judged
    ],
)
def test_otherwise_nobody_waits(cluster, by_outcome):
    """Who was answered left nothing."""
    earlier_run.remember(cluster, ended(**by_outcome))

    assert earlier_run.left_ns(cluster) == 0


def test_two_clusters_are_told_apart_and_a_later_good_run_shortens_nothing():
    """What was unanswered before is remembered all the same."""
    earlier_run.remember("context:a", ended(timeout=1))
    earlier_run.remember("context:b", ended(timeout=1))
    earlier_run.remember("context:a", ended(ok=1))

    assert earlier_run.left_ns("context:a") > 0
    assert earlier_run.left_ns("context:b") > 0


@pytest.mark.parametrize("text", ["", "[]", '{"context:a": "soon"}', '{"context:a": %d}'])
def test_a_file_that_says_nothing_of_now_makes_nobody_wait(text):
    """Torn, foreign, or written before the machine was started again."""
    file = state_dir() / "unanswered.json"
    file.parent.mkdir(parents=True)
    file.write_text(text % (time.monotonic_ns() + 10**15) if "%" in text else text)

    assert earlier_run.left_ns("context:a") == 0
