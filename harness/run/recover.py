"""Finish runs that died: undo what they left, note that they were killed, judge what they had recorded.

A dead run is found in two places: this machine's list of active runs (`active.py`), and the journals in a cluster
that is named. Either is enough: the first knows the run's folder and its own cluster, the second needs nothing but the
kubeconfig.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

from clusters.provider import Access, ClusterError, node_commands, provider_for
from harness.errors import BulletproofError, InvalidRun
from harness.history.records import Note, Phase, PhaseStart, Snapshot, Stop
from harness.history.writer import Recorder
from harness.kube import Cluster, Unreachable
from harness.run import active
from harness.run.options import RunResult
from harness.run.picture import read_picture, record_differences
from harness.undo.recover_entries import DeadRun, from_folder, is_of, pending, take_over
from harness.verdict import CheckKind, CheckResult, Verdict, VerdictName


def recover(
    kubeconfig: Path | None, context: str | None, out: Path | None, cluster_config: Path | None = None
) -> list[RunResult]:
    """Finish every dead run there is; oldest first. Raises InvalidRun when a named cluster cannot be reached."""
    results = [_finish_known(run) for run in active.dead_runs()]
    if kubeconfig is not None or context is not None:
        # The commands that start nodes are never those of the journal: anybody who may write a ConfigMap could put a
        # command of theirs into it.
        commands = node_commands(kubeconfig, context, cluster_config)
        cluster = Cluster.connect(kubeconfig, context, node_commands=commands)
        results += [_finish_foreign(cluster, dead, out) for dead in pending(cluster)]
    return results


def _finish_known(run: active.ActiveRun) -> RunResult:
    """A run of this machine: its folder is here, unless another run has it by now."""
    run_dir = Path(run.run_dir)
    if not is_of(run_dir, run.run_id):
        run_dir = _folder_for(run.run_id, None)
    run_dir.mkdir(parents=True, exist_ok=True)
    access = active.access_from_json(run.access)
    residues: list[str] = []
    with Recorder(run_dir) as recorder:
        recorder.record(Stop(t_ns=time.monotonic_ns(), reason="killed", detail=f"process {run.pid} is gone"))
        recorder.record(PhaseStart(t_ns=time.monotonic_ns(), phase=Phase.ROLLBACK))
        try:
            cluster = Cluster.connect(access.kubeconfig, access.context, node_commands=access.node_commands)
            dead = _dead_run(cluster, run)
            if dead is not None:
                residues = _undo(cluster, dead, run_dir, recorder)
            _compare(cluster, run_dir, recorder)
        except (BulletproofError, FileNotFoundError) as error:
            residues = _unless_gone(access, run, recorder, error)
        recorder.record(PhaseStart(t_ns=time.monotonic_ns(), phase=Phase.END))
    if access.ephemeral:
        _take_down(access, run)
    if not residues:
        active.forget(run.run_id)
    return RunResult(run_dir=run_dir, verdict=_judge(run_dir, run.run_id, residues))


def _dead_run(cluster: Cluster, run: active.ActiveRun) -> DeadRun | None:
    found = [dead for dead in pending(cluster, run.namespace) if dead.run_id == run.run_id]
    return found[0] if found else from_folder(Path(run.run_dir), run.run_id, run.namespace)


def _undo(cluster: Cluster, dead: DeadRun, run_dir: Path, recorder: Recorder) -> list[str]:
    journal = take_over(cluster, dead, run_dir)
    try:
        residues = journal.undo_all(recorder.record)
    finally:
        left = journal.close()
    return [str(residue) for residue in (*residues, *left)]


def _compare(cluster: Cluster, run_dir: Path, recorder: Recorder) -> None:
    picture = read_picture(run_dir)
    if picture is not None:
        record_differences(picture, cluster, recorder.record)


def _unless_gone(access: Access, run: active.ActiveRun, recorder: Recorder, error: Exception) -> list[str]:
    """What could not be undone: nothing, where the run's own cluster is gone with everything that was in it."""
    if access.ephemeral and isinstance(error, Unreachable | FileNotFoundError):
        text = f"the run's own cluster {access.name} is gone, and the fault with it"
        recorder.record(Note(t_ns=time.monotonic_ns(), text=text))
        recorder.record(Snapshot(t_ns=time.monotonic_ns(), moment="after", differences=(), objects=0))
        return []
    recorder.record(Note(t_ns=time.monotonic_ns(), text=f"recover: {error}", level="warning"))
    return [f"run {run.run_id}: {error}"]


def _take_down(access: Access, run: active.ActiveRun) -> None:
    try:
        provider_for(run.cluster).down(access)
    except ClusterError as error:
        raise InvalidRun(error.message, hint=error.hint) from error


def _finish_foreign(cluster: Cluster, dead: DeadRun, out: Path | None) -> RunResult:
    """A run of another machine, or one whose list entry is lost: the cluster's journal is all there may be."""
    run_dir = dead.run_dir or _folder_for(dead.run_id, out)
    run_dir.mkdir(parents=True, exist_ok=True)
    with Recorder(run_dir) as recorder:
        recorder.record(Stop(t_ns=time.monotonic_ns(), reason="killed", detail="found in the cluster"))
        recorder.record(PhaseStart(t_ns=time.monotonic_ns(), phase=Phase.ROLLBACK))
        residues = _undo(cluster, dead, run_dir, recorder)
        _compare(cluster, run_dir, recorder)
        recorder.record(PhaseStart(t_ns=time.monotonic_ns(), phase=Phase.END))
    if not residues:
        active.forget(dead.run_id)
    return RunResult(run_dir=run_dir, verdict=_judge(run_dir, dead.run_id, residues))


def _folder_for(run_id: str, out: Path | None) -> Path:
    return (out or Path("runs")) / f"recovered-{run_id}"


def _judge(run_dir: Path, run_id: str, residues: list[str]) -> Verdict:
    """From the folder, where the run's own is here; else only the undo can be spoken of."""
    from harness.judge import judge

    if (run_dir / "experiment.yaml").exists() and (run_dir / "run.json").exists():
        return judge(run_dir)
    ended = VerdictName.RESIDUE if residues else VerdictName.ABORTED
    why = "; ".join(residues) if residues else "the run was killed; what it had done is undone and verified"
    check = CheckResult(
        name="undo_verified",
        kind=CheckKind.INSTRUMENT,
        verdict=ended,
        expected="every undo of the dead run verified",
        seen=why,
        why=why,
        hint="its requests and events are in the run's folder on the machine that ran it",
    )
    run = {"run_id": run_id, "format": 1, "recovered": True}
    (run_dir / "run.json").write_text(json.dumps(run, indent=2) + "\n", encoding="utf-8")
    return Verdict(run_id=run_id, title=f"recovered {run_id}", verdict=ended, why=why, checks=(check,), environment=run)
