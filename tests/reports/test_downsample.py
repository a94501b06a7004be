"""Down-sampling is faithful: what the plots leave out was never a bad request."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.experiment.model import Slo
from harness.history.columns import Requests
from harness.measure.goodness import BLIND_NS, goodness, together
from reports import downsample
from tests.course import ZERO_NS
from tests.reports.requests import make_requests

OUTCOMES = ("ok", "timeout", "refused", "http_503", "wrong_answer", "not_sent")
SLO = Slo(name="detector", service="detector", target=0.995, within_ns=250_000_000)


@st.composite
def any_requests(draw: st.DrawFn) -> Requests:
    """Up to some hundred requests of any outcome, latency and lateness."""
    row = st.tuples(
        st.floats(0, 100),
        st.sampled_from((0.5, 3.0, 249.9, 250.0, 251.0, 1500.0)),
        st.sampled_from(OUTCOMES),
        st.sampled_from((0.0, 1.0, 49.0, 51.0, 300.0)),
    )
    rows = draw(st.lists(row, min_size=1, max_size=300))
    columns = list(zip(*rows, strict=True))
    return make_requests(columns[0], columns[1], columns[2], columns[3])


def crowd(n: int, bad_share: float, seed: int = 1) -> Requests:
    """Many requests over 100 s, of which a share is bad in three ways."""
    rng = np.random.default_rng(seed)
    outcomes = np.full(n, "ok", dtype=object)
    bad = rng.random(n) < bad_share
    outcomes[bad] = rng.choice(["timeout", "refused", "not_sent"], int(bad.sum()))
    return make_requests(np.sort(rng.random(n) * 100), rng.gamma(4, 1, n) + 0.5, outcomes)


@settings(max_examples=60, deadline=None)
@given(any_requests(), st.sampled_from(["scheduled", "sent"]), st.booleans())
def test_good_and_bad_are_as_the_judge_has_them(requests, measured_from, two):
    """The colours of the plot and the judge's counts are one truth."""
    slos = [SLO.model_copy(update={"measured_from": measured_from})]
    if two:
        slos.append(SLO.model_copy(update={"name": "lax", "within_ns": 1_000_000_000}))
    judged = together([goodness(requests, slo) for slo in slos])

    data = downsample.classify(requests, slos, ZERO_NS)

    bad = np.isin(data.codes, data.bad_classes)
    assert (bad == judged.bad).all()
    assert ((data.codes == 0) == judged.good).all()


def test_the_lateness_that_blinds_is_the_judges():
    """A good answer to a request that was sent this late says nothing about the platform."""
    assert downsample.BLIND_NS == BLIND_NS


@settings(max_examples=60, deadline=None)
@given(any_requests(), st.integers(0, 40), st.integers(0, 40))
def test_no_bad_request_disappears(requests, most_bad, most_good):
    """Each one is a point, or is counted in a cell of its outcome and of its slice of time."""
    data = downsample.classify(requests, [SLO], ZERO_NS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(downsample, "MOST_BAD", most_bad)
        patch.setattr(downsample, "MOST_GOOD", most_good)
        drawn = downsample.sample(data)

    for code in range(1, len(data.names)):
        times = data.t_s[data.codes == code]
        if drawn.bad_are_points:
            assert sorted(data.t_s[drawn.points][data.codes[drawn.points] == code]) == sorted(times)
        else:
            cells = drawn.cells
            assert cells is not None
            span = max(cells.to_s - cells.from_s, 1e-9)
            slices = np.minimum(
                ((times - cells.from_s) / span * downsample.GRID_TIMES).astype(int), downsample.GRID_TIMES - 1
            )
            expected = np.bincount(slices, minlength=downsample.GRID_TIMES)
            mine = cells.code == code
            seen = np.bincount(cells.time[mine], weights=cells.count[mine], minlength=downsample.GRID_TIMES)
            assert (seen == expected).all()


@pytest.mark.parametrize(("n", "bad_share"), [(50_000, 0.01), (100_000, 0.5)])
def test_a_crowd_keeps_its_outliers_and_its_counts(n, bad_share):
    """The fastest and the slowest good request of each slice are points, and the cells hold everything else."""
    data = downsample.classify(crowd(n, bad_share), [SLO], ZERO_NS)

    drawn = downsample.sample(data)

    good = np.flatnonzero(data.codes == 0)
    points = drawn.points[data.codes[drawn.points] == 0]
    slices = np.minimum(
        ((data.t_s - data.t_s[good[0]]) / (data.t_s[good[-1]] - data.t_s[good[0]]) * downsample.SLICES).astype(int),
        downsample.SLICES - 1,
    )
    for part in (0, 77, downsample.SLICES - 1):
        there = good[slices[good] == part]
        shown = points[slices[points] == part]
        assert data.latency_ms[shown].max() == data.latency_ms[there].max()
        assert data.latency_ms[shown].min() == data.latency_ms[there].min()
    assert drawn.cells is not None
    assert drawn.cells.count[drawn.cells.code == 0].sum() == len(good)
    assert len(drawn.points) <= downsample.MOST_BAD + 2 * downsample.SLICES
    assert drawn.bad_are_points == (n - len(good) <= downsample.MOST_BAD)


def test_counts_by_second_lose_nothing():
    """What lies outside the axis is counted at its edge."""
    edges = downsample.bin_edges(0, 10)

    counts = downsample.count_by(np.array([-1.0, 0.0, 0.99, 1.0, 9.5, 12.0]), np.zeros(6, dtype=np.int32), 1, edges)

    assert counts.tolist() == [[3, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1]]


def test_quantiles_are_those_of_each_second():
    """p50 and p99 by rank; a second without an answer has none."""
    t = np.concatenate((np.full(100, 0.5), np.full(4, 2.5)))
    ms = np.concatenate((np.arange(1.0, 101.0), [4.0, 3.0, 2.0, np.nan]))

    p50, p99 = downsample.quantiles_by_bin(t, ms, downsample.bin_edges(0, 3), (0.5, 0.99))

    assert p50[:3].tolist()[0] == 50
    assert p99[0] == 99
    assert np.isnan(p50[1])
    assert p50[2] == 3


@given(st.lists(st.floats(0.1, 1e4), max_size=3000), st.integers(0, 50))
@settings(max_examples=40, deadline=None)
def test_the_ecdf_is_the_share_answered_in_time(latencies, unanswered):
    """Each drawn step is exact, the slowest is among them, and what was not answered keeps the curve below 1."""
    values = np.array(latencies + [np.nan] * unanswered)

    ms, share = downsample.ecdf(values, points=50)

    for at, seen in zip(ms, share, strict=True):
        assert seen <= (values <= at).sum() / len(values) + 1e-12
    if latencies:
        assert ms[-1] == max(latencies)
        assert share[-1] == len(latencies) / len(values)
        assert (np.diff(ms) >= 0).all()
    assert len(ms) <= 51


def test_the_running_total_begins_at_the_fault():
    """Bad requests of the baseline do not spend what is promised from the fault on."""
    total = downsample.running_total(np.array([1.0, 5.0, 5.5, 9.0]), 4.0, np.array([0.0, 4.0, 6.0, 10.0]))

    assert total.tolist() == [0, 2, 3]


@pytest.mark.parametrize(("span", "width"), [(10, 1), (600, 1), (601, 2), (3600, 10), (86_400 * 400, 60_000)])
def test_an_axis_has_at_most_some_hundred_bins(span, width):
    """Round widths, whatever the run's length."""
    edges = downsample.bin_edges(0, span)

    assert len(edges) <= 610
    assert edges[1] - edges[0] >= width * 0.9
