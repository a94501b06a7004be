"""N runs of one experiment, judged as a whole: what may be said of the platform, and not only of one run.

One outage is one trial, so only repeats say how often the platform recovers. If k of N runs passed, the pass rate is at
least the one-sided Clopper-Pearson bound at 95 %; where all passed that is 0.05^(1/N). The worst of N recoveries bounds
that same quantile of recoveries (Wilks).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.checks.answer import Answer, failed, invalid, passed
from harness.errors import UsageError
from harness.judge import judge
from harness.measure.steady import clopper_pearson_lower
from harness.units import NS_PER_S, format_duration
from harness.verdict import CheckKind, CheckResult, Verdict, VerdictName, conclude

# Endings of a run that end the whole in the same way.
_OUTRANKING = (VerdictName.RESIDUE, VerdictName.ABORTED, VerdictName.SKIPPED)


def seeds(first: int, number: int) -> list[int]:
    """The seeds of the repeats: the experiment's own, then the next ones. Other seeds choose other targets."""
    return [first + step for step in range(number)]


def runs_needed(rate: float) -> int:
    """Fewest runs that show this pass rate at 95 %, all of them passed: 90 % takes 29."""
    if not 0 < rate < 1:
        raise UsageError(f"a pass rate of {rate:.0%} cannot be shown by any number of runs")
    return math.ceil(math.log(0.05) / math.log(rate))


def judge_repeats(run_dirs: Sequence[Path], *, pass_rate: float | None = None) -> Verdict:
    """The verdict on N runs. With `pass_rate`, the platform must be shown to pass that often, at 95 %.

    Without it every run must pass. A run that is INVALID shows nothing, so the whole is INVALID too.
    """
    if not run_dirs:
        raise UsageError("there is no run to judge")
    verdicts = [judge(run_dir) for run_dir in run_dirs]
    counts = Counter(verdict.verdict for verdict in verdicts)
    checks = (
        _result("runs_valid", CheckKind.INSTRUMENT, "every run says something", _valid(verdicts)),
        _result(
            "pass_rate",
            CheckKind.PROMISE,
            "every run passes" if pass_rate is None else f"at least {pass_rate:.0%} pass, at 95 %",
            _pass_rate(verdicts, counts, pass_rate),
        ),
    )
    name = conclude(checks)
    deciding = checks[-1] if checks[-1].verdict is name else checks[0]
    return Verdict(
        run_id=f"{verdicts[0].run_id}-x{len(verdicts)}",
        title=verdicts[0].title,
        verdict=name,
        why=f"{deciding.name}: {deciding.why or deciding.seen}",
        checks=checks,
        measurements=_measured(verdicts, counts),
        environment=verdicts[0].environment,
    )


def _valid(verdicts: Sequence[Verdict]) -> Answer:
    for outranking in _OUTRANKING:
        for verdict in verdicts:
            if verdict.verdict is outranking:
                return Answer(verdict=outranking, seen=outranking.value, why=f"{verdict.run_id}: {verdict.why}")
    invalids = [verdict for verdict in verdicts if verdict.verdict is VerdictName.INVALID]
    if invalids:
        why = f"{len(invalids)} of {len(verdicts)} runs say nothing: {invalids[0].run_id}: {invalids[0].why}"
        return invalid(why, hint="repeat them; leaving them out would choose among the runs")
    return passed(f"{len(verdicts)} runs judged")


def _pass_rate(verdicts: Sequence[Verdict], counts: Counter[VerdictName], wanted: float | None) -> Answer:
    number, good = len(verdicts), counts[VerdictName.PASSED]
    lower = clopper_pearson_lower(good, number)
    seen = f"{good} of {number} passed: the platform passes at least {lower:.0%} of the time, at 95 %"
    figures: dict[str, Any] = {"runs": number, "passed": good, "lower_bound": lower}
    broken = [verdict for verdict in verdicts if verdict.verdict is VerdictName.FAILED]
    if wanted is None:
        if broken:
            why = f"{len(broken)} of {number} runs failed: {broken[0].run_id}: {broken[0].why}"
            return failed(seen, why, **figures)
        return passed(seen, **figures)
    if lower >= wanted:
        return passed(seen, **figures)
    if good < wanted * number:
        return failed(seen, f"{good} of {number} runs passed, {wanted:.0%} must", **figures)
    why = f"{number} runs are too few to show that {wanted:.0%} pass: it takes {runs_needed(wanted)}, all passed"
    return invalid(why, seen=seen, hint="raise --repeat", **figures)


def _measured(verdicts: Sequence[Verdict], counts: Counter[VerdictName]) -> dict[str, Any]:
    recoveries = sorted(_recovery_ns(verdict) for verdict in verdicts)
    number = len(verdicts)
    worst = recoveries[-1]
    bounded = 0.05 ** (1 / number)
    told = "never" if math.isinf(worst) else format_duration(worst)
    return {
        "runs": [
            {
                "run_id": verdict.run_id,
                "verdict": verdict.verdict.value,
                "why": verdict.why,
                "recovery_s": _seconds(_recovery_ns(verdict)),
                "lost_s": verdict.measurements.get("lost_s"),
            }
            for verdict in verdicts
        ],
        "verdicts": {name.value: counts[name] for name in VerdictName if counts[name]},
        "recovery": {
            "least_s": _seconds(recoveries[0]),
            "median_s": _seconds(recoveries[number // 2]),
            "worst_s": _seconds(worst),
            "bounded_share": bounded,
            "says": f"at least {bounded:.0%} of recoveries take at most {told}, at 95 %",
        },
    }


def _recovery_ns(verdict: Verdict) -> float:
    """Until the end of the last outage before the undo; infinite where service was not seen to be back."""
    recovery = verdict.measurements.get("recovery")
    if recovery is None or recovery["by_ns"] is None:
        return math.inf
    ends = [outage["by_ns"] for outage in recovery["outages"]]
    if None in ends:
        return math.inf
    return float(max(ends) - recovery["start_ns"]) if ends else 0.0


def _seconds(ns: float) -> float | None:
    return None if math.isinf(ns) else ns / NS_PER_S


def _result(name: str, kind: CheckKind, expected: str, answer: Answer) -> CheckResult:
    return answer.result(name, kind, expected)
