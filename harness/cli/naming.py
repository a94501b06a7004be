"""Names that people type: a misspelt one gets the nearest right ones."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

import click

from harness.errors import UsageError

IMAGE_HELP = "Your copy of the platform's image, where it has another name. Also: $BULLETPROOF_IMAGE."


class Nearest(click.Group):
    """A group of commands that knows what was probably meant."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command of a name; raises click.UsageError with the nearest names."""
        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            ctx.fail(f'There is no command "{args[0]}". {suggestion(args[0], self.list_commands(ctx))}')
        return super().resolve_command(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which they are needed, not in that of the alphabet."""
        return list(self.commands)


def suggestion(word: str, known: Iterable[str]) -> str:
    """`Did you mean x?`, or what there is."""
    names = list(known)
    near = difflib.get_close_matches(word, names, n=3, cutoff=0.5)
    if near:
        return f"Did you mean {' or '.join(near)}?"
    return f"There are: {', '.join(names)}." if names else "There are none."


CLUSTER_CONFIG = click.option(
    "--cluster-config",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    metavar="FILE",
    help="The cluster's configuration file. Default: the one of clusters/*.yaml that names its context.",
)


def check_cluster(cluster: str, config: Path | None = None) -> str:
    """The name as given. Raises UsageError for what is no cluster's name or configuration; contacts nothing."""
    from clusters.provider import ClusterError, check_named

    try:
        check_named(cluster, config)
    except ClusterError as error:
        raise UsageError(error.message, hint=error.hint) from error
    return cluster


def check_platform(platform: str | None) -> str | None:
    """The name as given. Raises UsageError with the names of the platforms there are."""
    from clusters.provider import platforms

    if platform is None or platform in platforms():
        return platform
    raise UsageError(f'There is no platform "{platform}".', hint=suggestion(platform, platforms()))
