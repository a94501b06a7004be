"""A shape in words is a curve; the load's times and the judge's expectations are inverse to each other."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.experiment.shape import FORMS, check_shape, curve
from loadtests.arrivals import Clock

S = 1_000_000_000


def rate_at(found, seconds):
    """Arrivals per second there, from the integral."""
    before, after = found.expected(np.array([round((seconds - 0.001) * S), round((seconds + 0.001) * S)]))
    return (after - before) / 0.002


def test_without_a_shape_the_rate_stays():
    """200/s are 3000 in 15 s."""
    assert float(curve(200.0, None, 60 * S).expected(15 * S)) == 3000


@pytest.mark.parametrize(
    ("shape", "rates", "total"),
    [
        ("ramp to 400/s at 10s over 20s", {5: 200, 20: 300, 40: 400}, 2000 + 6000 + 30 * 400),
        ("ramp to 60/m at 0s over 1m", {30: 100.5, 59: 200 - 199 * 59 / 60}, 100.5 * 60),
        ("spike to 600/s at 20s for 500ms", {19: 200, 20.25: 600, 21: 200}, 60 * 200 + 200),
        ("steps to 300/s 100/s every 20s", {10: 200, 30: 300, 50: 100, 99: 100}, 20 * 600),
        ("sine by 50% every 20s", {5: 300, 15: 100, 25: 300}, 60 * 200),
    ],
)
def test_a_shape_has_its_rates_and_its_total_of_a_minute(shape, rates, total):
    """Worked out by hand."""
    found = curve(200.0, shape, 100 * S)

    for seconds, rate in rates.items():
        assert rate_at(found, seconds) == pytest.approx(rate, rel=0.002)
    assert float(found.expected(60 * S)) == pytest.approx(total, rel=1e-9)


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ("ramp to 400 at 10s over 20s", "is not understood"),
        ("ramp to 0/s at 10s over 20s", "stops the load"),
        ("ramp to 400/s at 10s over 0s", "a duration of 0"),
        ("steps to 100/s 0/s every 20s", "stops the load"),
        ("sine by 100% every 20s", "stops the load"),
        ("sine by 120% every 20s", "more than 100%"),
        ("sine by 50% every 1s", "too fast"),
        ("steps to " + "100/s " * 101 + "every 1s", "more than 100 steps"),
        ("wobble", FORMS[2]),
    ],
)
def test_a_wrong_shape_is_refused_with_the_right_form(shape, said):
    """A load that stops shows no recovery; a form that is not known is told with those that are."""
    with pytest.raises(ValueError, match=re.escape(said)):
        check_shape(shape)


shapes = st.one_of(
    st.builds("ramp to {}/s at {}ms over {}ms".format, st.integers(1, 999), st.integers(0, 9999), st.integers(1, 9999)),
    st.builds("spike to {}/s at {}ms for {}ms".format, st.integers(1, 999), st.integers(0, 9999), st.integers(1, 9999)),
    st.builds("steps to {}/s {}/s every {}ms".format, st.integers(1, 999), st.integers(1, 999), st.integers(1, 9999)),
    st.builds("sine by {}% every {}ms".format, st.integers(0, 99), st.integers(5000, 30000)),
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no defect
@given(rate=st.integers(1, 2000), shape=shapes)
def test_the_loads_clock_is_the_inverse_of_the_judges_count(rate, shape):
    """Two programs work from the curve, neither from the other; the n-th arrival comes when n are expected."""
    found = curve(float(rate), shape, 60 * S)
    due = np.linspace(0, float(found.expected(60 * S)), 500)

    offsets = Clock(found.points).offsets_ns(due)

    assert (np.diff(offsets) >= 0).all()
    assert np.abs(found.expected(offsets) - due).max() <= found.peak_per_s / S + 1e-6
