"""The schedule is the same for a seed, whoever walks it, and has the statistics it claims."""

import itertools
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtests.arrivals import arrivals


def take(count, **changes):
    settings = {"kind": "poisson", "rate_per_s": 200.0, "seed": 7, "kept_share": 0.5, "cases": 16} | changes
    return list(itertools.islice(arrivals(**settings), count))


def test_a_seed_gives_the_same_schedule_in_every_process():
    """No state of the process (hash seed, earlier draws) is in it."""
    code = (
        "import itertools; from loadtests.arrivals import arrivals;"
        "print(list(itertools.islice(arrivals("
        "kind='poisson', rate_per_s=200.0, seed=7, kept_share=0.5, cases=16), 100)) )"
    )

    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert printed.strip() == repr(take(100))


def test_other_seeds_give_other_schedules():
    """Ten seeds, ten first arrivals."""
    assert len({take(1, seed=seed)[0].offset_ns for seed in range(10)}) == 10


def test_constant_arrivals_have_equal_gaps_from_zero_on():
    """200/s: one each 5 ms, the first at zero, without drift over many blocks."""
    offsets = [arrival.offset_ns for arrival in take(10_000, kind="constant")]

    assert offsets == [5_000_000 * k for k in range(10_000)]


def test_poisson_gaps_are_exponential_and_independent():
    """Mean and spread are 1/rate; neighbours do not correlate; counts per 100 ms vary as Poisson's do."""
    offsets = np.array([arrival.offset_ns for arrival in take(50_000)])
    gaps = np.diff(offsets, prepend=0) / 5e6

    assert gaps.mean() == pytest.approx(1, abs=0.02)
    assert gaps.std() == pytest.approx(1, abs=0.03)
    assert abs(np.corrcoef(gaps[1:], gaps[:-1])[0, 1]) < 0.02
    counts = np.bincount(offsets // 100_000_000)[:-1]
    assert counts.var() / counts.mean() == pytest.approx(1, abs=0.1)


def test_the_share_of_kept_connections_is_drawn_apart_from_the_times():
    """Another share leaves times and cases as they were."""
    half, most = take(10_000), take(10_000, kept_share=0.9)

    assert [(a.number, a.offset_ns, a.case) for a in half] == [(a.number, a.offset_ns, a.case) for a in most]
    assert np.mean([a.kept for a in half]) == pytest.approx(0.5, abs=0.02)
    assert np.mean([a.kept for a in most]) == pytest.approx(0.9, abs=0.02)
    assert {a.case for a in half} == set(range(16))
    assert not any(a.kept for a in take(1000, kept_share=0.0))
    assert all(a.kept for a in take(1000, kept_share=1.0))


@settings(max_examples=25, deadline=None)
@given(workers=st.integers(1, 12), seed=st.integers(0, 2**63), kind=st.sampled_from(["poisson", "constant"]))
def test_workers_divide_the_schedule_without_loss_or_overlap(workers, seed, kind):
    """The union of all workers' arrivals is the whole, also across the edges of blocks."""
    count = 9000 // workers
    parts = [take(count, workers=workers, worker=worker, seed=seed, kind=kind) for worker in range(workers)]

    assert sorted(itertools.chain(*parts)) == take(count * workers, seed=seed, kind=kind)
