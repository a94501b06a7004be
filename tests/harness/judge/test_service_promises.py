"""Latency, uptime, goodput, error budget, degradation, requests under way, gray pods: which course ends how."""

from __future__ import annotations

import numpy as np
import pytest

from harness.judge import judge
from harness.measure.gray import owners, served
from harness.verdict import VerdictName
from tests.course import PODS, S
from tests.course_requests import alter_requests
from tests.histories import build_run, read_history

PASSED, FAILED, INVALID = VerdictName.PASSED, VerdictName.FAILED, VerdictName.INVALID


def answer(run_dir, name):
    """One check of the verdict on a folder."""
    return next(one for one in judge(run_dir).checks if one.name == name)


@pytest.mark.parametrize(
    ("course", "expect", "name", "verdict"),
    [
        ({}, {"latency": {"p99": "50ms"}}, "latency_p99", PASSED),
        ({}, {"latency": {"p99": "2ms"}}, "latency_p99", FAILED),
        (
            {"outage": (0.0, 9.0), "outage_share": 0.3, "outcome": "slow"},
            {"latency": {"p99": "50ms"}},
            "latency_p99",
            FAILED,
        ),
        (
            {"outage": (0.0, 9.0), "outage_share": 0.3, "outcome": "slow"},
            {"latency": {"p50": "50ms"}},
            "latency_p50",
            PASSED,
        ),
        ({"outage": (0.0, 1.0)}, {"latency": {"p99": "50ms"}}, "latency_p99", FAILED),  # who got nothing waited longer
        ({"not_sent": [(1.0, 1.5)]}, {"latency": {"p99": "50ms"}}, "latency_p99", INVALID),
        ({}, {"latency": {"p99": "50ms"}}, "steady_latency_p99", PASSED),
        ({}, {"latency": {"p99.99": "50ms"}}, "steady_latency_p99_99", INVALID),  # 3,000 requests cannot say that
        ({"outage": (0.0, 9.0)}, {"latency": {"p99": "50ms"}}, "steady_latency_p99", PASSED),
        ({}, {"uptime": "100%"}, "uptime", PASSED),
        ({"outage": (0.0, 8.0)}, {"uptime": "80%"}, "uptime", FAILED),
        ({"outage": (0.0, 8.0)}, {"uptime": "70%"}, "uptime", PASSED),
        ({"not_sent": [(1.0, 5.0)]}, {"uptime": "95%"}, "uptime", INVALID),
        ({}, {"goodput": "150/s"}, "goodput", PASSED),
        ({"outage": (2.0, 4.0)}, {"goodput": "150/s"}, "goodput", FAILED),
        ({"outage": (2.0, 4.0)}, {"goodput": "100/s"}, "goodput", PASSED),
        ({"not_sent": [(2.0, 4.0)]}, {"goodput": "150/s"}, "goodput", INVALID),
        ({"recover_s": 3.0}, {"goodput": "150/s"}, "goodput", INVALID),  # no whole stretch of 5 s
        # 99.5 % over 30 days allow 12,960 lost seconds
        ({"outage": (0.0, 2.0)}, {"budget_spent": "0.02%"}, "budget_detector", PASSED),
        ({"outage": (0.0, 4.0)}, {"budget_spent": "0.02%"}, "budget_detector", FAILED),
        ({"not_sent": [(0.0, 4.0)]}, {"budget_spent": "0.02%"}, "budget_detector", INVALID),
        # 14.4x of 0.5 % over an hour is 259 lost seconds; over five minutes 22
        ({"outage": (0.0, 9.0)}, {"burn_rate": "14.4x"}, "burn_detector", PASSED),
        ({"outage": (0.0, 9.0)}, {"burn_rate": "0.3x"}, "burn_detector", FAILED),
        ({"not_sent": [(0.0, 9.0)]}, {"burn_rate": "0.3x"}, "burn_detector", INVALID),
        ({}, {"degraded": "1s"}, "degraded", PASSED),
        ({"outage": [(0.0, 2.0), (8.0, 10.0)]}, {"degraded": "3s"}, "degraded", FAILED),
        ({"outage": [(0.0, 2.0), (8.0, 10.0)]}, {"degraded": "5s"}, "degraded", PASSED),
        ({"arrivals": "constant", "outage": (0.0, 2.0)}, {"degraded": "1.997s"}, "degraded", INVALID),
        ({"strikes": False}, {"degraded": "1s"}, "degraded", INVALID),
        ({"strikes": False}, {"in_flight_lost": 0}, "in_flight_lost", INVALID),
        ({"latency_scale": 30.0, "within": "500ms"}, {"in_flight_lost": 0}, "in_flight_lost", PASSED),
        ({}, {"gray_pods": 0}, "gray_pods", PASSED),
        ({"slow_pod": PODS[1], "slow_ms": 400.0}, {"gray_pods": 0}, "gray_pods", FAILED),
        ({"slow_pod": PODS[1], "slow_ms": 400.0}, {"gray_pods": 1}, "gray_pods", PASSED),
        ({"slow_ms": 400.0}, {"gray_pods": 0}, "gray_pods", PASSED),  # all are slow: that is no gray pod
        ({"strikes": False}, {"gray_pods": 0}, "gray_pods", INVALID),
        (
            {},
            {"goodput": "195/s"},
            "goodput",
            INVALID,
        ),  # no more was offered: nothing that a platform could have answered
        ({"outage": (2.0, 8.0)}, {"goodput": "195/s"}, "goodput", FAILED),
    ],
)
def test_each_course_ends_where_it_must(tmp_path, course, expect, name, verdict):
    """The table of courses: what holds, what does not, and what the history does not say."""
    found = answer(build_run(tmp_path, **course, expect=expect), name)

    assert found.verdict is verdict, found
    assert found.why or found.verdict is PASSED


