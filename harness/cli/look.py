"""The commands that look and touch nothing: plan, validate, judge, report, list."""

from __future__ import annotations

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from clusters.provider import CLUSTERS, DEFAULT_CLUSTER
from harness.cli import output
from harness.cli.naming import CLUSTER_CONFIG, Nearest, check_cluster, check_platform
from harness.errors import EXIT_PASSED, EXIT_USAGE, FileErrors, UsageError


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Loading and judging leave no garbage worth looking for: that took a fifth of judging a million requests."""
    enabled = gc.isenabled()
    gc.disable()
    atexit.register(gc.freeze)  # nor when the process ends: all of it goes then
    try:
        yield
    finally:
        if enabled:
            gc.enable()


_RUN_DIR = click.Path(path_type=Path, exists=True, file_okay=False)


@click.command(short_help="Check files; every error at once, with its line.")
@click.argument("names", nargs=-1, required=True, metavar="FILE...")
@click.option("--json", "as_json", is_flag=True, help="Print the errors as JSON.")
def validate(names: tuple[str, ...], as_json: bool) -> int:
    """Check experiment and suite files, and tell every error at once with its line.

    Needs no cluster. `chaos validate` accepts what this accepts.

    \b
    Examples:
      bulletproof validate my/experiment.yaml
      bulletproof validate experiments/*.yaml --json
    """
    from harness import suite
    from harness.experiment import contradictions, shipped

    files = []
    valid = True
    for name in names:
        path = shipped.find(name)
        errors: list[dict[str, object]] = []
        warnings: list[str] = []
        try:
            for item in suite.collect([str(path)]):
                warnings += [
                    f"{item.experiment.file}: {warning}" for warning in contradictions.warnings(item.experiment)
                ]
        except FileErrors as error:
            valid = False
            for one in error.errors:
                errors.append(
                    {"file": one.file, "line": one.line, "field": one.field, "message": one.message, "hint": one.hint}
                )
                if not as_json:
                    click.echo(str(one))
        files.append({"file": str(path), "valid": not errors, "errors": errors, "warnings": warnings})
        if not as_json:
            for warning in warnings:
                click.echo(f"warning: {warning}")
            if not errors:
                click.echo(f"{path}: valid")
    if as_json:
        output.print_json({"valid": valid, "files": files})
    return EXIT_PASSED if valid else EXIT_USAGE


@click.command(short_help="Show what a run would touch. Changes nothing.")
@click.argument("name", metavar="FILE")
@click.option("--cluster", default=DEFAULT_CLUSTER, show_default=True, metavar="CLUSTER", help=f"{CLUSTERS}.")
@CLUSTER_CONFIG
@click.option(
    "--platform", metavar="NAME", help="Overlay that a run would deploy; only where the cluster is of its own."
)
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
def plan(name: str, cluster: str, cluster_config: Path | None, platform: str | None, as_json: bool) -> int:
    """Show what a run would touch and how it would be undone. Changes nothing.

    With --cluster sandbox the platform is deployed on a sandbox that ends with this command; any other cluster is only
    read.

    \b
    Examples:
      bulletproof plan gpu-pod-kill
      bulletproof plan my/drain.yaml --cluster context:staging
    """
    from harness.experiment import contradictions, loader, shipped

    check_cluster(cluster, cluster_config)
    check_platform(platform)
    experiment = loader.load(shipped.find(name))
    from harness import plan as planning

    planned = planning.look(experiment, cluster, platform, cluster_config)
    if as_json:
        output.print_json(planned.to_json())
    else:
        for warning in contradictions.warnings(experiment):
            click.echo(f"warning: {warning}")
        click.echo(planned.text())
    return planned.exit_code


@click.command(short_help="Judge a recorded run again.")
@click.argument("run_dir", type=_RUN_DIR)
@click.option("--json", "as_json", is_flag=True, help="Print the verdict as JSON.")
def judge(run_dir: Path, as_json: bool) -> int:
    """Judge a recorded run again. Reads RUN_DIR, writes nothing, touches no cluster.

    \b
    Example:
      bulletproof judge runs/20261121-101112-gpu-pod-kill-3f2a
    """
    _recorded(run_dir)
    with _no_garbage_collection():
        from harness.judge import judge as judge_run

        verdict = judge_run(run_dir)
    if as_json:
        output.print_json(output.verdict_json(verdict, run_dir))
    else:
        output.print_verdict(verdict, run_dir)
    return verdict.exit_code


@click.command(short_help="Write the reports of a recorded run again.")
@click.argument("run_dir", type=_RUN_DIR)
@click.option("--json", "as_json", is_flag=True, help="Print the paths of the reports as JSON.")
def report(run_dir: Path, as_json: bool) -> int:
    """Judge a recorded run again and write its reports again. Touches no cluster.

    The exit code is 0 when they are written, whatever the verdict is; it is for `judge` and `gate` to tell.

    \b
    Example:
      bulletproof report runs/20261121-101112-gpu-pod-kill-3f2a
    """
    _recorded(run_dir)
    with _no_garbage_collection():
        from harness.judge import judge as judge_run

        verdict = judge_run(run_dir)
    written = output.rewrite_reports(run_dir, verdict)
    if as_json:
        output.print_json({kind: str(path) for kind, path in written.items()})
    else:
        for path in written.values():
            click.echo(output.short(path))
    return EXIT_PASSED


@click.group(name="list", cls=Nearest)
def list_() -> None:
    """List what there is.

    \b
    Example:
      bulletproof list experiments
    """


_JSON = click.option("--json", "as_json", is_flag=True, help="Print as JSON.")


@list_.command("experiments")
@_JSON
def list_experiments(as_json: bool) -> int:
    """The experiments and suites that come with Bulletproof.

    \b
    Example:
      bulletproof list experiments --json
    """
    from harness.experiment import shipped

    rows = [
        {"name": name, "kind": "suite", "title": shipped.title(path), "file": str(path)}
        for name, path in shipped.suite_files().items()
    ]
    rows = [
        {"name": name, "kind": "experiment", "title": shipped.title(path), "file": str(path)}
        for name, path in shipped.experiment_files().items()
    ] + rows
    _print_rows(rows, as_json)
    return EXIT_PASSED


@list_.command("runs")
@click.argument("folder", default="runs", type=click.Path(path_type=Path, file_okay=False), metavar="[DIR]")
@_JSON
def list_runs(folder: Path, as_json: bool) -> int:
    """The recorded runs in DIR (default: runs), the newest first, each with the verdict that was written.

    \b
    Example:
      bulletproof list runs
    """
    from harness.cli.folders import recorded_runs

    rows = recorded_runs(folder)
    if as_json:
        output.print_json(rows)
        return EXIT_PASSED
    if not rows:
        click.echo(f"There are no runs in {folder}.", err=True)
    width = max((len(row["name"]) for row in rows), default=0)
    for row in rows:
        where = "" if Path(row["run_dir"]).name == row["name"] else f"  {output.short(Path(row['run_dir']))}"
        click.echo(f"{row['verdict']:<8} {row['name']:<{width}}  {row['age']}{where}")
    return EXIT_PASSED


@list_.command("faults")
@_JSON
def list_faults(as_json: bool) -> int:
    """The faults: functions of harness.faults for an experiment's method.

    \b
    Example:
      bulletproof list faults
    """
    from harness.experiment.activities import signatures

    rows = [{"name": name, "kind": signature, "title": doc} for name, signature, doc in signatures("harness.faults")]
    _print_rows(rows, as_json)
    return EXIT_PASSED


@list_.command("checks")
@_JSON
def list_checks(as_json: bool) -> int:
    """The checks that lead to a verdict, and which field of an experiment asks for each.

    \b
    Example:
      bulletproof list checks
    """
    from harness.checks import catalogue

    _print_rows([{"name": one.name, "kind": one.kind.value, "title": one.says} for one in catalogue()], as_json)
    return EXIT_PASSED


def _print_rows(rows: list[dict[str, str]], as_json: bool) -> None:
    if as_json:
        output.print_json(rows)
        return
    width = max((len(row["name"]) for row in rows), default=0)
    for row in rows:
        note = f" ({row['kind']})" if row["kind"] == "suite" else ""
        click.echo(f"{row['name']:<{width}}  {row['title']}{note}")
        if row["kind"].startswith("("):
            click.echo(f"{'':<{width}}  {row['name']}{row['kind']}")


def _recorded(run_dir: Path) -> None:
    if not (run_dir / "run.json").is_file():
        raise UsageError(
            f"{run_dir} is no run's folder: it has no run.json.", hint="Name the folder that `bulletproof run` wrote."
        )
