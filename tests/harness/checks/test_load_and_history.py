"""The load's schedule and the history's times: what cannot be is not judged."""

from __future__ import annotations

import pytest

from harness.judge import judge
from harness.verdict import VerdictName
from tests.course import ZERO_NS, S
from tests.course_requests import alter_requests
from tests.histories import alter_lines, build_run

SMALL = {"baseline_s": 4.0, "recover_s": 6.0, "settle_s": 2.0, "target": 0.98}


def check(run_dir, name):
    """One check of the verdict."""
    return next(one for one in judge(run_dir).checks if one.name == name)


def renumbered(rows):
    """As if the lost rows had never been scheduled."""
    return [{**row, "arrival": number} for number, row in enumerate(rows)]


def with_count(run_dir, count):
    """The load's own count agrees with what is there."""
    alter_lines(
        run_dir / "actions.jsonl",
        lambda lines: [{**line, "arrivals": count} if line.get("state") == "done" else line for line in lines],
    )


@pytest.mark.parametrize("arrivals", ["poisson", "constant"])
def test_a_hole_in_the_schedule_is_found_although_all_counts_agree(tmp_path, arrivals):
    """Nobody asked during 0.3 s, so nobody knows how it was."""
    run_dir = build_run(tmp_path, **SMALL, arrivals=arrivals)
    begin = ZERO_NS + 5 * S
    kept = []

    def cut(rows):
        kept.extend(renumbered([row for row in rows if not begin <= row["scheduled_ns"] < begin + 3 * S // 10]))
        return kept

    alter_requests(run_dir, cut)
    with_count(run_dir, len(kept))

    assert check(run_dir, "history_complete").verdict is VerdictName.PASSED
    found = check(run_dir, "load_delivered")
    assert found.verdict is VerdictName.INVALID
    assert "no request was scheduled" in found.why or "were scheduled in" in found.why


TRACE = "seconds\n" + "".join(f"{at / 1000}\n" for at in range(0, 1000, 7) for _ in range(at % 3))


def test_a_trace_that_was_replayed_is_delivered(tmp_path):
    """However uneven it is, and although it begins again twelve times."""
    run_dir = build_run(tmp_path, **SMALL, arrivals="trace", trace=TRACE, expect={})

    assert check(run_dir, "load_delivered").verdict is VerdictName.PASSED
    assert check(run_dir, "history_complete").verdict is VerdictName.PASSED


@pytest.mark.parametrize(
    ("alter", "why"),
    [
        (lambda rows: renumbered(rows[:700] + rows[701:]), "were scheduled in 12.6 s, the trace has"),
        (
            lambda rows: [*rows[:700], {**rows[700], "scheduled_ns": rows[700]["scheduled_ns"] + 1000}, *rows[701:]],
            "request 700 was scheduled 1 µs from where the trace has it",
        ),
    ],
)
def test_one_arrival_that_is_not_the_traces_is_found(tmp_path, alter, why):
    """No tolerance: every moment of a trace is known."""
    run_dir = build_run(tmp_path, **SMALL, arrivals="trace", trace=TRACE, expect={})
    rows = []
    alter_requests(run_dir, lambda found: rows.extend(alter(found)) or rows)
    with_count(run_dir, len(rows))

    found = check(run_dir, "load_delivered")

    assert found.verdict is VerdictName.INVALID
    assert why in found.why


def test_a_load_at_half_its_rate_is_not_the_load(tmp_path):
    """A platform that holds at 100/s was not asked to hold at 200/s."""
    run_dir = build_run(tmp_path, **SMALL)
    kept = []

    def halve(rows):
        kept.extend(renumbered(rows[::2]))
        return kept

    alter_requests(run_dir, halve)
    with_count(run_dir, len(kept))

    assert "were scheduled in" in check(run_dir, "load_delivered").why


# Lost seconds are refused beside a shape.
NO_SECONDS = {**SMALL, "expect": {"lost_requests": 0, "recovers_within": "5s", "undone_within": "5s"}}
SHAPES = [
    "ramp to 600/s at 2s over 6s",
    "ramp to 40/s at 0s over 6s",
    "spike to 900/s at 5s for 1s",
    "steps to 100/s 400/s every 4s",
    "sine by 80% every 8s",
]


@pytest.mark.parametrize("arrivals", ["poisson", "constant"])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_load_that_follows_its_shape_is_delivered(tmp_path, shape, arrivals):
    """The bounds on rate and gaps follow the rate as it was declared."""
    run_dir = build_run(tmp_path, **NO_SECONDS, arrivals=arrivals, shape=shape, shape_offered=shape)

    found = check(run_dir, "load_delivered")

    assert found.verdict is VerdictName.PASSED, found.why
    assert judge(run_dir).measurements["lost_s"] == 0


@pytest.mark.parametrize("arrivals", ["poisson", "constant"])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_level_load_is_not_the_shape_that_was_declared(tmp_path, shape, arrivals):
    """A platform that held at 200/s was not asked to hold through the spike; nor the other way round."""
    level = build_run(tmp_path / "level", **NO_SECONDS, arrivals=arrivals, shape=shape)
    shaped = build_run(tmp_path / "shaped", **NO_SECONDS, arrivals=arrivals, shape_offered=shape)

    assert check(level, "load_delivered").verdict is VerdictName.INVALID
    assert check(shaped, "load_delivered").verdict is VerdictName.INVALID


def test_another_shape_of_the_same_mean_is_found(tmp_path):
    """Whole periods of a wave have as many arrivals as a level load: their times tell them apart."""
    course = NO_SECONDS | {"rollback_s": 0.5, "settle_s": 5.5, "rate": 400.0}  # 16 s
    run_dir = build_run(tmp_path, **course, arrivals="constant", shape_offered="sine by 30% every 16s")

    found = check(run_dir, "load_delivered")

    assert "in the first" in found.why


@pytest.mark.parametrize("seed", range(12))
def test_an_honest_poisson_load_is_delivered(tmp_path, seed):
    """The bounds on rate and gaps let every honest schedule pass."""
    assert check(build_run(tmp_path, **SMALL, seed=seed), "load_delivered").verdict is VerdictName.PASSED


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"sent_ns": -10_000_000}, "sent before they were scheduled"),
        ({"end_ns": -50_000_000}, "ended before they were sent"),
        ({"first_byte_ns": -50_000_000}, "answered before they were sent"),
        ({"scheduled_ns": 60 * S, "sent_ns": 60 * S, "first_byte_ns": 60 * S, "end_ns": 60 * S}, "after the stop"),
    ],
)
def test_times_that_cannot_be_make_the_history_invalid(tmp_path, change, told):
    """One request out of thousands is enough: the clock or the recorder is broken."""
    run_dir = build_run(tmp_path, **SMALL)

    def move(rows):
        rows[500] = {**rows[500], **{name: rows[500][name] + by for name, by in change.items()}}
        return rows

    alter_requests(run_dir, move)

    assert told in str(check(run_dir, "history_complete").measured["problems"])


