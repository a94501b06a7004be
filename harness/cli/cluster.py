"""`bulletproof cluster`: bring a cluster up and down, and get at it with other tools."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from clusters.provider import IMAGE_VARIABLE
from harness.cli import output
from harness.cli.naming import CLUSTER_CONFIG, IMAGE_HELP, Nearest, check_cluster, check_platform
from harness.errors import EXIT_INVALID, EXIT_PASSED, InvalidRun, UsageError

_NAME = click.argument("name", metavar="NAME")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print as JSON.")


@click.group(cls=Nearest)
def cluster() -> None:
    """Bring a cluster up, take it down, look at it.

    NAME is sandbox:NAME (an embedded cluster), kind or kind:NAME (containers on this machine), which stay until they
    are taken down, or context:NAME (any cluster of your kubeconfig).

    \b
    Example:
      bulletproof cluster up sandbox:dev --platform healthy
      export KUBECONFIG=$(bulletproof cluster kubeconfig sandbox:dev)
      kubectl get pods -n inference
      bulletproof run gpu-pod-kill --cluster sandbox:dev
      bulletproof cluster down sandbox:dev
    """


@cluster.command()
@_NAME
@CLUSTER_CONFIG
@click.option("--platform", metavar="NAME", help="Deploy this overlay of the reference platform too.")
@click.option("--image", metavar="NAME", envvar=IMAGE_VARIABLE, help=IMAGE_HELP)
@_JSON
def up(name: str, cluster_config: Path | None, platform: str | None, image: str | None, as_json: bool) -> int:
    """Start a cluster, or find it running.

    \b
    Example:
      bulletproof cluster up sandbox:dev --platform healthy
    """
    from clusters.provider import provider_for

    _named(name, cluster_config)
    check_platform(platform)
    provider = provider_for(name, cluster_config)
    access = provider.up()
    if platform is not None:
        provider.deploy(access, platform, lambda text: click.echo(text, err=True), image)
    if as_json:
        data = asdict(access)
        output.print_json({**data, "kubeconfig": str(access.kubeconfig), "offers": sorted(access.offers)})
    else:
        click.echo(f"{access.name} is up. It offers {', '.join(sorted(access.offers))}.")
        click.echo(f"export KUBECONFIG={access.kubeconfig}")
    return EXIT_PASSED


@cluster.command()
@_NAME
def down(name: str) -> int:
    """End a cluster that `up` started. One that was there before is left alone.

    \b
    Example:
      bulletproof cluster down sandbox:dev
    """
    from clusters.provider import provider_for

    _named(name)
    provider = provider_for(name)
    found = provider.status()
    if not found.get("running") and not found.get("exists"):
        if "reason" in found:
            raise InvalidRun(f"Whether {name} runs is not known. {found['reason']}")
        click.echo(f"{name} is not running.")
    elif provider.down():
        click.echo(f"{name} is down.")
    else:
        click.echo(f"{name} was there before Bulletproof, and stays.")
    return EXIT_PASSED


@cluster.command()
@_NAME
@CLUSTER_CONFIG
@_JSON
def status(name: str, cluster_config: Path | None, as_json: bool) -> int:
    """Say whether a cluster runs, without starting it. Exit code 0 when it does, 2 when not.

    \b
    Example:
      bulletproof cluster status sandbox:dev --json
    """
    from clusters.provider import provider_for

    _named(name, cluster_config)
    found = provider_for(name, cluster_config).status()
    if as_json:
        output.print_json(found)
    else:
        for key, value in found.items():
            click.echo(f"{key}: {value}")
    return EXIT_PASSED if found.get("running") else EXIT_INVALID


@cluster.command()
@_NAME
def kubeconfig(name: str) -> int:
    """Print the path of the kubeconfig of a running cluster.

    \b
    Example:
      kubectl --kubeconfig $(bulletproof cluster kubeconfig sandbox:dev) get nodes
    """
    from clusters.provider import provider_for

    _named(name)
    provider = provider_for(name)
    if not provider.status().get("running"):
        raise UsageError(f"{name} is not running.", hint=f"Start it: bulletproof cluster up {name}")
    path: Path = provider.up().kubeconfig
    click.echo(path)
    return EXIT_PASSED


@cluster.group(cls=Nearest)
def image() -> None:
    """The image of the reference platform: its server, the proxies, the load generator.

    \b
    Example:
      bulletproof cluster image build
    """


@image.command()
@click.option("--engine", type=click.Choice(["docker", "podman"]), help="Default: the one that is installed.")
@click.option("--tag", metavar="NAME", help="Another name than the one in the manifests; see --image of `run`.")
def build(engine: str | None, tag: str | None) -> int:
    """Build the image with docker or podman, from this installation's own files. Nothing is published.

    For a package index of your own: PIP_INDEX_URL, PIP_EXTRA_INDEX_URL, PIP_TRUSTED_HOST.

    \b
    Examples:
      bulletproof cluster image build
      bulletproof cluster image build --engine podman --tag registry.example/team/platform:7
    """
    from clusters.provider import build_image

    name = build_image(engine, tag, lambda text: click.echo(text, err=True))
    click.echo(name)
    return EXIT_PASSED


def _named(name: str, config: Path | None = None) -> None:
    from clusters.provider import provider_for

    check_cluster(name, config)
    if provider_for(name).ephemeral:
        raise UsageError(f'"{name}" alone ends with its run.', hint=f"Give it a name: {name}:dev.")
