"""May a release go out, by the runs there are? A policy says which must be there; nothing passes by absence.

    title: Release gate of the detector
    max_age: 24h                     # of every run, unless an experiment says otherwise
    cluster: [context:staging]       # where runs count: sandbox, context, or one cluster by its full name
    experiments:
    - gpu-pod-kill                   # a shipped experiment by name, or a file beside this policy
    - {file: my/drain.yaml, max_age: 7d, runs: 3, platform: healthy, verdicts: [PASSED]}

Of each experiment the newest runs count, never an older one that was better. Each is judged again from its history; its
verdict.json is not read. A run counts for an experiment only when its own copies of the experiment file, the SLO files
and the golden answers are, byte for byte, those that the policy means: a weakened promise is another promise.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness import units
from harness.errors import EXIT_FAILED, EXIT_INVALID, EXIT_PASSED, BulletproofError, FileError, FileErrors
from harness.experiment import positions, shipped
from harness.experiment.loader import golden_path, load
from harness.experiment.model import DurationNs, Experiment
from harness.experiment.wrong import nearest, told
from harness.verdict import Verdict, VerdictName

_FUTURE_NS = 300 * units.NS_PER_S  # clocks of two machines may differ by this; more is a run from the future


class Ruling(StrEnum):
    """What the gate says, of one experiment and of the whole."""

    PASS = "pass"
    HOLD = "hold"  # it cannot say: missing, too old, altered, foreign, INVALID, ABORTED, SKIPPED
    BLOCK = "block"  # a promise is broken, or a residue is left


_EXIT = {Ruling.PASS: EXIT_PASSED, Ruling.HOLD: EXIT_INVALID, Ruling.BLOCK: EXIT_FAILED}


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Entry(_Strict):
    file: str = Field(min_length=1)
    max_age_ns: DurationNs | None = Field(None, alias="max_age")
    runs: int = Field(1, ge=1)
    platform: str | None = None
    verdicts: tuple[VerdictName, ...] = Field((VerdictName.PASSED,), min_length=1)


class _Policy(_Strict):
    title: str = Field(min_length=1)
    max_age_ns: DurationNs = Field(alias="max_age")
    cluster: tuple[str, ...] = Field(min_length=1)
    experiments: tuple[str | _Entry, ...] = Field(min_length=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Required:
    """One experiment that the policy asks for."""

    name: str
    experiment: Experiment
    fingerprint: str
    max_age_ns: int
    runs: int
    platform: str | None
    verdicts: tuple[VerdictName, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What must be there for a release to go out."""

    file: str
    title: str
    clusters: tuple[str, ...]
    required: tuple[Required, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A recorded run, as far as the gate looks at it."""

    run_dir: Path
    run_id: str
    experiment: str
    fingerprint: str | None  # None: its copies cannot be read
    started_wall_ns: int
    platform: str | None
    cluster: tuple[str, str] | None  # provider, name; None: the run never reached one
    altered: tuple[str, ...]  # what differs from its manifest
    verdict: Verdict | None  # judged again; None: it cannot be
    why_not: str = ""  # why it cannot


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What the gate says of one required experiment."""

    name: str
    ruling: Ruling
    kind: Literal["passed", "failed", "missing", "stale", "altered", "foreign", "unproven"]
    why: str
    hint: str = ""
    runs: tuple[str, ...] = ()  # folders of the runs that were looked at


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The gate's answer."""

    policy: Policy
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]  # runs and folders that were given and count for nothing, with the reason

    @property
    def ruling(self) -> Ruling:
        """The worst of the findings; without any it holds."""
        rulings = {finding.ruling for finding in self.findings}
        for ruling in (Ruling.BLOCK, Ruling.HOLD):
            if ruling in rulings:
                return ruling
        return Ruling.PASS if rulings else Ruling.HOLD

    @property
    def exit_code(self) -> int:
        """0 pass, 1 block, 2 hold."""
        return _EXIT[self.ruling]


