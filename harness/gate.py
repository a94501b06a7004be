"""May a release go out, by the runs there are? A policy says which must be there; nothing passes by absence.

Of each experiment the newest runs count, never an older one that was better. Each is judged again from its history; its
verdict.json is not read. A run counts for an experiment only when its own copies of the experiment file, the SLO files,
the golden answers and the trace are, byte for byte, those that the policy means: a weakened promise is another promise.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

from harness import units
from harness.errors import EXIT_FAILED, EXIT_INVALID, EXIT_PASSED, BulletproofError
from harness.experiment.loader import load
from harness.policy import Policy, Required, fingerprint
from harness.verdict import Verdict, VerdictName

_FUTURE_NS = 300 * units.NS_PER_S  # clocks of two machines may differ by this; more is a run from the future


class Ruling(StrEnum):
    """What the gate says, of one experiment and of the whole."""

    PASS = "pass"
    HOLD = "hold"  # it cannot say: missing, too old, altered, foreign, INVALID, ABORTED, SKIPPED
    BLOCK = "block"  # a promise is broken, or kept without the room asked for, or a residue is left


_EXIT = {Ruling.PASS: EXIT_PASSED, Ruling.HOLD: EXIT_INVALID, Ruling.BLOCK: EXIT_FAILED}


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


Kind = Literal["passed", "failed", "margin", "budget", "missing", "stale", "altered", "foreign", "unproven"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What the gate says of one required experiment, or of a folder that it cannot read."""

    name: str
    ruling: Ruling
    kind: Kind
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


def decide(folders: Iterable[Path], policy: Policy, *, now_ns: int | None = None) -> Decision:
    """Judge the runs in `folders` again and rule on each experiment that the policy requires.

    A folder is a run's, or holds such. `now_ns` is the wall clock (CLOCK_REALTIME).
    """
    now_ns = time.time_ns() if now_ns is None else now_ns
    notes: list[str] = []
    runs: list[Run] = []
    unread: list[Finding] = []
    for folder in _run_folders(folders, notes):
        try:
            run = read_run(folder)
        except (OSError, ValueError, KeyError, TypeError) as error:
            # It may be the newest of any of them, and no success.
            unread.append(_unreadable(folder, error))
            continue
        twin = next((one for one in runs if one.run_id == run.run_id), None)
        if twin is None:
            runs.append(run)
        else:
            notes.append(f"{folder}: is the same run as {twin.run_dir}, and counts once")
    findings = (*(_find(required, runs, policy, now_ns) for required in policy.required), *unread)
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
    problems = [problem for run in newest if (problem := _problem(required, run, policy, now_ns)) is not None]
    if len(newest) < required.runs:
        why = f"{len(newest)} of the {required.runs} runs that are asked for were given"
        problems.append((Ruling.HOLD, "missing", why, "run it again"))
    if not problems:
        found = [*(_without_room(required, run) for run in newest), _overspent(required, newest)]
        problems = [problem for problem in found if problem is not None]
    if problems:
        # What is known to be broken outranks what is not known, whichever run came first.
        worst = next((problem for problem in problems if problem[0] is Ruling.BLOCK), problems[0])
        return _finding(required, *worst, runs=newest)
    verdicts = ", ".join(str(run.verdict.verdict) for run in newest if run.verdict)
    return _finding(required, Ruling.PASS, "passed", f"{verdicts} ({_age(newest[0], now_ns)} old)", runs=newest)


def _unreadable(folder: Path, error: Exception) -> Finding:
    why = (
        f"run.json cannot be read ({type(error).__name__}: {error}): which experiment ran, and how it ended, is unknown"
    )
    return Finding(
        name=folder.name, ruling=Ruling.HOLD, kind="altered", why=why, hint="leave the folder out", runs=(str(folder),)
    )


_Problem = tuple[Ruling, Kind, str, str]


def _problem(required: Required, run: Run, policy: Policy, now_ns: int) -> _Problem | None:
    from harness.history.reader import History
    from harness.release import images_differ

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
    if policy.images:
        differs = images_differ(History.read(run.run_dir), policy.images)
        if differs:
            return Ruling.HOLD, "foreign", f"{run.run_id} tested another release: {differs}", "run it on this release"
    if run.cluster is None and run.verdict.verdict in required.verdicts:
        return Ruling.HOLD, "foreign", f"{run.run_id} does not say on which cluster it ran", "run it again"
    if run.verdict.verdict in required.verdicts:
        return None
    broken = run.verdict.verdict in (VerdictName.FAILED, VerdictName.RESIDUE)
    why = f"{run.run_id}: {run.verdict.verdict.value}: {run.verdict.why}"
    return (Ruling.BLOCK, "failed", why, "") if broken else (Ruling.HOLD, "unproven", why, "")


def _without_room(required: Required, run: Run) -> _Problem | None:
    """What a run that passed lacks of the margin."""
    if not required.margin or run.verdict is None or run.verdict.verdict is not VerdictName.PASSED:
        return None
    from harness.history.reader import History
    from harness.judge import judge_history

    strict = judge_history(History.read(run.run_dir), required.margin)
    if strict.verdict is VerdictName.PASSED:
        return None
    why = f"{run.run_id} passed, but not with limits tighter by {units.format_share(required.margin)}: {strict.why}"
    broken = strict.verdict is VerdictName.FAILED
    return (Ruling.BLOCK, "margin", why, "") if broken else (Ruling.HOLD, "unproven", why, "")


def _overspent(required: Required, runs: Sequence[Run]) -> _Problem | None:
    """What the runs together spent of an error budget beyond the policy's share."""
    if required.budget is None:
        return None
    from harness.budget_spent import budget_spent

    verdicts = [run.verdict for run in runs if run.verdict is not None]
    spent = budget_spent(verdicts, required.experiment.bulletproof.load.rate_per_s)
    if spent is None:
        return Ruling.HOLD, "unproven", "it cannot be said what the runs spent of the error budget", "run it again"
    allowed = f"{_percent(required.budget)} may be"
    for slo in spent:
        if slo.at_least > required.budget:
            why = f"{_percent(slo.at_least)} of the error budget of {slo.slo} was spent by {len(runs)} runs, {allowed}"
            return Ruling.BLOCK, "budget", why, ""
        if slo.at_most > required.budget:
            why = f"with requests that the load generator failed, up to {_percent(slo.at_most)} of the error budget of "
            return Ruling.HOLD, "unproven", f"{why}{slo.slo} was spent, {allowed}", "give the load generator more CPU"
    return None


def _percent(share: float) -> str:
    """A run spends thousandths of a percent of a month's budget: digits count from the first that is not 0."""
    return f"{share * 100:.3g} %"


def _finding(
    required: Required,
    ruling: Ruling,
    kind: Kind,
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
