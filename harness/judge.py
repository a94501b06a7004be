"""A run's folder becomes a verdict: a pure function of its files, the same on every machine, years later.

Each check is asked for itself; one that crashes ends INVALID, with its error, and never passes. The verdict is the
worst of them by the rules of `harness.verdict`, and its sentence names the check that decided.
"""

from __future__ import annotations

import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from harness.checks.answer import Answer, invalid
from harness.checks.asked import Question, questions
from harness.errors import InvalidRun
from harness.experiment.offered_load import Load
from harness.history.reader import History
from harness.measure.case import Case
from harness.measure.measurements import measurements
from harness.units import format_duration
from harness.verdict import CheckKind, CheckResult, Verdict, VerdictName, conclude

# Questions and figures are independent of each other, and numpy works on millions of requests without Python's lock.
# More threads would need more memory: each holds some columns of its own for a while.
_THREADS = 2


def judge(run_dir: Path) -> Verdict:
    """The verdict on a recorded run. Writes nothing, touches no cluster, and never raises for what the folder holds."""
    run_dir = Path(run_dir)
    try:
        history = History.read(run_dir)
    except InvalidRun as error:
        return _unreadable(run_dir, error)
    return judge_history(history)


def judge_history(history: History, margin: float = 0.0) -> Verdict:
    """The verdict on a history in memory; with a margin, the one that limits tighter by it would have led to."""
    case = Case(history)
    with ThreadPoolExecutor(_THREADS) as threads:
        asked = threads.map(lambda question: _ask(question, case), questions(case, margin))
        measured = _measured(case, threads)
        checks = tuple(asked)
    name = conclude(checks)
    return Verdict(
        run_id=str(history.run.get("run_id", history.run_dir.name)),
        title=history.experiment.title,
        verdict=name,
        why=_why(name, checks),
        checks=checks,
        measurements=measured,
        environment=_environment(history),
    )


def _ask(question: Question, case: Case) -> CheckResult:
    try:
        answer = question.answer(case)
    except Exception as error:  # noqa: BLE001 - a check that crashes cannot say, and says so
        answer = _crashed(error)
    return answer.result(question.name, question.kind, question.expected)


def _crashed(error: Exception) -> Answer:
    where = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(where.filename).name}:{where.lineno}"
    return invalid(
        f"the check itself failed: {type(error).__name__}: {error} ({place})",
        hint="this is a fault of Bulletproof: please report it with the run's folder",
    )


def _measured(case: Case, threads: ThreadPoolExecutor) -> dict[str, Any]:
    """What the reports draw; a part that cannot be worked out is left out, and never changes the verdict."""
    found: dict[str, Any] = {}
    problems: list[str] = []
    for name, measure in [(name, threads.submit(measure)) for name, measure in measurements(case)]:
        try:
            found[name] = measure.result()
        except Exception as error:  # noqa: BLE001 - a broken figure must not hide the verdict; it is named instead
            problems.append(f"{name}: {type(error).__name__}: {error}")
    if problems:
        found["problems"] = problems
    return found


# Which check is named first: the one nearest to the cause.
_CAUSES = (
    "stopped",
    "undo_verified",
    "history_complete",
    "load_delivered",
    "clocks_agree",
    "baseline_steady",
    "fault_proven",
    "recovers_within",
    "stable_within",
    "replicas_within",
    "wrong_answers",
    "lost",
    "lost_requests",
    "ready_floor",
    "exposed",
    "undone_within",
)


def _why(name: VerdictName, checks: tuple[CheckResult, ...]) -> str:
    """The sentence that a person reads first."""
    if name is VerdictName.PASSED:
        return _passed(checks)
    deciding = [check for check in checks if check.verdict is name]
    if name is VerdictName.INVALID:
        instrument = [check for check in deciding if check.kind is CheckKind.INSTRUMENT]
        deciding = instrument or deciding
    if not deciding:
        return "no check was asked"
    deciding.sort(key=lambda check: _CAUSES.index(check.name) if check.name in _CAUSES else len(_CAUSES))
    first, others = deciding[0], deciding[1:]
    also = f" (also: {', '.join(check.name for check in others)})" if others else ""
    return f"{first.name}: {first.why}{also}"


def _passed(checks: tuple[CheckResult, ...]) -> str:
    told = [
        f"{check.name}: {check.seen}" for check in checks if check.name in ("recovers_within", "stable_within", "lost")
    ]
    return f"all {len(checks)} checks hold" + (f"; {'; '.join(told)}" if told else "")


def _environment(history: History) -> dict[str, Any]:
    """run.json as it is, with the promise in words and the load as declared."""
    load = history.experiment.bulletproof.load
    offered = {
        "rate_per_s": load.rate_per_s,
        "arrivals": load.arrivals,
        **({"shape": load.shape} if load.shape is not None else {}),
        **({"trace": load.trace, "trace_speed": load.trace_speed} if load.trace is not None else {}),
        "timeout": format_duration(load.timeout_ns),
        **_several_attempts(load),
        "kept_share": load.kept_share,
    }
    run = dict(history.run)
    run["load"] = {**offered, **(run["load"] if isinstance(run.get("load"), dict) else {})}
    return {"promise": history.experiment.description, "tags": list(history.experiment.tags), **run}


def _several_attempts(load: Load) -> dict[str, Any]:
    """How a request gets more than one attempt, where it does."""
    found: dict[str, Any] = {}
    if load.retries:
        found |= {"retries": load.retries, "retry_on": list(load.retry_on)}
    if load.hedge_after_ns is not None:
        found["hedge_after"] = format_duration(load.hedge_after_ns)
    return found


def _unreadable(run_dir: Path, error: InvalidRun) -> Verdict:
    check = CheckResult(
        name="history_complete",
        kind=CheckKind.INSTRUMENT,
        verdict=VerdictName.INVALID,
        expected="the folder of a run",
        seen="cannot be read",
        why=error.message,
        hint=error.hint,
    )
    return Verdict(
        run_id=run_dir.name,
        title=run_dir.name,
        verdict=VerdictName.INVALID,
        why=f"{check.name}: {error.message}",
        checks=(check,),
    )
