"""Did it get worse? Runs against earlier runs of the same experiment, each question with a stated margin.

A comparison ends like a run: PASSED (not worse by more than the margin, at 95 %), FAILED (worse by more than the
margin, at 95 %), INVALID (too few runs or requests to say either). The verdict is the worst of the questions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from harness.checks.answer import Answer, failed, invalid, passed
from harness.comparable import distinct, same_experiment
from harness.errors import UsageError
from harness.history.reader import History
from harness.judge import judge_history
from harness.measure.case import Case
from harness.measure.noninferior import (
    ALPHA,
    Floats,
    Worse,
    quantile_ratio,
    runs_worse,
    share_worse,
    smallest_p,
)
from harness.measure.recovery import Recovery
from harness.measure.steady import design_effect
from harness.units import NS_PER_MS, NS_PER_S, format_duration
from harness.verdict import CheckKind, CheckResult, Verdict, VerdictName, conclude

WINDOWS = 60  # over all baselines of a side
QUANTILE = 0.99
LATENCY_FLOOR_NS = NS_PER_MS


@dataclass(frozen=True, slots=True, kw_only=True)
class Margins:
    """How much worse is not yet worse."""

    availability: float = 0.001  # of the steady state, as a share
    recovery_ns: int = NS_PER_S
    lost_s: float = 0.25
    latency: float = 0.2  # of the steady state's 99 % quantile, as a ratio


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """What one run contributes."""

    run_id: str
    verdict: VerdictName
    good: float  # of the steady state, after the design effect
    count: float
    recovery_s: float  # infinite where service never came back
    lost_s: float
    windows: list[Floats] = field(repr=False)  # latencies of the steady state, ns


def compare(runs: Sequence[Path], baselines: Sequence[Path], margins: Margins | None = None) -> Verdict:
    """The verdict on `runs` against `baselines`, which are folders of runs.

    Raises UsageError when they are not runs of one experiment under one load, or when one run is there twice;
    InvalidRun when one cannot be read.
    """
    if not runs or not baselines:
        raise UsageError("a comparison takes at least one run and one baseline")
    margins = margins or Margins()
    histories = [History.read(path) for path in (*runs, *baselines)]
    same_experiment(histories)
    distinct(histories)
    sides = [_side(history) for history in histories]
    new, old = sides[: len(runs)], sides[len(runs) :]
    checks = (
        _check("comparable", CheckKind.INSTRUMENT, "every run says something", _comparable(sides)),
        _check(
            "availability",
            CheckKind.PROMISE,
            f"steady state not worse by more than {margins.availability * 100:.3g} points",
            _availability(new, old, margins.availability),
        ),
        _check(
            "latency",
            CheckKind.PROMISE,
            f"p99 of the steady state not more than {margins.latency:.0%} higher",
            _latency(new, old, margins.latency),
        ),
        _check(
            "recovery",
            CheckKind.PROMISE,
            f"recovery not longer by more than {format_duration(margins.recovery_ns)}",
            _runs(
                [one.recovery_s for one in new],
                [one.recovery_s for one in old],
                margins.recovery_ns / NS_PER_S,
                "recovery",
            ),
        ),
        _check(
            "lost",
            CheckKind.PROMISE,
            f"lost seconds not more by more than {margins.lost_s:g} s",
            _runs([one.lost_s for one in new], [one.lost_s for one in old], margins.lost_s, "lost time"),
        ),
    )
    name = conclude(checks)
    deciding = [check for check in checks if check.verdict is name]
    why = f"{deciding[0].name}: {deciding[0].why}" if deciding else "nothing was compared"
    if name is VerdictName.PASSED:
        why = "nothing got worse by more than its margin"
    title = histories[0].experiment.title
    return Verdict(
        run_id="compare",
        title=f"{title}: {_runs_text(len(new))} against {_runs_text(len(old))} before",
        verdict=name,
        why=why,
        checks=checks,
        measurements={"new": [_figures(one) for one in new], "old": [_figures(one) for one in old]},
        environment={"experiment": histories[0].run.get("experiment")},
    )


def _side(history: History) -> Side:
    verdict = judge_history(history)
    case = Case(history)
    rows, span = case.baseline, case.baseline_span
    tally = case.tally(rows)
    effect = 1.0
    if span is not None and tally.scheduled:
        effect = design_effect(case.requests.scheduled_ns[rows], ~case.overall.good[rows], *span)
    lost = verdict.measurements.get("lost_s")
    return Side(
        run_id=verdict.run_id,
        verdict=verdict.verdict,
        good=tally.good / effect,
        count=tally.scheduled / effect,
        recovery_s=max(map(_recovery_s, case.doubted_recovery), default=float("inf")),
        lost_s=float(lost) if lost is not None else float("inf"),
        windows=_windows(case),
    )


def _recovery_s(recovery: Recovery) -> float:
    """Until service was back for good: relapses before the undo belong to it."""
    if recovery.by_ns is None:
        return float("inf")
    if not recovery.outages:
        return 0.0
    by_ns = recovery.outages[-1].by_ns
    return float("inf") if by_ns is None else (by_ns - recovery.start_ns) / NS_PER_S


def _windows(case: Case) -> list[Floats]:
    """Latencies of the steady state, in windows of equal length; a failed request counts as the timeout."""
    if case.baseline_span is None:
        return []
    rows = case.baseline & (case.requests.sent_ns >= 0)
    scheduled = case.requests.scheduled_ns[rows]
    took = (case.requests.end_ns - case.requests.scheduled_ns)[rows].astype(np.float64)
    good = case.overall.good[rows]
    took = np.maximum(np.where(good, took, np.maximum(took, case.spec.load.timeout_ns)), LATENCY_FLOOR_NS)
    edges = np.linspace(*case.baseline_span, WINDOWS + 1)[1:-1]
    return np.split(took, np.searchsorted(scheduled, edges))


def _comparable(sides: Sequence[Side]) -> Answer:
    """Runs that were judged PASSED or FAILED say something; the others say nothing, here as there."""
    useless = [one for one in sides if one.verdict not in (VerdictName.PASSED, VerdictName.FAILED)]
    if useless:
        why = f"{useless[0].run_id} ended {useless[0].verdict}: nothing may be concluded from it"
        return invalid(why, hint="leave it out", runs=[one.run_id for one in useless])
    return passed(f"{_runs_text(len(sides))} judged")


def _availability(new: Sequence[Side], old: Sequence[Side], margin: float) -> Answer:
    worse = share_worse(_pooled(new), _pooled(old))
    if worse.at_most is None or worse.at_least is None:
        return invalid("no steady state was observed on one of the sides")
    points = f"{worse.seen * 100:+.3g} points, at most {worse.at_most * 100:+.3g} at 95 %"
    return _decide(worse, margin, points, "availability", "lengthen phases.baseline, or compare more runs")


def _latency(new: Sequence[Side], old: Sequence[Side], margin: float) -> Answer:
    ratio = quantile_ratio(_all_windows(new), _all_windows(old), QUANTILE)
    if ratio is None or ratio.at_most is None:
        return invalid("the steady state has too few windows to compare latencies")
    seen = f"p99 {ratio.seen:+.1%}, at most {ratio.at_most:+.1%} at 95 %"
    return _decide(ratio, margin, seen, "latency", "lengthen phases.baseline, or compare more runs")


def _decide(worse: Worse, margin: float, seen: str, what: str, hint: str) -> Answer:
    figures: dict[str, Any] = {
        "worse_by": worse.seen,
        "at_most": worse.at_most,
        "at_least": worse.at_least,
        "margin": margin,
    }
    if worse.at_most is not None and worse.at_most <= margin:
        return passed(seen, **figures)
    if worse.at_least is not None and worse.at_least > margin:
        return failed(seen, f"{what} got worse by more than the margin: {seen}", **figures)
    return invalid(
        f"{what} may have got worse by more than the margin, or not: {seen}", seen=seen, hint=hint, **figures
    )


def _runs(new: list[float], old: list[float], margin: float, what: str) -> Answer:
    """Figures of which a run has only one: exact rank tests over runs."""
    worse, not_worse_p, worse_p = runs_worse(new, old, margin)
    finite = bool(np.isfinite(worse.seen))
    shift = f"{worse.seen:+.2f} s" if finite else "beyond measure, as service did not come back"
    seen = f"{shift} (shift between {len(new)} and {len(old)} runs)"
    figures: dict[str, Any] = {
        "shift_s": worse.seen if finite else None,
        "p_not_worse": not_worse_p,
        "p_worse": worse_p,
        "margin_s": margin,
    }
    if smallest_p(len(new), len(old)) > ALPHA:
        why = f"{len(new)} against {len(old)} runs are too few to say anything about {what}: it takes 3 against 3"
        return invalid(why, seen=seen, hint="one outage is one trial: repeat the run", **figures)
    if not_worse_p <= ALPHA:
        return passed(seen, **figures)
    if worse_p <= ALPHA:
        return failed(seen, f"{what} got longer by more than {margin:g} s: {seen}", **figures)
    why = f"{what} may have got longer by more than {margin:g} s, or not: {seen}"
    return invalid(why, seen=seen, hint="compare more runs", **figures)


def _pooled(sides: Sequence[Side]) -> tuple[float, float]:
    return sum(one.good for one in sides), sum(one.count for one in sides)


def _all_windows(sides: Sequence[Side]) -> list[Floats]:
    return [window for one in sides for window in one.windows]


def _check(name: str, kind: CheckKind, expected: str, answer: Answer) -> CheckResult:
    return answer.result(name, kind, expected)


def _figures(one: Side) -> dict[str, Any]:
    finite = one.recovery_s if np.isfinite(one.recovery_s) else None
    return {
        "run_id": one.run_id,
        "verdict": one.verdict.value,
        "steady_good": one.good,
        "steady_count": one.count,
        "recovery_s": finite,
        "lost_s": one.lost_s if np.isfinite(one.lost_s) else None,
    }


def _runs_text(number: int) -> str:
    return "1 run" if number == 1 else f"{number} runs"
