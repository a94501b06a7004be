"""What a run is asked about itself, before anything of the platform is believed.

As `harness.checks.asked`, which asks these first.
"""

from __future__ import annotations

from collections.abc import Iterator

from harness.checks import (
    baseline_steady,
    clocks_agree,
    fault_proven,
    history_complete,
    load_delivered,
    stopped,
    undo_verified,
)
from harness.checks.answer import Answer
from harness.checks.asked_service import Asked
from harness.history.records import ClockOffset, Phase
from harness.measure.case import Case
from harness.units import format_duration, format_share


def instrument_questions(case: Case) -> Iterator[Asked]:
    """Those that every run is asked."""
    load = case.spec.load
    limit = format_duration(case.experiment.lag_limit_ns)
    yield "stopped", "the run ends by itself", _stopped
    yield "history_complete", "every arrival and phase recorded exactly once", _history_complete
    yield "load_delivered", f"{format_share(load.lag_share)} sent within {limit} of schedule", _load_delivered
    if load.workers > 1 or any(isinstance(record, ClockOffset) for record in case.history.actions):
        bound = format_duration(load.clock_limit_ns)
        yield "clocks_agree", f"the clocks of all load workers known to {bound}", _clocks_agree
    yield "baseline_steady", "every SLO met before the fault, all pods ready", _baseline_steady
    yield "fault_proven", "every fault injected, every claim of its effect seen", _fault_proven
    yield "undo_verified", "the cluster as before, nothing left of the fault", _undo_verified


def _stopped(case: Case) -> Answer:
    return stopped.stopped(case.timeline.stops, ended=case.timeline.span(Phase.END) is not None)


def _history_complete(case: Case) -> Answer:
    return history_complete.history_complete(
        case.requests, case.timeline, case.history.damage, case.history.actions, case.spec.phases
    )


def _load_delivered(case: Case) -> Answer:
    load, span = case.spec.load, case.load_span
    return load_delivered.load_delivered(
        case.requests,
        case.baseline,
        case.overall.unknown,
        span,
        offered=case.experiment.offered(span[1] - span[0] if span is not None else 0),
        shape=load.shape,
        arrivals=load.arrivals,
        limit_ns=case.experiment.lag_limit_ns,
        share=load.lag_share,
    )


def _clocks_agree(case: Case) -> Answer:
    return clocks_agree.clocks_agree(
        [record for record in case.history.actions if isinstance(record, ClockOffset)],
        workers=case.spec.load.workers,
        cut_short=bool(case.timeline.stops),
        limit_ns=case.spec.load.clock_limit_ns,
    )


def _baseline_steady(case: Case) -> Answer:
    objectives = []
    for slo in case.experiment.slos:
        one, rows = case.by_slo[slo.name], case.baseline_by(slo.within_ns)
        objectives.append(
            baseline_steady.Objective(
                name=slo.name,
                target=slo.target,
                scheduled_ns=case.requests.scheduled_ns[rows],
                bad=one.bad[rows],
                unknown=one.unknown[rows],
            )
        )
    declared = case.spec.phases.baseline_ns
    named = case.requests.pod.among(case.baseline)
    return baseline_steady.baseline_steady(objectives, case.pods, named, case.baseline_span, declared)


def _fault_proven(case: Case) -> Answer:
    timeline = case.timeline
    method = case.experiment.chaos.get("method") or ()
    begin, end = timeline.start_of(Phase.FAULT), case.until_ns
    span = (begin, end) if begin is not None and end is not None else None
    return fault_proven.fault_proven(
        timeline.strikes,
        case.claims,
        timeline.activities,
        method,
        span,
        foreign=case.experiment.foreign_actions,
        trusted=case.spec.trust,
    )


def _undo_verified(case: Case) -> Answer:
    timeline = case.timeline
    return undo_verified.undo_verified(
        timeline.undo,
        timeline.snapshots,
        timeline.stops,
        touched=bool(timeline.strikes),
        ended=timeline.span(Phase.END) is not None,
        not_rolled_back=_not_rolled_back(case),
    )


def _not_rolled_back(case: Case) -> list[str]:
    """The experiment's own rollbacks that failed or never ended. Ours are told by the undo journal."""
    ended = {one.name for one in case.timeline.activities if one.section == "rollbacks" and one.step == "end"}
    return [
        str(activity["name"])
        for activity in case.experiment.chaos.get("rollbacks") or ()
        if activity["provider"].get("module") != "harness.faults" and activity["name"] not in ended
    ]
