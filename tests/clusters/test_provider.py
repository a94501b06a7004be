"""Clusters by name, and what a context offers, found out by asking it."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from clusters.context import ContextProvider
from clusters.provider import CAPABILITIES, Access, ClusterError, overlay, platforms, provider_for
from clusters.sandbox_provider import OFFERS, SandboxProvider
from harness.experiment.model import Extension

DEFECTS = {
    "single-replica",
    "no-readiness-probe",
    "never-recovers",
    "no-drain",
    "all-on-one-node",
    "release-without-verification",
}


@pytest.mark.parametrize(
    ("name", "kind"),
    [("sandbox", SandboxProvider), ("sandbox:dev", SandboxProvider), ("context:a:b", ContextProvider)],
)
def test_a_cluster_has_its_provider(name, kind):
    provider = provider_for(name)

    assert isinstance(provider, kind)
    assert provider.name == name


@pytest.mark.parametrize("name", ["", "sandbox:", "context", "context:", "minikube", "Sandbox"])
def test_another_name_is_refused_with_the_names_there_are(name):
    with pytest.raises(ClusterError) as refusal:
        provider_for(name)

    assert "context:NAME" in refusal.value.hint


def test_platforms_are_the_healthy_one_and_the_planted_defects():
    assert platforms()[0] == "healthy"
    assert set(platforms()[1:]) == DEFECTS
    with pytest.raises(ClusterError) as refusal:
        overlay("helthy")
    assert "no-drain" in refusal.value.hint


def test_a_user_s_image_is_nothing_to_a_sandbox():
    """It runs programs: said at once, not after minutes of ImagePullBackOff."""
    access = Access(
        name="sandbox",
        provider="sandbox",
        kubeconfig=Path("unused"),
        context="unused",
        offers=OFFERS,
        ephemeral=True,
    )

    with pytest.raises(ClusterError, match="none named team/server:2"):
        SandboxProvider().deploy(access, "healthy", lambda _: None, "team/server:2")


def test_what_a_sandbox_offers_are_words_of_requires():
    """The provider and the experiment's type list the same ones; neither may import the other."""
    (words, _) = get_args(Extension.model_fields["requires"].annotation)

    assert OFFERS <= CAPABILITIES
    assert set(get_args(words)) == CAPABILITIES


@pytest.fixture
def context(sandbox, monkeypatch, tmp_path):
    """The sandbox as any context of a kubeconfig, behind a file that does not have it."""
    (tmp_path / "other").write_text("{contexts: [{name: other, context: {}}]}")
    monkeypatch.setattr(
        "kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", f"{tmp_path / 'other'}:{sandbox.kubeconfig}"
    )
    return sandbox


def test_a_context_is_found_and_asked_what_it_offers(context):
    access = provider_for(f"context:{context.context}").up()

    assert (access.kubeconfig, access.context, access.ephemeral) == (context.kubeconfig, context.context, False)
    assert access.offers == {"pods", "services", "gpu", "nodes", "eviction", "deployments", "pod-proxy"}


def test_a_context_was_there_before_and_stays(context):
    """No `down` ends what it did not start, and nothing is deployed on it unasked."""
    provider = provider_for(f"context:{context.context}")
    access = provider.up()

    assert provider.lasting() is provider
    assert (provider.ephemeral, provider.down(access), provider.down()) == (False, False, False)
    assert (access.default_platform, access.disposable) == (None, False)


def test_several_runs_share_one_sandbox_that_nobody_else_has():
    """A bare one ends with a run; one with a name stays."""
    bare, named = provider_for("sandbox"), provider_for("sandbox:dev")

    shared = {bare.lasting().name, bare.lasting().name}

    assert (bare.ephemeral, named.ephemeral) == (True, False)
    assert named.lasting() is named
    assert len(shared) == 2
    assert all(name.startswith("sandbox:shared-") and not provider_for(name).ephemeral for name in shared)


def test_a_context_that_is_not_there_is_told_with_those_that_are(context):
    with pytest.raises(ClusterError) as refusal:
        provider_for("context:nowhere").up()

    assert "There are other, " in refusal.value.hint
    assert provider_for("context:nowhere").status()["running"] is False


def test_a_cluster_that_does_not_answer_is_an_error(monkeypatch, tmp_path):
    """Not a crash, and not a wait without end."""
    kubeconfig = tmp_path / "config"
    kubeconfig.write_text(
        "apiVersion: v1\nkind: Config\ncurrent-context: gone\n"
        "clusters: [{name: gone, cluster: {server: 'https://127.0.0.1:9'}}]\n"
        "users: [{name: me, user: {}}]\n"
        "contexts: [{name: gone, context: {cluster: gone, user: me}}]\n"
    )
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(kubeconfig))

    with pytest.raises(ClusterError, match=r"127\.0\.0\.1:9"):
        provider_for("context:gone").up()


def test_a_way_to_a_service_is_found_or_all_tries_are_told(context):
    from clusters.api import Api
    from clusters.context.reach import endpoint

    api = Api.connect(context.kubeconfig, context.context)
    path = "/api/v1/namespaces/default/services"
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "nobody-home", "namespace": "default"},
        "spec": {"selector": {"app": "nobody"}, "ports": [{"name": "http", "port": 8000}]},
    }
    made = api.request("POST", path, service)

    with pytest.raises(ClusterError) as refusal:
        endpoint(api, "default", "nobody-home", "http")
    assert f"{made['spec']['clusterIP']}:8000" in refusal.value.message
    with pytest.raises(ClusterError, match="no port 9"):
        endpoint(api, "default", "nobody-home", 9)
    with pytest.raises(ClusterError, match="no Service other"):
        endpoint(api, "default", "other", "http")
    api.request("DELETE", f"{path}/nobody-home")
