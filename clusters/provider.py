"""What the harness knows of a cluster: how it is had, what it offers, how the platform gets on it, how load reaches it.

A provider is named on the command line:

    sandbox          a fresh embedded cluster for this run; it ends with the run
    sandbox:NAME     an embedded cluster that stays until `bulletproof cluster down sandbox:NAME`
    kind, kind:NAME  a kind cluster on this machine, made when there is none; stays until `bulletproof cluster down`
    context:NAME     any context of the kubeconfig
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from clusters.node_commands import BadWordError as BadWordError
from clusters.node_commands import NodeCommands as NodeCommands
from clusters.node_commands import filled as filled
from clusters.node_commands import words_of as words_of

Progress = Callable[[str], None]

# What may be named, for messages and help.
CLUSTERS = "sandbox, sandbox:NAME, kind, kind:NAME or context:NAME"
KINDS = ("sandbox", "kind", "context")
# Where an experiment runs when nobody says where: it needs nothing and ends with the run.
DEFAULT_CLUSTER = "sandbox"

# The words of an experiment's `requires`.
CAPABILITIES = frozenset({"pods", "services", "gpu", "nodes", "eviction", "deployments", "pod-proxy", "node-stop"})

# The image of the reference platform, of the proxies and of the load generator (clusters/platform/Containerfile).
IMAGE = "bulletproof/reference-server:1"
IMAGE_VARIABLE = "BULLETPROOF_IMAGE"  # the user's copy of it, where no option says so
# Set by us on every object of the reference platform; what carries it and is no longer in the manifests is removed.
PLATFORM_LABEL = "bulletproof.dev/platform"
# The namespace that clusters/rbac/ names where it means the workload's.
WORKLOAD_OF_MANIFESTS = "inference"
# A namespace opts in to chaos with this label and value.
CHAOS_LABEL = "bulletproof.dev/chaos"
CHAOS_ALLOWED = "allowed"


class ClusterError(Exception):
    """The cluster, or the platform on it, is not as needed: a fact, and advice where there is some."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  Hint: {self.hint}" if self.hint else self.message


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """A cluster that answers, and what it can do."""

    name: str  # as on the command line: sandbox, sandbox:dev, kind, context:staging
    provider: str  # one of KINDS
    kubeconfig: Path  # one file that holds `context`
    context: str
    offers: frozenset[str]  # subset of CAPABILITIES
    ephemeral: bool  # ends with the run
    default_platform: str | None = None  # overlay that a run deploys when nobody names one; None: nothing is deployed
    disposable: bool = False  # made by the provider for experiments: nobody's production, whatever it is called
    node_commands: NodeCommands | None = None  # how machines are switched off and on; None: `node-stop` is not offered


class Provider(Protocol):
    """How one kind of cluster is had. Every method raises ClusterError when it cannot do what it says."""

    name: str  # as on the command line
    ephemeral: bool  # `up` starts one that ends with the run, and only that run uses
    tracks_connections: bool  # its nodes remember for a while to which pod a client's port was led

    def up(self) -> Access:
        """The cluster answers; started where the provider can start one. Idempotent."""
        ...

    def deploy(self, access: Access, platform: str, progress: Progress, image: str | None = None) -> None:
        """The reference platform (`healthy` or the name of a planted defect) is applied, and every pod serves.

        `image` is the user's own copy of IMAGE, where the nodes have it by another name.
        """
        ...

    def load_endpoint(self, access: Access, namespace: str, service: str, port: str | int) -> tuple[str, int]:
        """Host and port at which clients on this machine reach the Service's port (name or number)."""
        ...

    def source_address(self, access: Access) -> str | None:
        """A local address that no run before this one has used for its load, where there is such a thing.

        Old connections of an address can be black-holed for two minutes by connection tracking (aftershocks).
        """
        ...

    def down(self, access: Access | None = None) -> bool:
        """What `up` started has ended; without an Access, that of this name. False: it was there before, and stays."""
        ...

    def status(self) -> dict[str, Any]:
        """Plain data about the cluster, without starting anything: name, provider, running, and details."""
        ...

    def lasting(self) -> Provider:
        """The provider for several runs on one cluster: itself, or where `ephemeral`, one that stays until `down`."""
        ...


