"""Lanes, bands, axes and stages: what stands where in the pictures that need no JavaScript."""

from __future__ import annotations

import dataclasses
import itertools
import re

import numpy as np
import pytest

from reports import charts, downsample, story, tracks
from tests.course import NEW_POD, PODS, ZERO_NS, Course, S
from tests.reports import verdicts
from tests.reports.requests import make_requests


def right_edges(path: str) -> list[float]:
    """Where the bars of a path end, in seconds."""
    return [float(x) for x in re.findall(r"H([\d.e+-]+)V", path)]


def test_the_outage_and_the_fault_are_where_they_were():
    """Seconds since the load began; percent of the axis."""
    course = Course(outage=(0.0, 0.8))

    bands = {band.kind: band for band in tracks.bands(verdicts.failed(course), 0.0, 40.0) if band.kind != "phase"}

    assert bands["outage"].from_s == pytest.approx(15.01)
    assert bands["outage"].to_s == pytest.approx(15.81)
    assert bands["outage"].left == pytest.approx(15.01 / 40 * 100, abs=0.01)
    assert bands["fault"].from_s == pytest.approx(15.01)
    assert bands["undo"].from_s == pytest.approx((course.rollback_ns - ZERO_NS) / S, abs=0.01)


def test_an_outage_that_never_ended_lasts_to_the_end():
    """No first good request: the shade goes to the right edge."""
    verdict = verdicts.failed()
    recovery = verdict.measurements["recovery"] | {"by_ns": None}
    verdict = dataclasses.replace(verdict, measurements=verdict.measurements | {"recovery": recovery})

    (outage,) = [band for band in tracks.bands(verdict, 0.0, 40.0) if band.kind == "outage"]

    assert outage.to_s == 40.0
    assert "did NOT come back" in " ".join(story.saw(verdict))


@pytest.mark.parametrize(("to_s", "last"), [(40.0, "40 s"), (0.4, "0.4 s"), (1200.0, "1200 s"), (86_400.0, "80000 s")])
def test_axes_have_round_labels(to_s, last):
    """A few, and within the axis."""
    ticks = tracks.ticks(0.0, to_s)

    assert ticks[0].label == "0 s"
    assert ticks[-1].label == last
    assert 3 <= len(ticks) <= 10
    assert all(0 <= tick.left <= 100.01 for tick in ticks)


def test_one_bad_request_of_thousands_is_seen_in_the_strip():
    """Its slice gets a sliver that is tall enough to see."""
    outcomes = ["ok"] * 10_000
    outcomes[5_000] = "reset"
    data = downsample.classify(make_requests(np.arange(10_000) / 250, np.ones(10_000), outcomes), [], ZERO_NS)

    offered, spoiled, bad = tracks.availability_strip(data, 0.0, 40.0)

    assert offered
    assert spoiled == bad
    assert right_edges(bad) == [pytest.approx(20.25)]
    height = float(re.findall(r"v-([\d.]+)", bad)[0])
    assert height >= 4


def test_what_the_load_itself_spoiled_is_not_drawn_as_bad():
    """A request that was never sent says nothing about the platform."""
    data = downsample.classify(make_requests([1, 2, 3], [1, 1, 1], ["ok", "not_sent", "ok"]), [], ZERO_NS)

    _, spoiled, bad = tracks.availability_strip(data, 0.0, 4.0)

    assert spoiled
    assert not bad


def test_every_pod_has_a_lane_with_what_it_answered(run_of):
    """Watched pods and answering pods alike, each with its node and count."""
    _, history = run_of(Course(outage=(0.0, 0.8)))
    data = downsample.classify(history.requests, history.experiment.slos, ZERO_NS)

    lanes, left_out = tracks.pod_lanes(verdicts.failed(), history.requests, data, 0.0, 40.6)

    assert [lane.name for lane in lanes] == [*PODS, NEW_POD]
    assert left_out == 0
    assert max(right_edges(lanes[0].good)) == pytest.approx(15.05, abs=0.2)
    answered = sum(int(re.findall(r"([\d,]+) answers", lane.detail)[0].replace(",", "")) for lane in lanes)
    assert answered == int((history.requests.pod.codes >= 0).sum())
    assert "on gpu-0" in lanes[0].detail
    assert lanes[0].ready.startswith("M0 ")


def test_a_pod_that_nobody_watched_has_its_lane_too(run_of):
    """The answers name it."""
    _, history = run_of(Course())
    data = downsample.classify(history.requests, (), ZERO_NS)
    verdict = dataclasses.replace(verdicts.passed(), measurements={"zero_ns": ZERO_NS})

    lanes, _ = tracks.pod_lanes(verdict, history.requests, data, 0.0, 40.6)

    assert {lane.name for lane in lanes} == {*PODS, NEW_POD}


def test_versions_have_lanes_when_more_than_one_answered(run_of):
    """A bad release shows who served when, and how."""
    _, history = run_of(Course(fault="bad-release", bad_version=(0.0, 5.0, 0.3)))
    data = downsample.classify(history.requests, (), ZERO_NS)

    lanes = tracks.version_lanes(verdicts.failed(), history.requests, data, 0.0, 40.6)

    assert [lane.name for lane in lanes] == ["version 1", "version 4"]
    assert "bad" in lanes[1].detail
    assert max(right_edges(lanes[1].bad)) == pytest.approx(20.0, abs=0.3)


def test_stages_stand_in_the_order_they_were_reached():
    """Each bar begins where the one before ended; a stage that was not seen says so."""
    verdict = verdicts.failed()
    recovery = verdict.measurements["recovery"]
    recovery = recovery | {"stages": [*recovery["stages"], {"name": "never", "at_ns": None}]}
    verdict = dataclasses.replace(verdict, measurements=verdict.measurements | {"recovery": recovery})

    stages, limit, _ = tracks.recovery_stages(verdict, 2 * S)

    seen = [stage for stage in stages if stage.seen]
    assert [stage.value for stage in seen] == ["3 ms", "60 ms", "300 ms", "800 ms", "1.2 s"]
    for before, after in itertools.pairwise(seen):
        assert after.left == pytest.approx(before.left + before.width, abs=0.01)
    assert stages[-1].name == "never"
    assert not stages[-1].seen
    assert limit == pytest.approx(92)


def test_a_limit_far_away_is_not_drawn_but_said():
    """A scale that reached it would squeeze the stages to nothing."""
    _, limit, _ = tracks.recovery_stages(verdicts.failed(), 3600 * S)

    assert limit is None


def test_every_class_has_its_own_colour_as_long_as_there_are_some():
    """And the good one has always the same."""
    slots = charts.slots(
        ["ok", "slow", "timeout", "refused", "reset", "wrong_answer", "not_sent", "http_503", "load_late"]
    )

    assert slots[0] == 0
    assert len(set(slots)) == len(slots)
    assert len(charts.SHAPES) > max(slots)
