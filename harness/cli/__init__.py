"""The command line: parse, call, print, exit. Nothing else in Bulletproof prints or exits.

Modules that take long to import are imported by the command that needs them: `bulletproof --help` answers at once.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence

import click

from harness import __version__
from harness.cli.cluster import cluster
from harness.cli.compare import compare
from harness.cli.gate import gate
from harness.cli.look import judge, list_, plan, report, validate
from harness.cli.naming import Nearest
from harness.cli.run import recover, run
from harness.errors import EXIT_ABORTED, EXIT_INVALID, EXIT_USAGE, BulletproofError, Interrupted

_EXIT_CODES = """\b
Exit codes:
  0 PASSED    every check holds
  1 FAILED    a check does not hold
  2 INVALID   the instrument cannot say
  3 ABORTED   stopped by the abort condition or a person, undone
  4 RESIDUE   something of a fault is left
  5 SKIPPED   the cluster lacks what the experiment requires
  64          a wrong file, name or option; nothing was touched
Of several runs the worst counts: RESIDUE, FAILED, ABORTED, INVALID, SKIPPED, PASSED."""


@click.group(
    cls=Nearest,
    epilog=_EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="bulletproof")
def cli() -> None:
    """Break an AI inference platform in a declared way, under load, and say whether its promise held.

    \b
    bulletproof run gpu-pod-kill        run a shipped experiment on the embedded sandbox
    bulletproof list experiments        what is shipped
    bulletproof run my/experiment.yaml  run your own
    """


for command in (run, plan, validate, judge, report, recover, compare, gate, cluster, list_):
    cli.add_command(command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the return value is the process exit code."""
    try:
        code = cli.main(args=arguments, prog_name="bulletproof", standalone_mode=False)
    except click.UsageError as error:
        error.show()
        return EXIT_USAGE
    except click.ClickException as error:
        error.show()
        return EXIT_USAGE
    except BulletproofError as error:
        click.echo(str(error), err=True)
        return error.exit_code
    except (KeyboardInterrupt, click.Abort, Interrupted):
        click.echo("Stopped.", err=True)
        return EXIT_ABORTED
    except BrokenPipeError:
        # `bulletproof judge … | head`: nobody reads on. The interpreter would complain once more while it shuts down.
        sys.stdout = None
        return EXIT_INVALID
    except Exception as error:  # noqa: BLE001 - Python's own exit code for a crash is 1, and 1 means FAILED
        from clusters.provider import ClusterError

        if isinstance(error, ClusterError):
            click.echo(str(error), err=True)
            return EXIT_INVALID
        traceback.print_exc()
        click.echo("This is a defect of Bulletproof; nothing can be concluded from it.", err=True)
        return EXIT_INVALID
    return code if isinstance(code, int) else 0
