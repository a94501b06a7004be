"""`Verdict.measurements`: every figure that the reports draw. Times are absolute monotonic ns, None where unseen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from harness.experiment.model import Slo
from harness.history.columns import Mask
from harness.history.records import Note, Phase
from harness.measure import figures
from harness.measure.case import Case
from harness.measure.recovery import Recovery
from harness.measure.stages import recovery_stages
from harness.measure.steady import bound
from harness.units import NS_PER_S

PAGE_BURN = 14.4  # SRE workbook: 2 % of a 30-day budget in an hour
LATENCY_PHASES = (Phase.BASELINE, Phase.FAULT, Phase.RECOVER, Phase.ROLLBACK, Phase.SETTLE)


def measurements(case: Case) -> Iterator[tuple[str, Callable[[], Any]]]:
    """(name, how to work it out); each may fail by itself."""
    yield "zero_ns", lambda: case.timeline.start_ns
    yield "phases", lambda: _phases(case)
    yield "faults", lambda: _faults(case)
    yield "undo", lambda: _undo(case)
    yield "requests", lambda: _requests(case)
    yield "slos", lambda: [_slo(case, slo) for slo in case.experiment.slos]
    yield "latency", lambda: _latency(case)
    yield "throughput", lambda: _throughput(case)
    yield "recovery", lambda: _recovery(case)
    yield "lost_s", lambda: _lost_s(case)
    yield "lag", lambda: figures.lag(case.requests, case.experiment.lag_limit_ns)
    yield "proxy_cost_ns", lambda: _proxy_cost_ns(case)
    yield "pods", lambda: _pods(case)
    yield "versions", lambda: figures.versions(case.requests)
    yield "errors", lambda: figures.errors(case.requests)
    yield "windows", lambda: _windows(case)
    yield "history_problems", lambda: case.history.problems


def _phases(case: Case) -> list[dict[str, Any]]:
    return [
        {"phase": span.phase.value, "start_ns": span.start_ns, "end_ns": span.end_ns}
        for span in case.timeline.spans
        if span.phase is not Phase.END
    ]


def _faults(case: Case) -> list[dict[str, Any]]:
    found = []
    for strike in case.timeline.struck:
        claims = case.claims.get(strike.fault_id, ())
        ends = [one.verified_ns for one in case.timeline.undo if one.fault_id == strike.fault_id]
        undone = max((end for end in ends if end is not None), default=None) if None not in ends else None
        found.append(
            {
                "fault_id": strike.fault_id,
                "fault": strike.fault,
                "target": strike.target,
                "begin_ns": strike.begin_ns,
                "proven_ns": case.proven_ns(strike),
                "undone_ns": undone,
                "proven": bool(claims) and all(claim.seen for claim in claims) and strike.injected_ns is not None,
                "claims": [
                    {"claim": one.claim, "channel": one.channel, "seen": one.seen, "t_ns": one.t_ns, "detail": one.why}
                    for one in claims
                ],
            }
        )
    return found


def _undo(case: Case) -> list[dict[str, Any]]:
    return [
        {"entry_id": entry.entry_id, "begin_ns": entry.begin_ns, "verified_ns": entry.verified_ns}
        for entry in case.timeline.undo
    ]


def _requests(case: Case) -> dict[str, Any]:
    tally = case.tally()
    return {
        "scheduled": tally.scheduled,
        "good": tally.good,
        "bad": tally.bad,
        "not_judged": tally.unknown,
        "by_outcome": case.requests.outcome.counts(),
        "by_connection": figures.by_connection(case.requests, case.overall.bad),
        "several_attempts": figures.several_attempts(case.requests, case.overall.good),
    }


def _slo(case: Case, slo: Slo) -> dict[str, Any]:
    """The census of the run, its cost in error budget, and the bound of the steady state."""
    tally, rate = case.tally(slo=slo), case.mean_rate_per_s
    bad = case.by_slo[slo.name].bad
    lost_s = tally.bad / rate
    rates = figures.burn_rates(case.requests.scheduled_ns, bad, rate, slo.target)
    burn = {**rates, "would_page": all(pace > PAGE_BURN for pace in rates.values())}
    steady = None
    if case.baseline_span is not None and case.baseline.any():
        rows = case.baseline
        good = case.by_slo[slo.name].good[rows]
        steady = bound(case.requests.scheduled_ns[rows], ~good, *case.baseline_span).lower
    return {
        "name": slo.name,
        "target": slo.target,
        "within_ns": slo.within_ns,
        "scheduled": tally.scheduled,
        "good": tally.good,
        "availability": tally.good / tally.scheduled if tally.scheduled else None,
        "lost_s": lost_s,
        "budget_s": slo.budget_s,
        "budget_spent": lost_s / slo.budget_s,
        "burn": burn,
        "steady_bound": steady,
    }


def _latency(case: Case) -> dict[str, Any]:
    timeout = case.spec.load.timeout_ns
    parts: dict[str, Mask | slice] = {phase.value: case.rows_of(phase) for phase in LATENCY_PHASES}
    parts |= {Phase.BASELINE.value: case.baseline, "all": slice(None)}
    return figures.latencies(case.requests, parts, timeout)


def _throughput(case: Case) -> dict[str, Any]:
    """By phase, where the phase lasted under load."""
    found = {}
    for span in case.timeline.spans:
        begin, end = max(span.start_ns, case.timeline.start_ns or 0), span.end_ns
        if span.phase in LATENCY_PHASES and end is not None and end > begin:
            seconds = (end - begin) / NS_PER_S
            found[span.phase.value] = figures.throughput(
                case.requests, case.rows_of(span.phase), case.overall.good, seconds
            )
    return found


def _recovery(case: Case) -> dict[str, Any] | None:
    recovery = worst_recovery(case.recovery)
    if recovery is None:
        return None
    strikes = case.timeline.struck
    proven = [moment for strike in strikes if (moment := case.proven_ns(strike)) is not None]
    stop = case.timeline.stop_ns or recovery.after_ns
    degraded = sum((outage.by_ns or stop) - outage.first_ns for one in case.recovery for outage in one.outages)
    hold = case.spec.expect.hold_ns
    return {
        "start_ns": recovery.start_ns,
        "after_ns": recovery.after_ns,
        "by_ns": recovery.by_ns,
        "held": recovery.held,
        "stages": recovery_stages(recovery, strikes, min(proven, default=None), case.pods, case.requests, hold),
        "aftershocks": int(case.aftershocks.sum()),
        "noise": recovery.noise,
        "degraded_s": degraded / NS_PER_S,
        "outages": [
            {"first_ns": outage.first_ns, "last_ns": outage.last_ns, "by_ns": outage.by_ns, "bad": outage.bad}
            for one in case.recovery
            for outage in one.outages
        ],
    }


def worst_recovery(recoveries: tuple[Recovery, ...]) -> Recovery | None:
    """The one that took longest, of several groups of strikes."""
    return max(recoveries, key=lambda one: (one.by_ns is None, one.after_ns - one.start_ns), default=None)


def _lost_s(case: Case) -> float | None:
    rows = case.from_fault
    return None if rows is None else case.tally(rows).bad / case.mean_rate_per_s


def _proxy_cost_ns(case: Case) -> int | None:
    costs = [
        int(record.facts["proxy_cost_ns_p50"])
        for record in case.history.actions
        if isinstance(record, Note) and "proxy_cost_ns_p50" in record.facts
    ]
    return max(costs, default=None)


def _pods(case: Case) -> list[dict[str, Any]]:
    answers = figures.answers_by_pod(case.requests)
    found = [
        {
            "pod": pod.name,
            "node": pod.node,
            "answers": answers.pop(pod.name, 0),
            "ready": [list(interval) for interval in pod.ready],
            "endpoint": [list(interval) for interval in pod.endpoint],
        }
        for pod in case.pods.pods
    ]
    unseen: list[dict[str, Any]] = [
        {"pod": name, "node": None, "answers": number, "ready": [], "endpoint": []} for name, number in answers.items()
    ]
    return found + unseen


def _windows(case: Case) -> dict[str, Any]:
    target = max(slo.target for slo in case.experiment.slos)
    zero = case.timeline.start_ns or 0
    return figures.windows(case.requests.scheduled_ns, case.overall.good, zero, target)
