"""The schedule is the same for a seed, whoever walks it, and has the statistics it claims."""

import itertools
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.history.trace import replay
from loadtests.arrivals import arrivals
from loadtests.config import ConfigError, LoadConfig

SPIKE = [(0, 100.0), (20 * 10**9, 100.0), (20 * 10**9, 1000.0), (25 * 10**9, 1000.0), (25 * 10**9, 100.0)]

LOAD = {
    "host": "127.0.0.1",
    "protocol": "kserve-v2-http",
    "model": "detector",
    "golden": "golden.json",
    "rate_per_s": 200.0,
    "seed": 7,
    "timeout_ns": 1,
    "users": 1,
    "max_duration_ns": 1,
    "out": ".",
}


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
@given(
    workers=st.integers(1, 12),
    seed=st.integers(0, 2**63),
    kind=st.sampled_from(["poisson", "constant"]),
    curve=st.sampled_from([None, SPIKE]),
)
def test_workers_divide_the_schedule_without_loss_or_overlap(workers, seed, kind, curve):
    """The union of all workers' arrivals is the whole, also across the edges of blocks."""
    count = 9000 // workers
    parts = [
        take(count, workers=workers, worker=worker, seed=seed, kind=kind, curve=curve) for worker in range(workers)
    ]

    assert sorted(itertools.chain(*parts)) == take(count * workers, seed=seed, kind=kind, curve=curve)


@pytest.fixture
def replayed(tmp_path):
    """A trace of 40 arrivals with sizes."""
    path = tmp_path / "x.csv"
    path.write_text("seconds,size\n" + "".join(f"{at * at / 100},{at * 37 % 50}\n" for at in range(40)))
    return replay(path, 2.0)


def test_a_trace_is_divided_among_workers_without_loss_or_overlap(replayed):
    """Also over many laps and the edges of blocks; times are those of the trace, whoever takes them."""
    settings = {"kind": "trace", "replay": replayed, "by_size": list(range(16))}
    parts = [take(3000, workers=3, worker=worker, **settings) for worker in range(3)]
    whole = take(9000, **settings)

    assert sorted(itertools.chain(*parts)) == whole
    assert [arrival.offset_ns for arrival in whole] == replayed.offsets_ns(np.arange(9000)).tolist()


def test_the_sizes_of_a_trace_choose_the_case(replayed):
    """The largest arrival has the case with the largest input; the seed has no part in it, but in the connections."""
    by_size = [3, 0, 2, 1]  # case 3 is the smallest
    settings = {"kind": "trace", "replay": replayed, "by_size": by_size, "cases": 4}
    found, other = take(80, **settings), take(80, seed=8, **settings)

    sizes = replayed.sizes.tolist() * 2
    assert found[sizes.index(max(sizes))].case == 1
    assert found[sizes.index(min(sizes))].case == 3
    for arrival, size in zip(found, sizes, strict=True):
        assert arrival.case == by_size[sum(one < size for one in sizes[:40]) * 4 // 40]
    assert [arrival.case for arrival in found] == [arrival.case for arrival in other]
    assert [arrival.kept for arrival in found] != [arrival.kept for arrival in other]


def test_a_level_curve_changes_nothing():
    """The same moments, to the nanosecond of rounding."""
    for kind in ("poisson", "constant"):
        plain, curved = take(10_000, kind=kind), take(10_000, kind=kind, curve=[(0, 200.0)])

        assert max(abs(a.offset_ns - b.offset_ns) for a, b in zip(plain, curved, strict=True)) <= 1
        assert [a[2:] for a in plain] == [a[2:] for a in curved]


def test_constant_arrivals_follow_a_jump_of_the_rate():
    """100/s until 20 s, 1000/s for 5 s, 100/s again."""
    offsets = np.array([arrival.offset_ns for arrival in take(8000, kind="constant", curve=SPIKE)])

    assert np.bincount(offsets // 10**9)[:30].tolist() == [100] * 20 + [1000] * 5 + [100] * 5


def test_poisson_arrivals_follow_the_rate_and_stay_poisson():
    """Over 400 seeds the counts of each second have the mean and the variance of their own rate."""
    counts = np.array(
        [
            np.bincount(
                np.array([arrival.offset_ns for arrival in take(8000, seed=seed, curve=SPIKE)]) // 10**9, minlength=30
            )[18:27]
            for seed in range(400)
        ]
    )

    rates = np.array([100, 100, 1000, 1000, 1000, 1000, 1000, 100, 100])
    assert counts.mean(axis=0) == pytest.approx(rates, rel=0.03)
    assert counts.var(axis=0) / rates == pytest.approx(1, abs=0.3)


@pytest.mark.parametrize(
    "curve",
    [[], [[1, 100.0]], [[0, 0.0]], [[0, 100.0], [5, 100.0], [4, 100.0]], [[0]], 7, [["a", "b"]]],
)
def test_a_curve_that_is_none_is_refused(curve):
    """It begins at zero, goes on in time, and never stops the load."""
    with pytest.raises(ConfigError, match="curve"):
        LoadConfig.parse(LOAD | {"curve": curve})