def provider_for(cluster: str, config: Path | None = None) -> Provider:
    """The provider of a cluster's name. Nothing is started or contacted yet. Raises ClusterError for another word.

    `config`: the cluster's configuration file (clusters/config.py); None: the one that names its context, if any.
    """
    kind, colon, name = cluster.partition(":")
    if kind == "sandbox" and (name or not colon):
        from clusters.sandbox_provider import SandboxProvider

        return SandboxProvider(name or None, config=config)
    if kind == "kind" and (name or not colon):
        from clusters.kind import KindProvider

        if config is not None:
            raise ClusterError("A kind cluster takes no configuration file.", hint="Leave --cluster-config out.")
        return KindProvider(name or None)
    if kind == "context" and name:
        from clusters.context import ContextProvider

        return ContextProvider(name, config)
    raise ClusterError(f'"{cluster}" is no cluster.', hint=f"Write {CLUSTERS}.")


def check_named(cluster: str, config: Path | None = None) -> None:
    """The name, its configuration and its context are there. Raises ClusterError; contacts nothing."""
    from clusters.context import ContextProvider

    provider = provider_for(cluster, config)
    if isinstance(provider, ContextProvider):
        provider.kubeconfig()


def build_image(engine: str | None, tag: str | None, progress: Progress) -> str:
    """The platform's image is built on this machine; its whole name. Raises ClusterError.

    `engine` is docker or podman; None: the one that is installed. `tag` is another name than IMAGE.
    """
    from clusters.platform.build import build

    return build(engine, tag, progress)


def node_commands(kubeconfig: Path | None, context: str | None, config: Path | None = None) -> NodeCommands | None:
    """The commands of a context (None: the current one) by its configuration file. Raises ClusterError.

    For what has no provider at hand: `bulletproof recover` from another machine, and plain `chaos run`.
    """
    from kubernetes.config import ConfigException, list_kube_config_contexts

    from clusters.config import find, read
    from clusters.kind.mark import cluster_of
    from clusters.sandbox import client

    if kubeconfig is not None and client.info(kubeconfig.parent) is not None:
        from clusters.sandbox_provider import node_commands as of_sandbox

        return of_sandbox(kubeconfig.parent)
    if kubeconfig is not None and (cluster := cluster_of(kubeconfig)):
        from clusters.kind import nodes

        return nodes.commands(cluster)
    if context is None:
        try:
            context = list_kube_config_contexts(config_file=str(kubeconfig) if kubeconfig else None)[1]["name"]
        except (ConfigException, KeyError, TypeError):
            return read(config).node_commands if config else None
    found = find(context, config)
    return found.node_commands if found else None


def platforms() -> list[str]:
    """The overlays of the reference platform: `healthy`, then the planted defects by name."""
    defects = Path(__file__).parent / "platform" / "defects"
    return [
        "healthy",
        *sorted(folder.name for folder in defects.iterdir() if (folder / "kustomization.yaml").is_file()),
    ]


def overlay(platform: str) -> Path:
    """The kustomize folder of a platform. Raises ClusterError with the names there are."""
    if platform not in platforms():
        raise ClusterError(f'There is no platform "{platform}".', hint=f"There are {', '.join(platforms())}.")
    folder = Path(__file__).parent / "platform"
    return folder / "healthy" if platform == "healthy" else folder / "defects" / platform


def manifest_granting(
    *, verb: str, group: str, resource: str, subresource: str, name: str, namespace: str, workload: str
) -> Path | None:
    """The folder of clusters/rbac that grants a right; None when none does. `workload`: the workload's namespace."""
    from clusters.grants import granted_by

    return granted_by(
        verb=verb,
        group=group,
        resource=resource,
        subresource=subresource,
        name=name,
        namespace=namespace,
        workload=workload,
    )
