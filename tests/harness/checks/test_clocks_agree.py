"""Times of several machines are one time only where that was measured well enough."""

from __future__ import annotations

import pytest

from harness.checks.clocks_agree import clocks_agree
from harness.history.records import ClockOffset
from harness.verdict import VerdictName

PASSED, INVALID = VerdictName.PASSED, VerdictName.INVALID
US = 1_000


def clock(moment, ahead_us, bound_us, process="load-0"):
    return ClockOffset(
        t_ns=1, process=process, moment=moment, ahead_ns=int(ahead_us) * US, bound_ns=bound_us * US, host="vm-7"
    )


@pytest.mark.parametrize(
    ("offsets", "cut_short", "verdict"),
    [
        ([clock("before", 0, 0), clock("after", 0, 0)], False, PASSED),
        ([clock("before", 5e9, 1999), clock("after", 5e9, 1999)], False, PASSED),
        ([clock("before", 5e9, 2001), clock("after", 5e9, 1)], False, INVALID),
        ([clock("before", 5e9, 500), clock("after", 5e9 + 1600, 500)], False, INVALID),  # it drifted
        ([clock("before", 5e9, 500), clock("after", 5e9 - 1400, 500)], False, PASSED),
        ([clock("before", 5e9, 1900)], False, INVALID),  # never looked at again
        ([clock("before", 5e9, 1900)], True, PASSED),  # an interrupted run never is
        ([clock("after", 5e9, 1)], False, INVALID),
        ([], False, INVALID),
        ([], True, INVALID),
    ],
)
def test_a_clock_is_known_well_enough_or_the_run_is_invalid(offsets, cut_short, verdict):
    """The bound of the first measurement, or what the second one adds to it."""
    offsets = [clock("before", 0, 0, "load-1"), clock("after", 0, 0, "load-1"), *offsets] if offsets else []

    answer = clocks_agree(offsets, workers=2, cut_short=cut_short, limit_ns=2000 * US)

    assert answer.verdict is verdict


def test_the_worst_worker_is_named_with_its_machine():
    """So that somebody can go and look."""
    answer = clocks_agree(
        [clock("before", 0, 9000), clock("after", 0, 9000)], workers=1, cut_short=False, limit_ns=2000 * US
    )

    assert "load-0 (vm-7)" in answer.why
    assert "load.clock_limit" in answer.hint
