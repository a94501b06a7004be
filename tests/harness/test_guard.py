"""The guard: what a run may touch, at each limit and one beyond it."""

from __future__ import annotations

from pathlib import Path

import pytest

from clusters.provider import Access
from harness import guard
from harness.experiment.model import BlastRadius


def radius(**limits):
    """A blast radius as a file would give it."""
    return BlastRadius.model_validate(limits)


@pytest.mark.parametrize(
    ("limits", "strike", "rules"),
    [
        ({"pods": 1}, {"pods": 1, "total": 3, "left": 2}, []),
        ({"pods": 1}, {"pods": 2, "total": 3, "left": 1}, ["pods"]),
        ({"pods": 0}, {"pods": 1, "total": 3, "left": 2}, ["pods"]),
        ({"nodes": 1}, {"nodes": 1, "total": 3, "left": 2}, []),
        ({"nodes": 1}, {"nodes": 2, "total": 3, "left": 1}, ["nodes"]),
        ({"pods": 3, "share": "34%"}, {"pods": 1, "total": 3, "left": 2}, []),
        ({"pods": 3, "share": "33%"}, {"pods": 1, "total": 3, "left": 2}, ["share"]),
        ({"pods": 3, "share": "100%"}, {"pods": 3, "total": 3, "left": 0}, []),
        ({"floor": 2}, {"pods": 1, "total": 3, "left": 2}, []),
        ({"floor": 2}, {"pods": 1, "total": 3, "left": 1}, ["floor"]),
        ({"floor": 1}, {"pods": 1, "total": 1, "left": 0}, ["floor"]),
        (
            {"pods": 1, "nodes": 0, "share": "10%", "floor": 3},
            {"pods": 2, "nodes": 1, "total": 3, "left": 1},
            ["pods", "nodes", "share", "floor"],
        ),
    ],
)
def test_a_limit_holds_and_one_beyond_it_is_refused(limits, strike, rules):
    """Every limit that is broken is told, not only the first."""
    broken = guard.exceeded(radius(**limits), **{"pods": 0, "nodes": 0, **strike})

    assert [refusal.rule for refusal in broken] == rules


@pytest.mark.parametrize(
    ("name", "context", "refused"),
    [
        ("context:prod", "prod", False),
        ("context:eu-prod-1", "eu-prod-1", False),
        ("current", "eu-prod-1", True),
        ("context:staging", "prod", True),
        ("context:arn:aws:eks:eu:1:cluster/production", "arn:aws:eks:eu:1:cluster/production", False),
        ("current", "arn:aws:eks:eu:1:cluster/production", True),
        ("current", "gke_acme_PRD", True),
        ("current", "live2", True),
        ("current", "staging", False),
        ("current", "products", False),
        ("current", "reprod", False),
        ("current", "delivery", False),
        ("current", "olive", False),
    ],
)
def test_what_looks_like_production_must_be_named_in_full(name, context, refused):
    """It is never anybody's default."""
    access = Access(
        name=name, provider="context", kubeconfig=Path("x"), context=context, offers=frozenset(), ephemeral=False
    )

    assert bool(list(guard.production(access))) is refused


@pytest.mark.parametrize("disposable", [True, False])
def test_what_a_provider_made_for_experiments_is_nobody_s_production(disposable):
    """Whatever it is called: sandbox:live is a person's own words."""
    access = Access(
        name="sandbox:live",
        provider="sandbox",
        kubeconfig=Path("x"),
        context="bulletproof-live",
        offers=frozenset(),
        ephemeral=False,
        disposable=disposable,
    )

    assert bool(list(guard.production(access))) is not disposable
