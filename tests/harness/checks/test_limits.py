"""A gate's margin: of what a limit allows that is bad, so much less may have been used."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.checks import limits
from harness.checks.limits import Limits, at_least, at_most, at_most_share
from harness.experiment.model import Expect, Slo

shares = st.floats(0, 1)
margins = st.floats(0, 1, exclude_max=True)


def test_no_promise_is_forgotten():
    """A new field of `expect` is tightened in one of these ways, or is named as one that has no limit."""
    known = [*limits.AT_MOST, *limits.AT_MOST_SHARE, *limits.AT_LEAST_SHARE, limits.LATENCIES]
    known += [*limits.BY_CHECK, *limits.EXACT]

    assert sorted(known) == sorted(Expect.model_fields)


@pytest.mark.parametrize(
    ("tighter", "limit", "margin", "expected"),
    [
        (at_most, 5_000_000_000, 0.2, 4_000_000_000),
        (at_most, 10, 0.9, 1),
        (at_most, 3, 0.2, 2),
        (at_most, 1, 0.2, 0),
        (at_most, 0, 0.2, 0),
        (at_most_share, 0.05, 0.2, 0.04),
        (at_most_share, 14.4, 0.25, 10.8),
        (at_least, 0.98, 0.2, 0.984),
        (at_least, 0.999, 0.5, 0.9995),
        (at_least, 0.75, 0.2, 0.8),
        (at_least, 1.0, 0.2, 1.0),
        (at_least, 0.0, 0.2, 0.2),
    ],
)
def test_a_limit_shrinks_by_its_bad_share(tighter, limit, margin, expected):
    """To the figure that a person works out, and not a rounding error beside it."""
    assert tighter(limit, margin) == expected


@given(limit=st.integers(0, 10**13), share=shares, one=margins, other=margins)
def test_more_margin_is_never_looser(limit, share, one, other):
    """And none is what was promised."""
    small, large = sorted((one, other))

    assert limit == at_most(limit, 0) >= at_most(limit, small) >= at_most(limit, large) >= 0
    assert share == at_most_share(share, 0) >= at_most_share(share, small) >= at_most_share(share, large) >= 0
    assert share == at_least(share, 0) <= at_least(share, small) <= at_least(share, large) <= 1


def test_without_a_margin_nothing_changes():
    """The promise itself, to the last bit."""
    expect = Expect(lost="0.5s", uptime="99.9%", latency={"p99": "400ms"}, goodput="150/s")
    slo = Slo(name="a", service="a", target=0.30000000000000004)

    plain = Limits.of(expect, 0)

    assert (plain.expect, plain.target(slo)) == (expect, 0.30000000000000004)
