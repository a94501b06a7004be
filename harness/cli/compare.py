"""`bulletproof compare`: did it get worse than it was?"""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli import output
from harness.cli.folders import run_folders
from harness.cli.quantities import DURATION, SHARE
from harness.units import NS_PER_S

_AGAINST = "--against"
_FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)


class _TwoLists(click.Command):
    """`--against a b c` takes all three, so that a shell's `--against old/*` does not turn baselines into new runs."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Each baseline gets an option of its own: what click understands."""
        spread: list[str] = []
        collecting = False
        for index, word in enumerate(args):
            if word.startswith("-"):
                collecting = word == _AGAINST
                if collecting and (index + 1 == len(args) or args[index + 1].startswith("-")):
                    spread.append(word)  # without a value: click says so
                elif not collecting:
                    spread.append(word)
            else:
                spread += [_AGAINST, word] if collecting else [word]
        return super().parse_args(ctx, spread)


@click.command(cls=_TwoLists, short_help="Compare runs with earlier ones: not worse by more than a margin?")
@click.argument("runs", nargs=-1, required=True, type=_FOLDER, metavar="RUN... --against BASELINE...")
@click.option(
    _AGAINST,
    "baselines",
    multiple=True,
    required=True,
    type=_FOLDER,
    metavar="BASELINE...",
    help="The earlier runs; everything up to the next option.",
)
@click.option(
    "--recovery", "recovery_ns", type=DURATION, default="1s", show_default=True, help="Longer by this is not worse."
)
@click.option("--lost", "lost_ns", type=DURATION, default="250ms", show_default=True, help="The same of lost seconds.")
@click.option(
    "--availability", type=SHARE, default="0.1%", show_default=True, help="Of the steady state, in percentage points."
)
@click.option("--latency", type=SHARE, default="20%", show_default=True, help="Of the steady state's p99, relative.")
@click.option("--json", "as_json", is_flag=True, help="Print the verdict as JSON.")
def compare(
    runs: tuple[Path, ...],
    baselines: tuple[Path, ...],
    recovery_ns: int,
    lost_ns: int,
    availability: float,
    latency: float,
    as_json: bool,
) -> int:
    """Say whether runs are worse than earlier runs of the same experiment, by more than a margin.

    RUN and BASELINE are runs' folders, or folders of such. PASSED: shown not to be worse, at 95 %. FAILED: shown to be
    worse. INVALID: neither, there are too few runs or requests. Recovery takes at least three runs against three.
    Each run is judged again from its files; nothing is written.

    \b
    Examples:
      bulletproof compare runs/tonight --against runs/last-week
      bulletproof compare runs/new-* --against runs/old-* --recovery 2s --latency 10% --json
    """
    from harness import compare as comparing

    margins = comparing.Margins(
        availability=availability, recovery_ns=recovery_ns, lost_s=lost_ns / NS_PER_S, latency=latency
    )
    verdict = comparing.compare(run_folders(runs), run_folders(baselines), margins)
    if as_json:
        output.print_json(output.to_dict(verdict))
    else:
        output.print_verdict(verdict)
    output.tell_github([verdict], [output.markdown(verdict)])
    return verdict.exit_code
