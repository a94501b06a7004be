"""The abort condition is evaluated live, on what ended in the last second."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from harness.experiment.model import AbortWhen
from harness.run.abort import AbortWatch

TENTH_NS = 100_000_000


def live(tick: int, ok: int, bad: int, in_flight: int = 0) -> dict:
    return {"t_ns": tick * TENTH_NS, "recent": {"ok": ok, "bad": bad}, "in_flight": in_flight}


def first_abort(watch: AbortWatch, lines: list[dict]) -> int | None:
    return next((tick for tick, line in enumerate(lines) if watch.feed(line)), None)


def watch(text: str = "below 50% for 2s") -> AbortWatch:
    return AbortWatch(AbortWhen(availability=text))


def test_a_long_outage_aborts_after_the_hold_time():
    """Bad from tick 10 on: under half within the second, aborted some 2 s later and not before."""
    lines = [live(tick, 20, 0) if tick < 10 else live(tick, 0, 20) for tick in range(60)]

    tick = first_abort(watch(), lines)

    assert tick is not None
    assert 30 <= tick <= 36


def test_a_short_outage_does_not_abort():
    """One second of bad answers is less than the hold time."""
    lines = [live(tick, 0, 20) if 10 <= tick < 20 else live(tick, 20, 0) for tick in range(60)]

    assert first_abort(watch(), lines) is None


def test_a_service_that_hangs_is_down():
    """Nothing ends while requests are in flight: no answer is not a good answer."""
    lines = [live(tick, 20, 0) if tick < 10 else live(tick, 0, 0, in_flight=5) for tick in range(60)]

    assert first_abort(watch(), lines) is not None


def test_an_idle_service_is_not_down():
    """No requests at all say nothing."""
    lines = [live(tick, 0, 0) for tick in range(60)]

    assert first_abort(watch(), lines) is None


@settings(deadline=None)  # a machine that stalls says nothing about the condition
@given(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 50)), max_size=200))
def test_availability_above_the_share_never_aborts(counts):
    """Whatever the course, while each tick has at least half good answers nothing is aborted."""
    lines = [live(tick, ok, min(bad, ok)) for tick, (ok, bad) in enumerate(counts)]

    assert first_abort(watch(), lines) is None
