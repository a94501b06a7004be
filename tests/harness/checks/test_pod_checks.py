"""Full strength and the floor of ready pods, from the watches."""

from __future__ import annotations

import pytest

from harness.checks.ready_floor import ready_floor
from harness.checks.replicas_within import replicas_within
from harness.history.records import Evidence, Watched
from harness.measure.pods import read_pods
from harness.measure.timeline import Strike
from harness.verdict import VerdictName
from tests.course_records import pod_object

PASSED, FAILED, INVALID = VerdictName.PASSED, VerdictName.FAILED, VerdictName.INVALID
S = 1_000_000_000


def watched(*events):
    """(seconds, verb, pod, ready) as watch events; three ready pods are listed at 0."""
    listed = [(0, "LISTED", name, True) for name in ("a", "b", "c")]
    return [
        Watched(
            t_ns=int(seconds * S),
            kind="Pod",
            verb=verb,
            object=pod_object(name, node="n", ready=ready) if name else {},
        )
        for seconds, verb, name, ready in [*listed, *events]
    ]


def pods_of(events):
    """The workload's pods."""
    return read_pods(events, namespace="inference", selector="app=detector", service="detector")


def strike(uid="uid-a", claim="pod-gone", at_s=10):
    """A pod killed at 10 s."""
    return Strike(
        fault_id="k-1",
        fault="pod-kill",
        target="pod/a",
        begin_ns=at_s * S,
        injected_ns=at_s * S,
        failed=None,
        facts={"uid": uid, "pod": "a"},
        claims=(Evidence(t_ns=11 * S, fault_id="k-1", claim=claim, channel="cluster", seen=True),),
    )


GONE = (10.1, "DELETED", "a", True)
NEW = (10.2, "ADDED", "d", False)


@pytest.mark.parametrize(
    ("events", "verdict", "case"),
    [
        ([GONE, NEW, (14, "MODIFIED", "d", True)], PASSED, "back in time"),
        ([GONE, NEW, (20.5, "MODIFIED", "d", True)], FAILED, "back too late"),
        ([GONE, NEW], FAILED, "never back"),
        ([GONE, NEW, (14, "MODIFIED", "d", True), (24, "MODIFIED", "d", False)], FAILED, "back, and gone again"),
        (
            [GONE, NEW, (14, "MODIFIED", "d", True), (15, "MODIFIED", "d", False), (16, "MODIFIED", "d", True)],
            PASSED,
            "flapped within the limit",
        ),
        ([NEW, (14, "MODIFIED", "d", True)], INVALID, "the watch never showed the pod leave"),
        ([GONE, (12, "LOST", "", None), (13, "RESUMED", "", None), NEW, (14, "MODIFIED", "d", True)], INVALID, "a gap"),
        ([GONE, (11, "ADDED", "d", True), (12, "MODIFIED", "b", False)], FAILED, "another one fails"),
    ],
)
def test_full_strength_is_back_in_time_or_not(events, verdict, case):
    """10 s are allowed, the undo begins at 40 s."""
    answer = replicas_within(pods_of(watched(*events)), [strike()], 40 * S, 10 * S, 2 * S)

    assert answer.verdict is verdict, case


def test_a_fault_that_takes_no_pod_needs_none_back():
    """Latency, for example."""
    answer = replicas_within(pods_of(watched()), [strike(claim="latency-added")], 40 * S, 10 * S, 2 * S)

    assert answer.verdict is PASSED


def test_each_of_several_strikes_has_its_own_time():
    """Back 4 s after the first, and 4 s after the second; 10 s are allowed to each, and not to both together."""
    again = [(30.1, "DELETED", "b", True), (30.2, "ADDED", "e", False)]
    strikes = [strike(), strike(uid="uid-b", at_s=30)]
    back = watched(GONE, NEW, (14, "MODIFIED", "d", True), *again, (34, "MODIFIED", "e", True))

    assert replicas_within(pods_of(back), strikes, 45 * S, 10 * S, 2 * S).verdict is PASSED
    assert replicas_within(pods_of(back), strikes, 45 * S, 3 * S, 2 * S).verdict is FAILED
    never = watched(GONE, NEW, *again, (34, "MODIFIED", "e", True), (45, "MODIFIED", "d", True))
    assert replicas_within(pods_of(never), strikes, 50 * S, 20 * S, 2 * S).verdict is FAILED
    gone_again = watched(GONE, NEW, (14, "MODIFIED", "d", True), *again)
    assert replicas_within(pods_of(gone_again), strikes, 35 * S, 10 * S, 2 * S).verdict is INVALID


def test_a_watch_that_shows_a_withdrawn_pod_as_ready_says_nothing():
    """Its node was stopped, the Service leads nowhere near it, and the watch on pods has fallen silent."""
    strikes = [strike(claim="endpoint-withdrawn")]

    assert replicas_within(pods_of(watched()), strikes, 40 * S, 10 * S, 2 * S).verdict is INVALID
    assert ready_floor(pods_of(watched()), strikes, (5 * S, 40 * S), 3).verdict is INVALID


def test_an_observation_that_ends_before_the_limit_says_nothing():
    """The undo began after 5 of 10 s."""
    answer = replicas_within(pods_of(watched(GONE, NEW)), [strike()], 15 * S, 10 * S, 2 * S)

    assert answer.verdict is INVALID


def test_without_a_watch_nothing_is_known():
    """Absence never passes."""
    assert replicas_within(pods_of([]), [strike()], 40 * S, 10 * S, 2 * S).verdict is INVALID
    assert ready_floor(pods_of([]), [], (5 * S, 40 * S), 2).verdict is INVALID


def test_pods_of_others_do_not_count():
    """Another namespace, other labels."""
    other = pod_object("x", node="n", ready=True)
    other["metadata"]["labels"] = {"app": "other"}
    events = [*watched(GONE), Watched(t_ns=11 * S, kind="Pod", verb="ADDED", object=other)]

    assert pods_of(events).ready.at(12 * S) == 2


def test_a_pod_on_its_way_out_is_not_ready():
    """Its Ready condition still says so."""
    leaving = Watched(
        t_ns=11 * S, kind="Pod", verb="MODIFIED", object=pod_object("a", node="n", ready=True, deleting=True)
    )

    assert pods_of([*watched(), leaving]).ready.at(12 * S) == 2


@pytest.mark.parametrize(
    ("events", "floor", "verdict"),
    [
        ([GONE], 2, PASSED),
        ([GONE], 3, FAILED),
        ([GONE, (10.1001, "DELETED", "b", True), (10.2, "ADDED", "d", True)], 2, FAILED),  # for 0.1 s only
        ([(10, "LOST", "", None), (11, "RESUMED", "", None)], 2, INVALID),
        ([GONE, (20, "LOST", "", None), (21, "RESUMED", "", None)], 3, FAILED),  # what was seen was enough
        ([(50, "DELETED", "a", True)], 3, PASSED),  # after the load
    ],
)
def test_the_floor_is_kept_at_all_times_or_not(events, floor, verdict):
    """From the start to the stop of the load."""
    assert ready_floor(pods_of(watched(*events)), [], (5 * S, 40 * S), floor).verdict is verdict


def test_a_watch_that_ended_leaves_the_rest_unknown():
    """LOST, and never RESUMED."""
    pods = pods_of(watched(GONE, NEW, (14, "MODIFIED", "d", True), (20, "LOST", "", None)))

    assert ready_floor(pods, [], (5 * S, 40 * S), 2).verdict is INVALID
    assert replicas_within(pods, [strike()], 40 * S, 10 * S, 2 * S).verdict is INVALID