def test_a_request_without_an_end_is_no_answer(tmp_path):
    """Outcome ok, and never ended: the recorder is broken."""
    run_dir = build_run(tmp_path, **SMALL)
    alter_requests(run_dir, lambda rows: [*rows[:-1], {**rows[-1], "end_ns": None}])

    assert check(run_dir, "history_complete").verdict is VerdictName.INVALID


@pytest.mark.parametrize("phase", ["baseline", "recover", "settle", "end", "rollback"])
def test_a_phase_that_was_never_reached_is_missed(tmp_path, phase):
    """Every phase, in order, once."""
    run_dir = build_run(tmp_path, **SMALL)
    alter_lines(run_dir / "actions.jsonl", lambda lines: [line for line in lines if line.get("phase") != phase])

    assert judge(run_dir).verdict is VerdictName.INVALID


@pytest.mark.parametrize("phase", ["baseline", "recover", "settle"])
def test_a_phase_that_was_cut_short_is_noticed(tmp_path, phase):
    """A promise is judged over the time that was declared."""
    run_dir = build_run(tmp_path, **SMALL)
    text = (run_dir / "experiment.yaml").read_text()
    declared = {"baseline": "4000ms", "recover": "6000ms", "settle": "2000ms"}[phase]
    (run_dir / "experiment.yaml").write_text(text.replace(f"{phase}: {declared}", f"{phase}: 30s"))

    assert judge(run_dir).verdict is VerdictName.INVALID


def test_a_lost_load_generator_is_told(tmp_path):
    """It never says `done`."""
    run_dir = build_run(tmp_path, **SMALL)
    alter_lines(
        run_dir / "actions.jsonl",
        lambda lines: [
            {**line, "state": "lost", "detail": "exit code -9"} if line.get("state") == "done" else line
            for line in lines
        ],
    )

    assert "exit code -9" in check(run_dir, "history_complete").why