def test_requests_that_were_under_way_are_counted(tmp_path):
    """They were scheduled before the strike and ended badly after it."""
    run_dir = build_run(tmp_path, latency_scale=30.0, within="500ms", expect={"in_flight_lost": 2})
    strike = read_history(run_dir).actions
    begin = next(one.t_ns for one in strike if getattr(one, "step", "") == "begin" and hasattr(one, "fault_id"))

    def die(rows):
        under_way = [row for row in rows if row["scheduled_ns"] < begin <= (row["end_ns"] or 0)]
        assert len(under_way) > 3
        gone = {row["arrival"] for row in under_way[:3]}
        dead = {"outcome": "reset", "end_ns": begin + 1, "first_byte_ns": None, "pod": None}
        return [{**row, **dead} if row["arrival"] in gone else row for row in rows]

    alter_requests(run_dir, die)

    found = answer(run_dir, "in_flight_lost")
    assert (found.verdict, found.measured["bad"]) == (FAILED, 3)


def test_a_pod_that_swallows_new_connections_is_gray(tmp_path):
    """Nobody knows whose the unanswered ones were; that it answers so few of the others' number tells."""
    run_dir = build_run(tmp_path, expect={"gray_pods": 0})

    def swallow(rows):
        gone = {"outcome": "timeout", "pod": None, "version": None, "first_byte_ns": None}
        return [
            {**row, **gone, "end_ns": row["sent_ns"] + S}
            if row["pod"] == PODS[1] and row["connection"] == "new"
            else row
            for row in rows
        ]

    alter_requests(run_dir, swallow)

    found = answer(run_dir, "gray_pods")
    assert found.verdict is FAILED
    assert found.measured["gray"] == [PODS[1]]
    assert "new connections" in found.seen


def test_pods_that_no_answer_names_are_not_called_well(tmp_path):
    """Without names nothing was compared."""
    run_dir = build_run(tmp_path, expect={"gray_pods": 0})

    alter_requests(run_dir, lambda rows: [{**row, "pod": None} for row in rows])

    assert answer(run_dir, "gray_pods").verdict is INVALID


def test_an_unanswered_request_on_a_kept_connection_is_its_pods(tmp_path):
    """Through a Service a connection goes to one pod; on another connection of the same user nobody knows."""
    run_dir = build_run(tmp_path)

    def on_connections(rows):
        kept = [row for row in rows if row["connection"] == "kept"][:4]
        for row, pod, port in zip(kept, (PODS[0], None, None, PODS[1]), (1000, 1000, 2000, 2000), strict=True):
            row |= {"user": 77_777, "local_port": port, "pod": pod, "outcome": "ok" if pod else "timeout"}
        return rows

    alter_requests(run_dir, on_connections)
    requests = read_history(run_dir).requests
    mine = np.flatnonzero(requests.user == 77_777)
    found = owners(requests)[mine]

    names = [requests.pod.names[code] if code >= 0 else None for code in found.tolist()]
    assert names == [PODS[0], PODS[0], None, PODS[1]]


def test_honest_pods_are_hardly_ever_called_gray(tmp_path):
    """Two hundred draws with 1 % failures everywhere: none is gray. With one pod at 5 % it is found each time."""
    requests = read_history(build_run(tmp_path)).requests
    rng = np.random.default_rng(11)
    rows = np.ones(len(requests), dtype=np.bool_)
    of_second = owners(requests) == requests.pod.names.index(PODS[1])
    for _ in range(200):
        chance = rng.random(len(requests))
        honest = served(requests, rows, chance < 0.01, PODS[1:], 0.01)
        gray = served(requests, rows, chance < np.where(of_second, 0.05, 0.01), PODS[1:], 0.01)
        assert [pod.gray for pod in honest] == ["", ""]
        assert [bool(pod.gray) for pod in gray] == [True, False]
