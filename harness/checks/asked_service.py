"""What a run is asked about the quality of service: latency, uptime, goodput, error budget, degradation, gray pods.

As `harness.checks.asked`, which asks these where the experiment's `expect` does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from harness.checks import budget, degraded, goodput, gray_pods, in_flight_lost, latency_quantile, steady_state, uptime
from harness.checks.answer import Answer, invalid
from harness.checks.limits import Limits
from harness.experiment.model import Slo
from harness.measure import figures
from harness.measure.case import Case
from harness.measure.gray import served
from harness.measure.recovery import Outage
from harness.measure.steady import bound
from harness.units import NS_PER_S, format_duration, format_share

GOODPUT_WINDOW_NS = 5 * NS_PER_S

Asked = tuple[str, str, Callable[[Case], Answer]]  # name, expected, answer


def service_promises(case: Case, limits: Limits) -> Iterator[Asked]:
    """Those that the experiment makes."""
    expect = limits.expect
    for name, (share, limit_ns) in expect.latency_shares.items():
        limit, word = format_duration(limit_ns), name.replace(".", "_")
        yield f"latency_{word}", f"{name} at most {limit} over the run", _latency(name, share, limit_ns)
        expected = f"{name} at most {limit} in the steady state, at 95 %"
        yield f"steady_latency_{word}", expected, _steady_latency(share, limit_ns)
    if expect.uptime is not None:
        expected = f"the SLOs met in {format_share(expect.uptime)} of the seconds"
        yield "uptime", expected, _uptime(expect.uptime)
    if expect.goodput_per_s is not None:
        expected = f"at least {expect.goodput_per_s:g}/s good in every 5 s from fault to undo"
        if limits.margin:
            expected += f", and {format_share(limits.margin)} of what was offered beyond that"
        yield "goodput", expected, _goodput(expect.goodput_per_s, limits.margin)
    for slo in case.experiment.slos:
        name = slo.name.replace("-", "_")
        if expect.budget_spent is not None:
            expected = f"at most {expect.budget_spent * 100:.3g} % of the error budget spent"
            yield f"budget_{name}", expected, _budget(slo, expect.budget_spent)
        if expect.burn_rate is not None:
            expected = f"the budget burns at most at {expect.burn_rate:g}x in 5 min or in 1 h"
            yield f"burn_{name}", expected, _burn(slo, expect.burn_rate)
    if expect.degraded_ns is not None:
        expected = f"outages last at most {format_duration(expect.degraded_ns)} together"
        yield "degraded", expected, _degraded(expect.degraded_ns)
    if expect.in_flight_lost is not None:
        expected = f"at most {expect.in_flight_lost:,} of the requests under way lost"
        yield "in_flight_lost", expected, _in_flight(expect.in_flight_lost)
    if expect.gray_pods is not None:
        yield "gray_pods", f"at most {expect.gray_pods} pods ready but bad for their clients", _gray(expect.gray_pods)


def _latency(name: str, share: float, limit_ns: int) -> Callable[[Case], Answer]:
    def answer(case: Case) -> Answer:
        within = case.answered_within(limit_ns)
        seen = figures.latency_quantile(case.requests, slice(None), case.spec.load.timeout_ns, share)
        tally = case.tally_of(within)
        return latency_quantile.latency_quantile(tally, name, share, limit_ns, seen, case.first_ns(within.bad))

    return answer


def _steady_latency(share: float, limit_ns: int) -> Callable[[Case], Answer]:
    """The order-statistic bound of the quantile keeps the limit exactly when the bound of the share within it does."""

    def answer(case: Case) -> Answer:
        if case.baseline_span is None:
            return invalid("the run has no baseline")
        rows = case.baseline_by(limit_ns)
        slow = ~case.answered_within(limit_ns).good[rows]
        found = bound(case.requests.scheduled_ns[rows], slow, *case.baseline_span)
        return steady_state.steady_state(found, share, case.mean_rate_per_s)

    return answer


def _uptime(least: float) -> Callable[[Case], Answer]:
    def answer(case: Case) -> Answer:
        target = max(slo.target for slo in case.experiment.slos)
        scheduled, zero, overall = case.requests.scheduled_ns, case.timeline.start_ns or 0, case.overall
        up = figures.windows(scheduled, overall.good, zero, target)
        may_be = figures.windows(scheduled, ~overall.bad, zero, target)
        return uptime.uptime(up["met"], may_be["met"], up["total"], least, case.first_ns(overall.bad))

    return answer


def _goodput(least_per_s: float, margin: float) -> Callable[[Case], Answer]:
    def answer(case: Case) -> Answer:
        begin, end = case.timeline.struck_ns, case.until_ns
        if begin is None or end is None:
            return invalid("no fault struck, so nothing was lost by it")
        return goodput.goodput(_worst(case, begin, end, least_per_s, margin), GOODPUT_WINDOW_NS / NS_PER_S)

    return answer


def _worst(case: Case, begin_ns: int, end_ns: int, least_per_s: float, margin: float) -> goodput.Worst | None:
    """Over stretches that begin a second apart; of those in which enough was offered, where one of them falls short."""
    begins = np.arange(begin_ns, end_ns - GOODPUT_WINDOW_NS + 1, NS_PER_S, dtype=np.int64)
    if not len(begins):
        return None
    seconds, scheduled = GOODPUT_WINDOW_NS / NS_PER_S, case.requests.scheduled_ns
    first = np.searchsorted(scheduled, begins)
    last = np.searchsorted(scheduled, begins + GOODPUT_WINDOW_NS)
    good = np.concatenate(([0], np.cumsum(case.overall.good)))
    unknown = np.concatenate(([0], np.cumsum(case.overall.unknown)))
    got, offered, least = good[last] - good[first], last - first, least_per_s * seconds
    # Of what was offered, the rest may be bad; of that rest the margin may not.
    needed = least + np.maximum(offered - least, 0) * margin
    short = np.where(offered >= least, needed - got, -np.inf)
    at = int(short.argmax()) if short.max() > 0 else int(got.argmin())
    return goodput.Worst(
        begin_ns=int(begins[at]),
        least_per_s=float(needed[at]) / seconds,
        good_per_s=float(got[at]) / seconds,
        unknown_per_s=float((unknown[last] - unknown[first]).max()) / seconds,
        offered_per_s=float(offered[at]) / seconds,
    )


def _budget(slo: Slo, limit: float) -> Callable[[Case], Answer]:
    def answer(case: Case) -> Answer:
        tally, rate = case.tally(slo=slo), case.mean_rate_per_s
        if not tally.scheduled:
            return invalid("no request was scheduled")
        first = case.first_ns(case.by_slo[slo.name].bad)
        return budget.budget_spent(tally.bad / rate, (tally.bad + tally.unknown) / rate, slo.budget_s, limit, first)

    return answer


def _burn(slo: Slo, limit: float) -> Callable[[Case], Answer]:
    def answer(case: Case) -> Answer:
        if not len(case.requests):
            return invalid("no request was scheduled")
        scheduled, rate, one = case.requests.scheduled_ns, case.mean_rate_per_s, case.by_slo[slo.name]
        burn = figures.burn_rates(scheduled, one.bad, rate, slo.target)
        doubted = figures.burn_rates(scheduled, ~one.good, rate, slo.target)
        return budget.burn_rate(burn, doubted, limit, slo.target)

    return answer


def _degraded(limit_ns: int) -> Callable[[Case], Answer]:
    def answer(case: Case) -> Answer:
        stop = case.timeline.stop_ns
        if not case.recovery or stop is None:
            return degraded.degraded(None, None, limit_ns, 0)
        return degraded.degraded(_outages(case, False), _outages(case, True), limit_ns, stop)

    return answer


def _outages(case: Case, doubting: bool) -> list[Outage]:
    found = case.doubted_recovery if doubting else case.recovery
    return [outage for one in found for outage in one.outages]


def _in_flight(limit: int) -> Callable[[Case], Answer]:
    def answer(case: Case) -> Answer:
        struck = case.timeline.struck_ns
        if struck is None:
            return in_flight_lost.in_flight_lost(None, limit, None)
        under_way = (case.requests.scheduled_ns < struck) & (case.requests.end_ns >= struck)
        first = case.first_ns(under_way & case.overall.bad)
        return in_flight_lost.in_flight_lost(case.tally(under_way), limit, first)

    return answer


def _gray(limit: int) -> Callable[[Case], Answer]:
    def answer(case: Case) -> Answer:
        begin, end = case.timeline.struck_ns, case.until_ns
        if begin is None or end is None or not case.pods.watched or case.pods.ready.gap_between(begin, end):
            return gray_pods.gray_pods(None, limit)
        steady = [pod.name for pod in case.pods.pods if pod.ready_throughout(begin, end)]
        scheduled = case.requests.scheduled_ns
        rows = (scheduled >= begin) & (scheduled < end)
        most_bad = 1 - min(slo.target for slo in case.experiment.slos)
        return gray_pods.gray_pods(served(case.requests, rows, case.overall.bad, steady, most_bad), limit)

    return answer
