"""Which questions a run is asked, in which words, and what of its measurements each check gets to see."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from harness.checks import (
    lost,
    ready_floor,
    recovers_within,
    replicas_within,
    settles,
    slo_met,
    stable_version,
    steady_state,
    undone_within,
    wrong_answers,
)
from harness.checks.answer import Answer, invalid
from harness.checks.asked_instrument import instrument_questions
from harness.checks.asked_service import service_promises
from harness.checks.limits import Limits
from harness.experiment.model import Slo
from harness.history import requests as outcomes
from harness.history.columns import Mask
from harness.history.records import LOAD_UNDO, Phase
from harness.measure.case import Case
from harness.measure.steady import bound
from harness.units import format_duration, format_share
from harness.verdict import CheckKind


@dataclass(frozen=True, slots=True)
class Question:
    """One check of one run."""

    name: str
    kind: CheckKind
    expected: str
    answer: Callable[[Case], Answer]


def questions(case: Case, margin: float = 0.0) -> Iterator[Question]:
    """The instrument first, then the promises that the experiment makes, each to be kept with this margin to spare."""
    for name, expected, answer in instrument_questions(case):
        yield Question(name, CheckKind.INSTRUMENT, expected, answer)
    yield from _promises(case, Limits.of(case.spec.expect, margin))


def _promises(case: Case, limits: Limits) -> Iterator[Question]:
    expect = limits.expect

    def ask(name: str, expected: str, answer: Callable[[Case], Answer]) -> Question:
        return Question(name, CheckKind.PROMISE, expected, answer)

    for slo in case.experiment.slos:
        share, name = limits.target(slo), _snake(slo.name)
        target = format_share(share)
        within = f" within {format_duration(slo.within_ns)}" if slo.within_ns is not None else ""
        yield ask(f"slo_{name}", f"{target} of the run's requests good{within}", _slo_met(slo, share))
        yield ask(f"steady_{name}", f"at least {target} good in the steady state, at 95 %", _steady_state(slo, share))
    if expect.recovers_within_ns is not None:
        limit = format_duration(expect.recovers_within_ns)
        yield ask("recovers_within", f"service back within {limit} of the fault", _recovers(expect.recovers_within_ns))
    if expect.lost_ns is not None:
        yield ask("lost", f"at most {format_duration(expect.lost_ns)} lost from the fault on", _lost(expect.lost_ns))
    if expect.lost_requests is not None:
        expected = f"at most {expect.lost_requests:,} requests lost from the fault on"
        yield ask("lost_requests", expected, _lost_requests(expect.lost_requests))
    if expect.wrong_answers is not None:
        expected = f"at most {expect.wrong_answers:,} wrong answers"
        yield ask("wrong_answers", expected, _wrong_answers(expect.wrong_answers))
    if expect.replicas_within_ns is not None:
        expected = f"full strength within {format_duration(expect.replicas_within_ns)}"
        yield ask("replicas_within", expected, _replicas(expect.replicas_within_ns))
    if expect.ready_floor is not None:
        yield ask("ready_floor", f"at least {expect.ready_floor} pods ready at all times", _floor(expect.ready_floor))
    if expect.stable_within_ns is not None:
        expected = f"the stable version serves everything within {format_duration(expect.stable_within_ns)}"
        yield ask("stable_within", expected, _stable(expect.stable_within_ns))
    if expect.exposed is not None:
        expected = f"at most {expect.exposed * 100:.4g} % of the requests met another version"
        yield ask("exposed", expected, _exposed(expect.exposed))
    if expect.undone_within_ns is not None:
        expected = f"undone and verified within {format_duration(expect.undone_within_ns)}"
        yield ask("undone_within", expected, _undone(expect.undone_within_ns))
    for name, expected, answer in service_promises(case, limits):
        yield ask(name, expected, answer)
    yield ask("settles", "every SLO met after the undo", _settles(limits))


def _snake(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def _slo_met(slo: Slo, target: float) -> Callable[[Case], Answer]:
    def answer(case: Case) -> Answer:
        first = case.first_ns(case.by_slo[slo.name].bad)
        return slo_met.slo_met(case.tally(slo=slo), target, first)

    return answer


def _steady_state(slo: Slo, target: float) -> Callable[[Case], Answer]:
    def answer(case: Case) -> Answer:
        if case.baseline_span is None:
            return invalid("the run has no baseline")
        rows = case.baseline_by(slo.within_ns)
        # What the load generator failed counts as bad: the bound is a claim in the platform's favour.
        bad = ~case.by_slo[slo.name].good[rows]
        found = bound(case.requests.scheduled_ns[rows], bad, *case.baseline_span)
        return steady_state.steady_state(found, target, case.mean_rate_per_s)

    return answer


def _recovers(limit_ns: int) -> Callable[[Case], Answer]:
    def answer(case: Case) -> Answer:
        hold = case.spec.expect.hold_ns
        return recovers_within.recovers_within(case.recovery, case.doubted_recovery, limit_ns, hold)

    return answer


def _lost(limit_ns: int) -> Callable[[Case], Answer]:
    def answer(case: Case) -> Answer:
        rows = case.from_fault
        if rows is None:
            return lost.lost(None, limit_ns, case.spec.load.rate_per_s, 0, None)
        aftershocks = int((rows & case.aftershocks).sum())
        first = case.first_ns(rows & case.overall.bad)
        return lost.lost(case.tally(rows), limit_ns, case.spec.load.rate_per_s, aftershocks, first)

    return answer


def _lost_requests(limit: int) -> Callable[[Case], Answer]:
    def answer(case: Case) -> Answer:
        rows = case.from_fault
        if rows is None:
            return lost.lost_requests(None, limit, 0, None)
        aftershocks = int((rows & case.aftershocks).sum())
        return lost.lost_requests(case.tally(rows), limit, aftershocks, case.first_ns(rows & case.overall.bad))

    return answer


def _wrong_answers(limit: int) -> Callable[[Case], Answer]:
    def answer(case: Case) -> Answer:
        wrong = case.requests.outcome.is_(outcomes.WRONG_ANSWER)
        answers = int((wrong | case.requests.outcome.is_(outcomes.OK)).sum())
        return wrong_answers.wrong_answers(int(wrong.sum()), answers, limit, case.first_ns(wrong))

    return answer


def _replicas(limit_ns: int) -> Callable[[Case], Answer]:
    def answer(case: Case) -> Answer:
        hold = case.spec.expect.hold_ns
        return replicas_within.replicas_within(case.pods, case.timeline.struck, case.until_ns, limit_ns, hold)

    return answer


def _floor(floor: int) -> Callable[[Case], Answer]:
    def answer(case: Case) -> Answer:
        return ready_floor.ready_floor(case.pods, case.timeline.struck, case.load_span, floor)

    return answer


def _stable(limit_ns: int) -> Callable[[Case], Answer]:
    def answer(case: Case) -> Answer:
        others = other_versions(case)
        if (refused := _served_before(case)) is not None:
            return refused
        certain = case.recoveries(doubting=False, other_version=others)
        unnamed = case.requests.outcome.is_(outcomes.OK) & ~case.requests.version.known()
        doubted = case.recoveries(doubting=True, other_version=others | unnamed)
        return stable_version.stable_within(certain, doubted, limit_ns, case.spec.expect.hold_ns)

    return answer


def _exposed(limit: float) -> Callable[[Case], Answer]:
    def answer(case: Case) -> Answer:
        if (refused := _served_before(case)) is not None:
            return refused
        return stable_version.exposed(_exposure(case), limit)

    return answer


def other_versions(case: Case) -> Mask:
    """Requests that another version than the stable one answered."""
    stable = case.spec.workload.stable_version
    return case.requests.version.where(lambda version: version != stable)


def _served_before(case: Case) -> Answer | None:
    stable = case.spec.workload.stable_version
    if stable is None:
        return invalid("the experiment names no stable version", hint="set workload.stable_version")
    before = case.baseline & case.requests.version.known()
    own = before & case.requests.version.is_(stable)
    return stable_version.served_before(int(own.sum()), int(before.sum()), stable)


def _exposure(case: Case) -> stable_version.Exposure | None:
    rows, struck = case.from_fault, case.timeline.struck_ns
    if rows is None or struck is None:
        return None
    others = other_versions(case) & rows
    recoveries = case.recoveries(doubting=False, other_version=other_versions(case))
    ends = [outage.by_ns for recovery in recoveries for outage in recovery.outages]
    until = case.timeline.stop_ns if None in ends else max((end for end in ends if end is not None), default=struck)
    scheduled = case.requests.scheduled_ns
    exposed_rows = rows & (scheduled >= struck) & (scheduled < (until or struck))
    answers = case.requests.outcome.is_(outcomes.OK, outcomes.WRONG_ANSWER)
    unnamed = rows & answers & ~case.requests.version.known()
    return stable_version.Exposure(
        scheduled=int(exposed_rows.sum()),
        others=int(others.sum()),
        unnamed=int(unnamed.sum()),
        first_ns=case.first_ns(others),
    )


def _undone(limit_ns: int) -> Callable[[Case], Answer]:
    def answer(case: Case) -> Answer:
        entries = [entry for entry in case.timeline.undo if entry.fault_id != LOAD_UNDO]
        return undone_within.undone_within(entries, case.timeline.start_of(Phase.ROLLBACK), limit_ns)

    return answer


def _settles(limits: Limits) -> Callable[[Case], Answer]:
    def answer(case: Case) -> Answer:
        rows = case.phase(Phase.SETTLE)
        apart = rows & case.aftershocks
        judged = rows & ~apart
        objectives = []
        for slo in case.experiment.slos:
            first = case.first_ns(judged & case.by_slo[slo.name].bad)
            tally, target = case.tally(judged, slo), limits.target(slo)
            objectives.append(settles.Settled(name=slo.name, target=target, tally=tally, first_bad_ns=first))
        return settles.settles(objectives, int(apart.sum()))

    return answer
