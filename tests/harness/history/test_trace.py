"""A trace is read whole and exactly, or refused with the line that is wrong."""

from __future__ import annotations

import numpy as np
import pytest

from harness.history.trace import TraceError, replay

AZURE = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:17:03.9799600,4808,10
2023-11-16 18:17:04.0319600,3180,8
2023-11-16 18:17:04.0789490,110,27
2023-11-16 18:17:04.0789490,7433,14
"""


@pytest.fixture
def trace(tmp_path):
    """The replay of a text."""

    def read(text, speed=1.0):
        path = tmp_path / "x.csv"
        path.write_text(text, encoding="utf-8")
        return replay(path, speed)

    return read


@pytest.mark.parametrize(
    ("text", "times", "sizes"),
    [
        (AZURE, [0, 52_000_000, 98_989_000, 98_989_000], [4808, 3180, 110, 7433]),
        ("TIMESTAMP\n2024-05-10T00:00:00Z\n2024-05-10T00:00:00.5+00:00\n", [0, 500_000_000], None),
        ("seconds,size\n2.5,7\n2.75,0\n\n", [0, 250_000_000], [7, 0]),
        ("\ufeffseconds\r\n0\r\n0.000000001\r\n", [0, 1], None),
        ('{"seconds": 1, "size": 3}\n{"size": 4, "seconds": 1.5}\n', [0, 500_000_000], [3, 4]),
    ],
)
def test_each_format_is_read_to_the_nanosecond(trace, text, times, sizes):
    """Times count from the first arrival."""
    found = trace(text)

    assert found.times_ns.tolist() == times
    assert (None if found.sizes is None else found.sizes.tolist()) == sizes


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("", 1, "is empty. Expected a header"),
        ("seconds\n", None, "holds no arrival. Expected at least two"),
        ("seconds\n1\n", None, "holds 1 arrival."),
        ("seconds\n1\n1\n", None, "holds 2 arrivals at one time."),
        ("time,size\n1,2\n", 1, '"time,size" is no header of a trace.'),
        ("seconds,tokens\n1,2\n", 1, '"seconds,tokens" is no header of a trace.'),
        ("1.5\n2.5\n", 1, '"1.5" is no header of a trace.'),
        ("seconds,size\n1,2\n2,3\n1.9,4\n", 4, "is earlier than the line before it."),
        ("seconds,size\n1,2\n2\n", 3, "has 1 fields. Expected 2, as in the header."),
        ("seconds,size\n1,2\n-2,3\n", 3, '"-2" is no time. Expected seconds, from 0 on'),
        ("seconds,size\n1,2\nnan,3\n", 3, '"nan" is no time.'),
        ("seconds,size\n1,2\n1e300,3\n", 3, '"1e300" is no time.'),
        ("seconds,size\n1,2\n2,-3\n", 3, '"-3" is no size. Expected a whole number, from 0 on.'),
        ("seconds,size\n1,2\n2,\n", 3, '"" is no size.'),
        ("seconds,size\n1,2\n2,2.5\n", 3, '"2.5" is no size.'),
        (AZURE + "2023,1,1\n", 6, '"2023" is no time. Expected one in UTC as 2023-11-16 18:17:03.9799600.'),
        (AZURE + "2023-13-16 18:17:05,1,1\n", 6, '"2023-13-16 18:17:05" is no time.'),
        (AZURE + "2023-11-16 18:17:05+02:00,1,1\n", 6, "is no time."),
        ('{"seconds": 1}\n{"seconds": 2, "tokens": 1}\n', 2, "Expected an object"),
        ('{"seconds": 1}\n{"seconds": 2\n', 2, "is not JSON"),
        ('{"seconds": 1}\n{"seconds": true}\n', 2, '"True" is no time.'),
        ('{"seconds": 1}\n{"seconds": 2, "size": 3}\n', 2, "has a size where others have none"),
        ('{"seconds": 1, "size": 3}\n{"seconds": 2}\n', 2, "or none where others have one"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(trace, text, line, said):
    """Nothing is guessed, sorted or left out."""
    with pytest.raises(TraceError) as caught:
        trace(text)

    assert said in caught.value.message
    assert caught.value.line == line


def test_a_trace_begins_again_one_mean_gap_after_its_end(trace):
    """Three arrivals in 3 s have a mean gap of 1.5 s: a lap takes 4.5 s, at ten times the speed 0.45 s."""
    found = trace("seconds\n0\n1\n3\n", speed=10)

    assert found.offsets_ns(np.arange(7)).tolist() == [each * 10**8 for each in (0, 1, 3, 4.5, 5.5, 7.5, 9)]
    assert found.lasts_ns == 450_000_000
    assert found.rate_per_s == pytest.approx(3 / 0.45)


def test_what_is_expected_is_what_is_due(trace):
    """Before each moment, of every lap; a moment itself is not before itself."""
    found = trace("seconds\n0\n1\n3\n")
    due = found.offsets_ns(np.arange(1000))

    assert found.expected(due).tolist() == list(range(1000))
    assert found.expected(due + 1).tolist() == list(range(1, 1001))
    assert float(found.expected(0)) == 0


def test_the_most_at_one_time_is_found_also_over_the_seam(trace):
    """What may be under way at once, when nothing is answered."""
    assert trace("seconds\n0\n0.1\n0.2\n5\n").most_within(250_000_000) == 3
    assert trace("seconds\n0\n0.1\n10\n10.1\n").most_within(10**9) == 2
    assert trace("seconds\n0\n1\n").most_within(10 * 10**9) == 10  # each second one, lap after lap


def test_sizes_are_classes_by_rank(trace):
    """Four sizes and two cases: the smaller half gets the smaller one; equal sizes get one case."""
    assert trace("seconds,size\n0,40\n1,10\n2,30\n3,20\n").ranks(np.arange(8), 2).tolist() == [1, 0, 1, 0] * 2
    assert trace("seconds,size\n0,5\n1,5\n2,5\n3,9\n").ranks(np.arange(4), 4).tolist() == [0, 0, 0, 3]