def load_policy(path: Path) -> Policy:
    """The policy of a file. Raises FileErrors with every error of it and of the experiments it names."""
    try:
        documents = positions.parse(path.read_text(encoding="utf-8"), str(path))
    except FileError as error:
        raise FileErrors([error]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise FileErrors([FileError(f"cannot be read: {error}.", file=path)]) from None
    if len(documents) != 1:
        raise FileErrors([FileError(f"holds {len(documents)} documents; a policy is one.", file=path)])
    document = documents[0]
    try:
        policy = _Policy.model_validate(document.data, by_alias=True, by_name=False)
    except ValidationError as error:
        raise FileErrors(told(error, _Policy, document)) from None
    wrong = [
        FileError(
            f'"{name}" is no cluster.',
            file=path,
            line=document.line(("cluster", index)),
            field=f"cluster[{index}]",
            hint=_CLUSTERS,
        )
        for index, name in enumerate(policy.cluster)
        if not (name in ("sandbox", "context") or name.startswith(("sandbox:", "context:")))
    ]
    required: list[Required] = []
    for index, given in enumerate(policy.experiments):
        entry = _Entry.model_validate({"file": given}) if isinstance(given, str) else given
        line = document.line(("experiments", index))
        try:
            required.append(_required(path, entry, policy))
        except FileErrors as error:
            wrong += error.errors
        except FileNotFoundError:
            near = nearest(Path(entry.file).stem, shipped.experiment_files())
            hint = f"Did you mean {near}?" if near else "Name a shipped experiment, or a file beside this one."
            message = f'there is no experiment "{entry.file}".'
            wrong.append(FileError(message, file=path, line=line, field=f"experiments[{index}]", hint=hint))
    if wrong:
        raise FileErrors(wrong)
    return Policy(file=str(path), title=policy.title, clusters=policy.cluster, required=tuple(required))


_CLUSTERS = "Write sandbox, context, sandbox:NAME or context:NAME."


def decide(folders: Iterable[Path], policy: Policy, *, now_ns: int | None = None) -> Decision:
    """Judge the runs in `folders` again and rule on each experiment that the policy requires.

    A folder is a run's, or holds such. `now_ns` is the wall clock (CLOCK_REALTIME).
    """
    now_ns = time.time_ns() if now_ns is None else now_ns
    notes: list[str] = []
    runs: list[Run] = []
    for folder in _run_folders(folders, notes):
        try:
            runs.append(read_run(folder))
        except (OSError, ValueError, KeyError, TypeError) as error:
            notes.append(f"{folder}: run.json cannot be read ({error})")
    findings = tuple(_find(required, runs, policy, now_ns) for required in policy.required)
    counted = {folder for finding in findings for folder in finding.runs}
    notes += [
        f"{run.run_dir}: counts for nothing that the policy asks for" for run in runs if str(run.run_dir) not in counted
    ]
    return Decision(policy=policy, findings=findings, notes=tuple(notes))


def read_run(run_dir: Path) -> Run:
    """A recorded run, judged again. Raises OSError, ValueError, KeyError or TypeError where run.json is none."""
    from harness.history.manifest import check_manifest
    from harness.judge import judge

    described: dict[str, Any] = json.loads((run_dir / "run.json").read_text(encoding="utf-8"))
    if not isinstance(described, dict):
        raise ValueError("it is no mapping")
    cluster = described.get("cluster")
    verdict, why_not = None, ""
    try:
        verdict = judge(run_dir)
    except BulletproofError as error:
        why_not = error.message
    try:
        print_ = fingerprint(load(run_dir / "experiment.yaml", recorded=True), recorded=True)
    except (BulletproofError, OSError):
        print_ = None
    return Run(
        run_dir=run_dir,
        run_id=str(described["run_id"]),
        experiment=str(described["experiment"]),
        fingerprint=print_,
        started_wall_ns=int(described["started_wall_ns"]),
        platform=described.get("platform"),
        cluster=(str(cluster["provider"]), str(cluster["name"])) if cluster else None,
        altered=tuple(check_manifest(run_dir)),
        verdict=verdict,
        why_not=why_not,
    )


def fingerprint(experiment: Experiment, *, recorded: bool = False) -> str:
    """sha256 over the bytes of the experiment file, its SLO files in order, and its golden answers."""
    file = Path(experiment.file)
    slos = list(dict.fromkeys(slo.file for slo in experiment.slos))
    golden = (
        file.parent / "golden" / Path(experiment.bulletproof.workload.golden).name
        if recorded
        else golden_path(experiment)
    )
    digest = hashlib.sha256()
    for path in (file, *map(Path, slos), golden):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _required(policy_file: Path, entry: _Entry, policy: _Policy) -> Required:
    beside = policy_file.parent / entry.file
    path = beside if beside.is_file() else shipped.experiment_files().get(entry.file)
    if path is None:
        raise FileNotFoundError(entry.file)
    experiment = load(path)
    return Required(
        name=path.stem,
        experiment=experiment,
        fingerprint=fingerprint(experiment),
        max_age_ns=policy.max_age_ns if entry.max_age_ns is None else entry.max_age_ns,
        runs=entry.runs,
        platform=entry.platform,
        verdicts=entry.verdicts,
    )


def _run_folders(folders: Iterable[Path], notes: list[str]) -> list[Path]:
    found: dict[Path, None] = {}
    for folder in folders:
        inside = (
            [folder] if (folder / "run.json").is_file() else sorted(file.parent for file in folder.rglob("run.json"))
        )
        if not inside:
            notes.append(f"{folder}: {'holds no run' if folder.is_dir() else 'there is no such folder'}")
        for one in inside:
            found.setdefault(one.resolve())
    return list(found)


def _find(required: Required, runs: Sequence[Run], policy: Policy, now_ns: int) -> Finding:
    """The newest runs of the experiment count. A run of its name that is something else is told, and never counts."""
    named = [
        run
        for run in runs
        if required.name in (run.experiment, Path(run.experiment).stem) or run.fingerprint == required.fingerprint
    ]
    named = [run for run in named if required.platform is None or run.platform == required.platform]
    if not named:
        where = f" on platform {required.platform}" if required.platform else ""
        return _finding(
            required,
            Ruling.HOLD,
            "missing",
            f"no run of {required.name}{where} was given",
            f"bulletproof run {required.name}",
        )
    newest = sorted(named, key=lambda run: run.started_wall_ns, reverse=True)[: required.runs]
    for run in newest:
        problem = _problem(required, run, policy, now_ns)
        if problem is not None:
            return _finding(required, *problem, runs=newest)
    if len(newest) < required.runs:
        why = f"{len(newest)} of the {required.runs} runs that are asked for were given"
        return _finding(required, Ruling.HOLD, "missing", why, "run it again", runs=newest)
    verdicts = ", ".join(str(run.verdict.verdict) for run in newest if run.verdict)
    return _finding(required, Ruling.PASS, "passed", f"{verdicts} ({_age(newest[0], now_ns)} old)", runs=newest)


_Problem = tuple[Ruling, Literal["failed", "stale", "altered", "foreign", "unproven"], str, str]


def _problem(required: Required, run: Run, policy: Policy, now_ns: int) -> _Problem | None:
    if run.altered:
        more = f" and {len(run.altered) - 1} more" if len(run.altered) > 1 else ""
        return (
            Ruling.HOLD,
            "altered",
            f"{run.run_id} is not as the run wrote it: {run.altered[0]}{more}",
            "run it again",
        )
    if run.fingerprint != required.fingerprint:
        why = f"{run.run_id} ran another {required.name}: its experiment, SLO or golden file differs from the policy's"
        return Ruling.HOLD, "foreign", why, "run the file that the policy names"
    if run.cluster is not None and not _allowed(run.cluster, policy.clusters):
        why = f"{run.run_id} ran on {run.cluster[1]}, and only {', '.join(policy.clusters)} counts"
        return Ruling.HOLD, "foreign", why, f"bulletproof run {required.name} --cluster {policy.clusters[0]}"
    if run.started_wall_ns > now_ns + _FUTURE_NS:
        return Ruling.HOLD, "stale", f"{run.run_id} says that it started in the future", "set the clocks right"
    if now_ns - run.started_wall_ns > required.max_age_ns:
        why = f"{run.run_id} is {_age(run, now_ns)} old, and {units.format_duration(required.max_age_ns)} is allowed"
        return Ruling.HOLD, "stale", why, f"bulletproof run {required.name}"
    if run.verdict is None:
        return Ruling.HOLD, "unproven", f"{run.run_id} cannot be judged: {run.why_not}", "run it again"
    if run.verdict.verdict in required.verdicts:
        return None
    broken = run.verdict.verdict in (VerdictName.FAILED, VerdictName.RESIDUE)
    why = f"{run.run_id}: {run.verdict.verdict.value}: {run.verdict.why}"
    return (Ruling.BLOCK, "failed", why, "") if broken else (Ruling.HOLD, "unproven", why, "")


def _finding(
    required: Required,
    ruling: Ruling,
    kind: Literal["passed", "failed", "missing", "stale", "altered", "foreign", "unproven"],
    why: str,
    hint: str = "",
    runs: Sequence[Run] = (),
) -> Finding:
    return Finding(
        name=required.name, ruling=ruling, kind=kind, why=why, hint=hint, runs=tuple(str(run.run_dir) for run in runs)
    )


def _allowed(cluster: tuple[str, str], allowed: Sequence[str]) -> bool:
    provider, name = cluster
    return provider in allowed or name in allowed


def _age(run: Run, now_ns: int) -> str:
    return age_text(now_ns - run.started_wall_ns)


def age_text(age_ns: int) -> str:
    """In the unit that people use for the age of a report."""
    seconds = max(0, age_ns) / 1e9
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
