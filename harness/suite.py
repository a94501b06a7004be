"""Several experiments in a row: suite files, one shared cluster, and the exit code of the whole.

title: Nightly
experiments:
- gpu-pod-kill                                # a shipped experiment by name, or a path beside this file
- {file: pod-latency.yaml, platform: healthy}
platform: healthy                             # for those that name none; optional
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field, ValidationError

from harness.errors import FileError, FileErrors
from harness.experiment import positions, shipped
from harness.experiment.fields import Strict
from harness.experiment.loader import load, no_such_experiment
from harness.experiment.model import Experiment
from harness.experiment.wrong import told
from harness.verdict import EXIT_CODES, SEVERITY, Verdict, VerdictName

if TYPE_CHECKING:
    from harness.run.progress import Progress


class _Entry(Strict):
    file: str = Field(min_length=1)
    platform: str | None = None


class _Suite(Strict):
    title: str = Field(min_length=1)
    description: str | None = None
    experiments: tuple[str | _Entry, ...] = Field(min_length=1)
    platform: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One experiment to run."""

    experiment: Experiment
    platform: str | None  # overlay to deploy; None: the experiment's or the cluster's default


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How one item ended, and where its files are."""

    item: Item
    run_dir: Path
    verdict: Verdict


def is_suite(path: Path) -> bool:
    """Whether a file lists experiments, instead of being one. Raises FileErrors for what is no YAML."""
    documents = positions.read(path)
    return len(documents) == 1 and isinstance(documents[0].data, dict) and "experiments" in documents[0].data


def collect(names: Sequence[str], *, platform: str | None = None) -> list[Item]:
    """The experiments of files, suites and names, in order. Raises UsageError with every error of every file.

    `platform` overrules what suites and experiments say.
    """
    items: list[Item] = []
    wrong: list[FileError] = []
    for name in names:
        path = shipped.find(name)
        try:
            found = _load_suite(path) if is_suite(path) else [Item(experiment=load(path), platform=None)]
        except FileErrors as error:
            wrong += error.errors
            continue
        items += [Item(experiment=item.experiment, platform=platform or item.platform) for item in found]
    if wrong:
        raise FileErrors(wrong)
    return items


def repeated(items: Sequence[Item], number: int) -> list[Item]:
    """Each item `number` times in a row, each time with a seed of its own: other targets, another schedule."""
    from harness.repeat import seeds

    return [
        Item(experiment=_with_seed(item.experiment, seed), platform=item.platform)
        for item in items
        for seed in seeds(item.experiment.bulletproof.load.seed, number)
    ]


def _with_seed(experiment: Experiment, seed: int) -> Experiment:
    block = experiment.bulletproof
    load_ = block.load.model_copy(update={"seed": seed})
    return experiment.model_copy(update={"bulletproof": block.model_copy(update={"load": load_})})


def run_items(
    items: Sequence[Item],
    *,
    cluster: str,
    cluster_config: Path | None = None,
    out: Path | None,
    command: str,
    image: str | None = None,
    locust_ui: int | None = None,
    progress: Progress,
    finish: Callable[[Path, Verdict], None],
    ended: Callable[[Outcome], None],
) -> list[Item]:
    """Run one after the other on one cluster; returns those not begun.

    `finish` writes a run's reports, `ended` hears of it. A run that left something behind spoils the cluster for the
    next, and one that was stopped is a person's or the abort condition's word: in both cases the rest is not begun.
    """
    from harness.run.options import RunOptions
    from harness.run.runner import run_experiment

    with shared_cluster(cluster, len(items), cluster_config) as name:
        _check_rights(items, name, cluster_config)
        for index, item in enumerate(items):
            folder = out
            if out is not None and len(items) > 1:
                folder = out / f"{index + 1:02d}-{Path(item.experiment.file).stem}"
            options = RunOptions(
                cluster=name,
                cluster_config=cluster_config,
                platform=item.platform,
                image=image,
                locust_ui=locust_ui,
                out=folder,
                command=command,
            )
            result = run_experiment(item.experiment, options, progress)
            finish(result.run_dir, result.verdict)
            ended(Outcome(item=item, run_dir=result.run_dir, verdict=result.verdict))
            if result.verdict.verdict in (VerdictName.RESIDUE, VerdictName.ABORTED):
                return list(items[index + 1 :])
    return []


def _check_rights(items: Sequence[Item], cluster: str, config: Path | None) -> None:
    """Before the first of several runs: a right that the last one lacks must not come up hours later."""
    from clusters.provider import ClusterError, provider_for
    from harness import rights
    from harness.errors import InvalidRun
    from harness.kube import Cluster

    provider = provider_for(cluster, config)
    if len(items) < 2 or provider.ephemeral:
        return  # a run asks for itself
    try:
        access = provider.up()
        found = Cluster.connect(access.kubeconfig, access.context)
    except (ClusterError, InvalidRun):
        return  # each run says so, and is recorded
    for item in items:
        rights.check(item.experiment, found, access)


@contextmanager
def shared_cluster(cluster: str, runs: int = 2, config: Path | None = None) -> Iterator[str]:
    """The name of a cluster that lives while this is open: one for all runs, where each would start its own.

    Any other cluster is used as it is. A single run brings its own cluster up and down itself.
    """
    from clusters.provider import provider_for

    provider = provider_for(cluster, config)
    if runs < 2 or not provider.ephemeral:
        yield cluster
        return
    provider = provider.lasting()
    access = provider.up()
    try:
        yield provider.name
    finally:
        provider.down(access)


def worst(verdicts: Sequence[VerdictName]) -> VerdictName:
    """The one that counts. None at all is INVALID: nothing passes by absence."""
    return next((name for name in SEVERITY if name in verdicts), VerdictName.INVALID)


def worst_exit_code(verdicts: Sequence[Verdict]) -> int:
    """The exit code of several runs."""
    return EXIT_CODES[worst([verdict.verdict for verdict in verdicts])]


def _load_suite(path: Path) -> list[Item]:
    document = positions.read(path)[0]
    try:
        suite = _Suite.model_validate(document.data)
    except ValidationError as error:
        raise FileErrors(told(error, _Suite, document)) from None
    items: list[Item] = []
    wrong: list[FileError] = []
    for index, given in enumerate(suite.experiments):
        entry = _Entry.model_validate({"file": given}) if isinstance(given, str) else given
        file = _member(path, entry.file)
        if file is None:
            wrong.append(no_such_experiment(document, ("experiments", index), entry.file))
            continue
        try:
            items.append(Item(experiment=load(file), platform=entry.platform or suite.platform))
        except FileErrors as error:
            wrong += error.errors
    if wrong:
        raise FileErrors(wrong)
    return items


def _member(suite: Path, name: str) -> Path | None:
    beside = suite.parent / name
    return beside if beside.is_file() else shipped.experiment_files().get(name)
