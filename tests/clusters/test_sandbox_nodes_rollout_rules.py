"""The arithmetic of rollouts, without a cluster."""

from __future__ import annotations

import pytest

from clusters.sandbox.amounts import scaled
from clusters.sandbox.controllers import rollout
from clusters.sandbox.kubelet.backoff import Backoff


def _deployment(replicas: int, surge: object, unavailable: object) -> dict:
    rolling = {"maxSurge": surge, "maxUnavailable": unavailable}
    return {"spec": {"replicas": replicas, "strategy": {"type": "RollingUpdate", "rollingUpdate": rolling}}}


def _set(name: str, replicas: int, available: int = 0, created: str = "2026-01-01T00:00:00Z", **notes: str) -> dict:
    return {
        "metadata": {"name": name, "uid": name, "creationTimestamp": created, "annotations": notes},
        "spec": {"replicas": replicas},
        "status": {"availableReplicas": available, "replicas": replicas},
    }


@pytest.mark.parametrize(
    ("replicas", "surge", "unavailable", "fences"),
    [
        (3, "25%", "25%", (1, 0)),
        (4, "25%", "25%", (1, 1)),
        (10, "25%", "25%", (3, 2)),
        (1, 0, 0, (0, 1)),
        (3, "1%", "1%", (1, 0)),
        (3, 0, "10%", (0, 1)),
        (2, 5, 5, (5, 2)),
    ],
)
def test_surge_rounds_up_and_unavailable_down(replicas: int, surge: object, unavailable: object, fences: tuple) -> None:
    """And both at 0 would never move, so one may then be unavailable."""
    assert rollout.fences(_deployment(replicas, surge, unavailable)) == fences


@pytest.mark.parametrize(
    ("value", "total", "up", "number"), [("50%", 3, True, 2), ("50%", 3, False, 1), (2, 9, True, 2)]
)
def test_percentages_become_pods(value: object, total: int, up: bool, number: int) -> None:
    """Rounded as asked; numbers stay."""
    assert scaled(value, total, up=up) == number


def test_old_pods_go_only_as_new_ones_become_available() -> None:
    """maxSurge 1, maxUnavailable 0, three replicas."""
    deployment = _deployment(3, 1, 0)

    assert rollout.old_replicas(deployment, [_set("old", 3, 3)], _set("new", 1, 0)) == {}
    assert rollout.old_replicas(deployment, [_set("old", 3, 3)], _set("new", 1, 1)) == {"old": 2}


def test_broken_old_pods_go_first() -> None:
    """They cost no availability."""
    sizes = rollout.old_replicas(_deployment(3, 1, 1), [_set("old", 3, 1)], _set("new", 1, 1))

    assert sizes == {"old": 1}


def test_shares_of_a_scaled_rollout_follow_the_sizes() -> None:
    """10 pods (8 old, 5 new of 13) to 20: both grow by about a half."""
    deployment = _deployment(20, 3, 2)
    notes = {"d": "10", "m": "13"}
    old, new = _set("old", 8, 8, **notes), _set("new", 5, 5, "2026-01-02T00:00:00Z", **notes)

    sizes = rollout.proportional(deployment, [old, new], new, "d", "m")

    assert sum(sizes.values()) == 23
    assert sizes == {"old": 14, "new": 9}


def test_back_off_doubles_to_five_minutes_and_is_forgotten_after_ten() -> None:
    """No wait at first, then 10, 20, 40, 80, 160, 300, 300 s."""
    backoff, at, waits = Backoff(), 1000.0, []
    for _ in range(8):
        waits.append(backoff.left(at, at))
        backoff.next(at, at + waits[-1])
        at += waits[-1] + 1

    assert waits == [0, 10, 20, 40, 80, 160, 300, 300]
    late = at + 601
    assert backoff.left(late, late) == 0
    backoff.next(late, late)
    assert backoff.left(late + 1, late + 1) == 10
