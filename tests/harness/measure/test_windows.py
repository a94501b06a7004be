"""Counting by window of time, against counting one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.measure.windows import per_window


@given(
    times=st.lists(st.integers(min_value=100, max_value=1000), max_size=50).map(sorted),
    size=st.integers(min_value=1, max_value=300),
    after=st.integers(min_value=0, max_value=500),
)
def test_every_moment_is_in_its_window(times, size, after):
    """A window has its begin and not its end."""
    until = max(times, default=100) + after

    found = per_window(np.array(times, dtype=np.int64), 100, size, until)

    windows = [(time - 100) // size for time in times]
    assert found.tolist() == [windows.count(window) for window in range((until - 100) // size + 1)]


def test_a_moment_before_the_first_window_is_refused():
    """It would be lost without a word."""
    with pytest.raises(ValueError, match="before the first"):
        per_window(np.array([99, 100]), 100, 10, 100)
