"""One run from an experiment to a verdict.

Every way out of here leads through the same door: undo, stop the load, judge, hand back a verdict. What goes wrong on
the way is written into the history as a Stop, and the judge says from the files what that means.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clusters.provider import IMAGE, Access, ClusterError, Provider, provider_for
from harness import rights
from harness.errors import BulletproofError, Interrupted, InvalidRun, Skipped, UsageError
from harness.experiment.companions import copy_into
from harness.experiment.model import Experiment
from harness.history.records import LOAD_UNDO, Phase, Snapshot, Stop
from harness.history.writer import Recorder
from harness.kube import Cluster
from harness.run import active, earlier_run, environment, load_place
from harness.run.abort import AbortConditionMet, AbortWatch
from harness.run.account import Account
from harness.run.load_link import LoadLink, OnLine
from harness.run.load_pods import InCluster, LoadPods
from harness.run.load_process import LoadProcess
from harness.run.load_standby import Standby
from harness.run.log import logged_to
from harness.run.method import Activities, chaosk8s_pointed_at
from harness.run.observer import Observer
from harness.run.offering import Offering, load_config
from harness.run.options import RunOptions, RunResult
from harness.run.picture import write_picture
from harness.run.progress import Progress
from harness.run.rollback import roll_back
from harness.run.signals import Signals


def run_experiment(experiment: Experiment, options: RunOptions, progress: Progress) -> RunResult:
    """Run and judge. Raises UsageError only before anything was touched; every other ending is a verdict."""
    from harness.judge import judge

    provider = provider_for(options.cluster, options.cluster_config)
    run_id = environment.new_run_id(experiment)
    run_dir = (options.out or Path("runs") / run_id).resolve()
    run_dir.mkdir(parents=True, exist_ok=True)
    if any(run_dir.iterdir()):
        raise _not_empty(run_dir)
    copy_into(experiment, run_dir)
    with logged_to(run_dir), Recorder(run_dir) as recorder:
        run = _Run(experiment, options, progress, provider, run_id, run_dir, recorder)
        run.go()
    verdict = judge(run_dir)
    if provider.tracks_connections:
        earlier_run.remember(options.cluster, verdict)
    return RunResult(run_dir=run_dir, verdict=verdict)


def _not_empty(run_dir: Path) -> BulletproofError:
    return UsageError(f"{run_dir} is not empty", hint="a run needs a folder of its own: name another one with --out")


class _Run:
    """The state of one run. Whatever ends it is a Stop in the history, undone first."""

    def __init__(
        self,
        experiment: Experiment,
        options: RunOptions,
        progress: Progress,
        provider: Provider,
        run_id: str,
        run_dir: Path,
        recorder: Recorder,
    ) -> None:
        self._experiment = experiment
        self._spec = experiment.bulletproof
        self._options = options
        self._progress = progress
        self._provider = provider
        self._run_id = run_id
        self._run_dir = run_dir
        description = environment.describe_run(
            run_id, experiment, platform_name=options.platform or self._spec.platform, command=options.command
        )
        self._account = Account(run_dir, description, recorder, progress)
        self._signals = Signals(self._on_signal)
        self._abort = AbortWatch(self._spec.abort_when) if self._spec.abort_when else None
        self._standby: Standby
        self._load: Offering | None = None
        self._undoing = False
        self._residues: list[str] = []

    def go(self) -> None:
        """Run all phases; the history is complete and closed after this. Raises UsageError: nothing was touched."""
        self._account.describe()
        self._account.anchor()
        with self._signals:
            try:
                with contextlib.closing(Standby(self._spec, self._run_dir)) as self._standby:
                    self._with_cluster()
            except AbortConditionMet as error:
                self._account.stopped("abort-condition", f"availability was {error}")
            except Interrupted as error:
                self._account.stopped("interrupted", str(error))
            except Skipped as error:
                self._account.stopped("skipped", str(error))
            except (InvalidRun, ClusterError) as error:
                self._account.stopped("invalid", str(error))
            except UsageError as error:
                # Nothing was touched: there is nothing to judge, and the caller is told by the exception.
                self._account.record(Stop(t_ns=time.monotonic_ns(), reason="error", detail=str(error)))
                raise
            except BulletproofError as error:
                self._account.stopped("error", str(error))
            except Exception as error:
                # A defect of ours must not cost the user the report of what happened.
                logging.getLogger(__name__).exception("the run broke off")
                self._account.stopped("error", f"{type(error).__name__}: {error} (the traceback stands in log.txt)")
        self._account.anchor()

    # -- the layers: cluster, journal, load ---------------------------------------------------------------------------

    def _with_cluster(self) -> None:
        self._account.phase(Phase.PREPARE, None)
        began = time.monotonic()
        access = self._provider.up()
        self._progress.note(f"cluster {access.name} is up ({time.monotonic() - began:.1f} s)")
        try:
            self._remember(access)
            cluster = Cluster.connect(access.kubeconfig, access.context, node_commands=access.node_commands)
            rights.check(self._experiment, cluster, access)
            platform = self._options.platform or self._spec.platform or access.default_platform
            self._account.describe(platform=platform)
            self._check_interrupted()
            if platform is not None:
                self._provider.deploy(access, platform, self._deploying, self._options.image)
                self._progress.note(f"platform {platform} is ready ({time.monotonic() - began:.1f} s)")
            self._check_interrupted()
            self._with_journal(access, cluster)
        finally:
            # What the run brought up it takes down; residue in a cluster that is gone is no residue.
            if access.ephemeral:
                self._provider.down(access)
            if access.ephemeral or not self._residues:
                active.forget(self._run_id)

    def _with_journal(self, access: Access, cluster: Cluster) -> None:
        from harness import faults, plan
        from harness.undo.journal import Journal
        from harness.undo.snapshot import Snapshot as Picture

        workload = self._spec.workload
        missing = [word for word in self._spec.requires if word not in access.offers]
        if missing:
            raise Skipped(_not_offered(access, missing))
        nodes = rights.strikes_or_reads_nodes(self._experiment)
        self._account.describe(cluster=environment.describe_cluster(access, cluster, nodes=nodes))
        planned = plan.make_plan(self._experiment, cluster, access)
        (self._run_dir / "plan.json").write_text(json.dumps(planned.to_json(), indent=2) + "\n", encoding="utf-8")
        observer = Observer(cluster, workload.namespace, self._account.record, nodes=nodes)
        observer.start()
        picture = Picture.of(cluster, workload.namespace, nodes=nodes)
        write_picture(self._run_dir, picture)
        self._account.record(Snapshot(t_ns=time.monotonic_ns(), moment="before", objects=len(picture.objects)))
        try:
            with Journal.open(self._run_dir, cluster, workload.namespace, self._run_id) as journal:
                context = faults.FaultContext(
                    cluster=cluster,
                    namespace=workload.namespace,
                    selector=workload.selector,
                    service=workload.service,
                    journal=journal,
                    record=self._account.record,
                    rng=random.Random(self._spec.load.seed),
                    blast_radius=self._spec.blast_radius,
                    deadline_ns=0,
                    run_dir=self._run_dir,
                    image=self._options.image or IMAGE,
                    interrupted=self._signals.interrupted,
                )
                try:
                    with faults.use(context), chaosk8s_pointed_at(access.kubeconfig, access.context):
                        try:
                            faults.prepare(self._experiment, context)
                            self._under_load(access, context, journal, cluster, picture, planned)
                        except BaseException:
                            # Whatever ended the run before its rollback phase: undo first, then let it be told.
                            if not self._undoing:
                                self._rollback(context, journal, cluster, picture)
                            raise
                finally:
                    self._end_load(journal)
        finally:
            observer.stop()

    def _under_load(self, access: Access, context: Any, journal: Any, cluster: Any, picture: Any, planned: Any) -> None:
        phases = self._spec.phases
        load, start_ns = self._start_load(access, cluster, journal, planned)
        context.load_host = str(load.config["host"])
        self._account.phase(Phase.BASELINE, start_ns + phases.baseline_ns, at_ns=start_ns)
        self._wait_until(start_ns + phases.baseline_ns)
        load.check_baseline(min(slo.target for slo in self._experiment.slos))

        self._account.phase(Phase.FAULT, time.monotonic_ns() + phases.fault_limit_ns)
        context.deadline_ns = time.monotonic_ns() + phases.fault_limit_ns
        activities = Activities(self._experiment, self._account.record, self._signals.interrupted)
        succeeded = activities.run("method", phases.fault_limit_ns / 1e9, self._check_running)
        if not succeeded:
            raise InvalidRun(
                "an activity of the method failed", hint="its error stands in the evidence; nothing was concluded"
            )

        self._account.phase(Phase.RECOVER, time.monotonic_ns() + phases.recover_ns)
        self._wait_until(time.monotonic_ns() + phases.recover_ns)
        journal.refuse_lost()

        self._rollback(context, journal, cluster, picture)
        end_ns = time.monotonic_ns() + phases.settle_ns
        self._account.phase(Phase.SETTLE, end_ns)
        load.foresee_stop(end_ns)
        self._wait_until(end_ns)

    def _rollback(self, context: Any, journal: Any, cluster: Any, picture: Any) -> None:
        self._undoing = True
        self._account.phase(Phase.ROLLBACK, None)
        roll_back(self._experiment, context, journal, cluster, picture, self._account, self._residues)

    # -- load ---------------------------------------------------------------------------------------------------------

    def _start_load(self, access: Access, cluster: Cluster, journal: Any, planned: Any) -> tuple[Offering, int]:
        place = load_place.choose(self._experiment, self._provider, access, cluster, planned)
        config = load_config(self._experiment, place, self._run_dir, web_ui=self._options.locust_ui)
        if place.inside and self._options.locust_ui is not None:
            self._account.note("Locust's web UI is not shown: the load is in the cluster", "warning")
        about = load_place.described(place)
        where = f"from {about['from']}" + (f" ({place.why})" if place.why else "")
        self._progress.note(f"load {where} to {about['target']}")

        def link(on_line: OnLine) -> LoadLink:
            if not place.inside:
                return LoadProcess(config, self._run_dir, on_line, self._joined_at(config), self._standby)
            pods = InCluster(
                cluster=cluster,
                namespace=self._spec.workload.namespace,
                run_id=self._run_id,
                image=self._options.image or IMAGE,
                avoid=place.avoid,
                journal=journal,
                record=self._account.record,
            )
            return LoadPods(config, self._run_dir, on_line, pods, self._signals.interrupted)

        if place.inside:
            self._standby.close()
        elif (left_ns := earlier_run.left_ns(self._options.cluster)) > 0:
            self._progress.note(
                f"waiting {left_ns / 1e9:.0f} s: an earlier run's unanswered connections still mislead new ones"
            )
            self._wait_until(time.monotonic_ns() + left_ns)
        load = Offering(link, self._account.record, self._progress, self._abort)
        self._load = load
        ready, start_ns = load.start(self._signals.interrupted)
        about |= {"users": config["users"], "scheduler": ready.get("scheduler")}
        workers = ready.get("workers")
        self._account.describe(load={**about, "workers": workers} if workers else about)
        of = f" of {len(workers)} workers" if workers else ""
        self._progress.note(f"load: {config['users']} users{of} connected ({ready.get('scheduler')})")
        return load, start_ns

    def _joined_at(self, config: dict[str, Any]) -> str | None:
        join = self._spec.load.join
        if join is not None:
            self._progress.note(f"load: waiting for {config['workers']} times: python -m loadtests --worker {join}")
        return join

    def _end_load(self, journal: Any) -> None:
        """Every request is on record, and of the load nothing is left."""
        if self._load is not None:
            stop_ns = time.monotonic_ns()
            self._account.phase(Phase.END, None, at_ns=stop_ns)
            self._load.stop(stop_ns)
        if (residue := journal.undo(LOAD_UNDO, self._account.record)) is not None:
            self._residues.append(str(residue))
            self._progress.note(f"LEFT BEHIND: {residue}")

    # -- waiting ------------------------------------------------------------------------------------------------------

    def _wait_until(self, end_ns: int) -> None:
        while (left_ns := end_ns - time.monotonic_ns()) > 0:
            self._signals.interrupted.wait(min(0.1, left_ns / 1e9))
            self._check_running()

    def _check_running(self) -> None:
        self._check_interrupted()
        if self._load is not None:
            # Once the undo has begun the condition has nothing left to stop.
            if self._load.abort_reached and not self._undoing:
                raise AbortConditionMet(self._spec.abort_when.availability if self._spec.abort_when else "")
            self._load.check()

    def _deploying(self, text: str) -> None:
        self._progress.note(text)
        self._check_interrupted()

    def _check_interrupted(self) -> None:
        if self._signals.interrupted.is_set():
            raise Interrupted(self._signals.name or "interrupt")

    def _on_signal(self, name: str, count: int) -> None:
        if count == 1:
            self._progress.note(f"{name}: undoing, then writing the reports")
        else:
            self._progress.note(
                f"{name} again: the undo is under way; after kill -9, `bulletproof recover` finishes it"
            )

    def _remember(self, access: Access) -> None:
        active.remember(
            active.ActiveRun(
                run_id=self._run_id,
                run_dir=str(self._run_dir),
                cluster=self._options.cluster,
                access=active.access_to_json(access),
                namespace=self._spec.workload.namespace,
                pid=os.getpid(),
                pid_started=active.process_started(os.getpid()),
            )
        )


def _not_offered(access: Access, missing: Sequence[str]) -> str:
    """What the experiment requires in vain, and how it could be had."""
    text = f"the cluster {access.name} does not offer {', '.join(missing)}"
    if "node-stop" not in missing:
        return text
    return f"{text}: the API has no verb for it; name a node_stop and a node_start in its file (docs/clusters.md)"
