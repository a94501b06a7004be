"""`bulletproof run` and `bulletproof recover`: the commands that touch a cluster."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from clusters.provider import CLUSTERS, DEFAULT_CLUSTER, IMAGE_VARIABLE
from harness.cli import output
from harness.cli.naming import CLUSTER_CONFIG, IMAGE_HELP, check_cluster, check_platform
from harness.cli.quantities import SHARE
from harness.errors import EXIT_PASSED, UsageError

if TYPE_CHECKING:
    from harness.suite import Item, Outcome
    from harness.verdict import Verdict


@click.command(short_help="Run experiments: load, fault, undo, verdict, report.")
@click.argument("names", nargs=-1, required=True, metavar="FILE|SUITE...")
@click.option("--cluster", default=DEFAULT_CLUSTER, show_default=True, metavar="CLUSTER", help=f"{CLUSTERS}.")
@CLUSTER_CONFIG
@click.option(
    "--platform", metavar="NAME", help="Overlay of the reference platform to deploy; list: clusters/platform."
)
@click.option("--image", metavar="NAME", envvar=IMAGE_VARIABLE, help=IMAGE_HELP)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="The run's folder. Default: runs/RUN_ID.",
)
@click.option(
    "--repeat",
    type=click.IntRange(min=1),
    metavar="N",
    help="Run each N times, with other seeds, and judge the N as a whole.",
)
@click.option(
    "--pass-rate", type=SHARE, metavar="SHARE", help="With --repeat: show that this share passes. Default: all must."
)
@click.option(
    "--locust-ui",
    type=click.IntRange(0, 65535),
    is_flag=False,
    flag_value=8089,
    metavar="[PORT]",
    help="Show Locust's web UI on loopback while the load is on, to look at. Port: 8089; 0: any that is free.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the verdicts as JSON.")
def run(
    names: tuple[str, ...],
    cluster: str,
    cluster_config: Path | None,
    platform: str | None,
    image: str | None,
    locust_ui: int | None,
    out: Path | None,
    repeat: int | None,
    pass_rate: float | None,
    as_json: bool,
) -> int:
    """Run experiments: load, fault, observation, undo, verdict, report.

    FILE is an experiment or suite file, or the name of a shipped one. Several run one after the other on one cluster;
    what follows a run that left something behind, or that was stopped, is not begun. With several, DIR holds a folder
    for each, and an overview: index.html.

    With --repeat the exit code is that of the whole. One outage is one trial: only repeats say how often the platform
    recovers. N runs that all pass show a pass rate of at least 0.05^(1/N), at 95 %: 10 runs 74 %, 29 runs 90 %.

    \b
    Examples:
      bulletproof run gpu-pod-kill
      bulletproof run gpu-pod-kill --platform single-replica
      bulletproof run my/drain.yaml --cluster context:staging --out runs/drain
      bulletproof run nightly --json
      bulletproof run gpu-pod-kill --repeat 10 --out runs/repeats
    """
    from harness import suite

    check_cluster(cluster, cluster_config)
    check_platform(platform)
    _check_repeats(repeat, pass_rate)
    experiments = suite.collect(names, platform=platform)
    items = suite.repeated(experiments, repeat or 1)
    progress = output.progress_for(as_json)
    command = shlex.join(["bulletproof", *sys.argv[1:]])
    outcomes: list[suite.Outcome] = []

    def ended(outcome: suite.Outcome) -> None:
        outcomes.append(outcome)
        if not as_json:
            output.print_verdict(outcome.verdict, outcome.run_dir)

    try:
        left_out = suite.run_items(
            items,
            cluster=cluster,
            cluster_config=cluster_config,
            out=out,
            command=command,
            image=image,
            locust_ui=locust_ui,
            progress=progress,
            finish=output.write_reports,
            ended=ended,
        )
    finally:
        progress.close()
    verdicts = [outcome.verdict for outcome in outcomes]
    wholes = verdicts if repeat is None else _judge_wholes(outcomes, len(experiments), repeat, pass_rate)
    overview = output.write_overview(out or Path("runs"), verdicts) if len(items) > 1 else None
    if as_json:
        output.print_json(
            {
                "exit_code": suite.worst_exit_code(wholes),
                "runs": [output.verdict_json(outcome.verdict, outcome.run_dir) for outcome in outcomes],
                "repeats": [] if repeat is None else [output.to_dict(whole) for whole in wholes],
                "not_begun": [item.experiment.file for item in left_out],
                "overview": None if overview is None else str(overview),
            }
        )
    else:
        if len(items) > 1:
            _print_suite(outcomes, left_out)
        for whole in wholes if repeat is not None else ():
            click.echo()
            output.print_verdict(whole)
        if overview is not None:
            click.echo(f"Overview {output.short(overview)}")
    summary = overview.parent / "summary.md" if overview is not None else outcomes[0].run_dir / "summary.md"
    summaries = [] if repeat is None else [output.markdown(whole) for whole in wholes]
    output.tell_github(wholes, [*summaries, summary.read_text(encoding="utf-8")])
    return suite.worst_exit_code(wholes)


def _check_repeats(repeat: int | None, pass_rate: float | None) -> None:
    """Before anything runs: what so many runs cannot show in the best case is not begun."""
    if pass_rate is None:
        return
    from harness.repeat import runs_needed

    if repeat is None:
        raise UsageError("--pass-rate says nothing without --repeat.", hint="One run is one trial; add --repeat N.")
    needed = runs_needed(pass_rate)
    if repeat < needed:
        raise UsageError(
            f"{repeat} runs cannot show that {pass_rate:.0%} pass, even if all do.", hint=f"It takes --repeat {needed}."
        )


def _judge_wholes(outcomes: list[Outcome], experiments: int, repeat: int, pass_rate: float | None) -> list[Verdict]:
    """A verdict for the repeats of each experiment that was begun. The runs come in order, `repeat` of each."""
    from harness.repeat import judge_repeats

    groups = [outcomes[index * repeat : (index + 1) * repeat] for index in range(experiments)]
    return [judge_repeats([outcome.run_dir for outcome in group], pass_rate=pass_rate) for group in groups if group]


def _print_suite(outcomes: list[Outcome], left_out: list[Item]) -> None:
    for outcome in outcomes:
        click.echo(
            f"{outcome.verdict.verdict.value:<8} {outcome.item.experiment.title}  {output.short(outcome.run_dir)}"
        )
    for item in left_out:
        click.echo(
            f"{'-':<8} {item.experiment.title}  not begun: the run before it was stopped or left something behind"
        )


@click.command(short_help="Finish runs that died: undo, judge, report.")
@click.option(
    "--kubeconfig", type=click.Path(path_type=Path, dir_okay=False, exists=True), help="Look into this cluster too."
)
@click.option("--context", metavar="NAME", help="Context of that kubeconfig.")
@CLUSTER_CONFIG
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="For runs whose folder is not on this machine.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the verdicts as JSON.")
def recover(
    kubeconfig: Path | None, context: str | None, cluster_config: Path | None, out: Path | None, as_json: bool
) -> int:
    """Finish runs that died: undo what they left, judge what they recorded, write the reports.

    Without options: the runs of this machine that were killed. With a kubeconfig: dead runs of any machine, whose undo
    is written down in the cluster.

    \b
    Examples:
      bulletproof recover
      bulletproof recover --kubeconfig ~/.kube/config --context staging
    """
    from harness.run.recover import recover as recover_runs
    from harness.suite import worst_exit_code

    results = recover_runs(kubeconfig, context, out, cluster_config)
    verdicts: list[Verdict] = []
    for result in results:
        output.write_reports(result.run_dir, result.verdict)
        verdicts.append(result.verdict)
        if not as_json:
            output.print_verdict(result.verdict, result.run_dir)
    if as_json:
        runs = [output.verdict_json(result.verdict, result.run_dir) for result in results]
        output.print_json({"exit_code": worst_exit_code(verdicts) if verdicts else EXIT_PASSED, "runs": runs})
    elif not verdicts:
        click.echo("There is no dead run.")
    return worst_exit_code(verdicts) if verdicts else EXIT_PASSED
