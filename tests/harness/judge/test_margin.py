"""A run judged with room to spare: every promise with a limit is held to a tighter one, the instrument to its own."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.history.reader import History
from harness.judge import judge_history
from harness.verdict import CheckKind, VerdictName
from tests.histories import build_run

PASSED, FAILED, INVALID = VerdictName.PASSED, VerdictName.FAILED, VerdictName.INVALID
RANK = {PASSED: 0, INVALID: 1, FAILED: 2}
EXPECT = {
    "lost": "3s",
    "lost_requests": 300,
    "recovers_within": "5s",
    "replicas_within": "5s",
    "undone_within": "1s",
    "wrong_answers": 40,
    "latency": {"p50": "20ms", "p90": "300ms"},
    "uptime": "60%",
    "goodput": "40/s",
    "budget_spent": "0.01%",
    "burn_rate": "2x",
    "degraded": "5s",
    "in_flight_lost": 9,
    "gray_pods": 1,
    "ready_floor": 2,
}
COURSES = {
    "quiet": {},
    "outage": {"outage": (0.0, 2.0), "outage_share": 0.6},
    "late": {"outage": (0.0, 1.0), "late": [(1.0, 1.05, 60.0)], "on_time": "99%"},
    "wrong": {"outage": (0.5, 1.5), "outcome": "wrong_answer", "noise": 0.001},
    "gray": {"slow_pod": "detector-7d9f-bbbbb", "slow_ms": 400.0},
}


@pytest.fixture(scope="module")
def histories(tmp_path_factory):
    """One of each course, in memory."""
    short = {"baseline_s": 6.0, "recover_s": 12.0, "settle_s": 4.0, "rate": 100.0, "target": 0.8, "expect": EXPECT}
    return {
        name: History.read(build_run(tmp_path_factory.mktemp(name), **short, **course))
        for name, course in COURSES.items()
    }


def check(history, margin, name):
    """How the check of that name ends with so much to spare."""
    return next(one.verdict for one in judge_history(history, margin).checks if one.name == name)


@pytest.mark.parametrize(
    ("course", "expect", "name", "kept", "broken"),
    [
        # 2 s of 5/6 bad requests at 200/s, in a run of 41 s: 4 % of the requests and 5 % of the seconds are bad.
        ({"target": 0.9}, {}, "slo_detector", 0.5, 0.65),
        ({"target": 0.9}, {"uptime": "90%"}, "uptime", 0.5, 0.55),
        # In the worst 5 s a third of 200/s is bad; 100/s allow a half.
        ({"target": 0.9}, {"goodput": "100/s"}, "goodput", 0.2, 0.5),
        ({"target": 0.9}, {"wrong_answers": 3}, "wrong_answers", 0.9, None),
        ({"target": 0.9}, {"ready_floor": 2}, "ready_floor", 0.9, None),
    ],
)
def test_what_is_kept_is_kept_with_room(tmp_path, course, expect, name, kept, broken):
    """Up to the margin that is there; beyond it the check does not hold."""
    run_dir = build_run(tmp_path, outage=(0.0, 2.0), outage_share=5 / 6, expect=expect, **course)
    history = History.read(run_dir)

    assert (check(history, 0.0, name), check(history, kept, name)) == (PASSED, PASSED)
    if broken is not None:
        assert check(history, broken, name) is FAILED


def test_a_settled_platform_has_room_too(tmp_path):
    """One bad request in ten after the undo: half of what 80 % allow."""
    outage = [(21.0 + n / 10, 21.0 + n / 10 + 0.01) for n in range(40)]
    history = History.read(build_run(tmp_path, outage=outage, arrivals="constant", target=0.8, expect={}))

    assert check(history, 0.0, "settles") is PASSED
    assert check(history, 0.2, "settles") is PASSED
    assert check(history, 0.7, "settles") is FAILED


def test_a_steady_state_that_cannot_be_claimed_with_room_is_undecided(tmp_path):
    """Some 2,980 good requests claim 99.8 %, and not 99.9 %: the check says how many it takes."""
    history = History.read(build_run(tmp_path, target=0.998, expect={}))

    strict = judge_history(history, 0.5)

    assert judge_history(history).verdict is PASSED
    assert strict.verdict is INVALID
    assert "too few to claim 99.9 %: it takes 2,995" in strict.why


def test_each_limit_is_tightened_once(histories):
    """An error budget, a second that is up and a gray pod stay what the SLO says: only fewer of them may be."""
    for history in histories.values():
        plain, strict = ({one.name: one for one in judge_history(history, margin).checks} for margin in (0.0, 0.5))
        for name in ("uptime", "budget_detector", "burn_detector", "gray_pods", "degraded", "recovers_within"):
            assert strict[name].seen == plain[name].seen


@settings(max_examples=60, deadline=None)
@given(course=st.sampled_from(sorted(COURSES)), one=st.floats(0, 0.99), other=st.floats(0, 0.99))
def test_a_larger_margin_is_never_kinder(histories, course, one, other):
    """No check, and so no verdict, gets better by it; the instrument's stay as they are."""
    small, large = sorted((one, other))

    kinder, stricter = judge_history(histories[course], small), judge_history(histories[course], large)

    assert RANK[stricter.verdict] >= RANK[kinder.verdict]
    for before, after in zip(kinder.checks, stricter.checks, strict=True):
        assert before.name == after.name
        assert RANK[after.verdict] >= RANK[before.verdict], after.name
        if before.kind is CheckKind.INSTRUMENT:
            assert after == before
