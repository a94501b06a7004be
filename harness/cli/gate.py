"""`bulletproof gate`: may this release go out, by the reports there are?"""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli import output


@click.command(short_help="Decide on a release from recorded runs.")
@click.argument("run_dirs", nargs=-1, type=click.Path(path_type=Path), metavar="RUN_DIR...")
@click.option(
    "--policy", required=True, type=click.Path(path_type=Path, dir_okay=False, exists=True), help="What must be there."
)
@click.option("--json", "as_json", is_flag=True, help="Print the decision as JSON.")
@click.option(
    "--junit", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write it as JUnit XML too."
)
def gate(run_dirs: tuple[Path, ...], policy: Path, as_json: bool, junit: Path | None) -> int:
    """Decide on a release from recorded runs. Each is judged again from its files; its verdict.json is not trusted.

    RUN_DIR is a run's folder, or a folder of such. What the policy asks for and is missing, too old, altered, or from
    another kind of cluster fails the gate. In GitHub Actions the step summary is written as well.

    \b
    Example:
      bulletproof gate runs/ --policy gate.yaml --junit gate.xml
    """
    from harness import gate as gating
    from harness.cli import gate_output
    from harness.policy import load_policy

    decision = gating.decide(run_dirs, load_policy(policy))
    if junit is not None:
        junit.write_text(gate_output.junit(decision), encoding="utf-8")
    gate_output.write_step_summary(decision)
    if as_json:
        output.print_json(gate_output.to_json(decision))
    else:
        click.echo(gate_output.text(decision))
    return decision.exit_code
