"""One run, measured: everything that the checks ask about, worked out once, on demand, from the history alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from harness.experiment.model import Slo
from harness.history.columns import Mask
from harness.history.reader import History
from harness.history.records import Phase
from harness.measure.aftershocks import find_aftershocks
from harness.measure.evidence import Answers, Claim, settle
from harness.measure.goodness import Goodness, goodness, together
from harness.measure.pods import Pods, read_pods
from harness.measure.recovery import Observed, Recovery, recover_each
from harness.measure.timeline import Strike, Timeline, read_timeline
from harness.units import NS_PER_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """Requests counted by goodness."""

    scheduled: int
    good: int
    bad: int

    @property
    def unknown(self) -> int:
        """The load generator's own failures."""
        return self.scheduled - self.good - self.bad


class Case:
    """The measurements of one history. Properties are computed at their first use."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.experiment = history.experiment
        self.spec = history.experiment.bulletproof
        self.requests = history.requests

    # -- when -----

    @cached_property
    def timeline(self) -> Timeline:
        """The run's course."""
        scheduled = self.requests.scheduled_ns
        return read_timeline(self.history.actions, int(scheduled[-1]) if len(scheduled) else None)

    @cached_property
    def load_span(self) -> tuple[int, int] | None:
        """When arrivals were scheduled, where both ends are known."""
        start, stop = self.timeline.start_ns, self.timeline.stop_ns
        return (start, stop) if start is not None and stop is not None and stop > start else None

    @cached_property
    def until_ns(self) -> int | None:
        """Where the observation of the fault ends: the undo begins, or the load stopped before it."""
        rollback, stop = self.timeline.start_of(Phase.ROLLBACK), self.timeline.stop_ns
        known = [moment for moment in (rollback, stop) if moment is not None]
        return min(known, default=None)

    @cached_property
    def mean_rate_per_s(self) -> float:
        """What the schedule expects over the load's time; the declared rate where it does not change."""
        declared, span = self.spec.load.rate_per_s, self.load_span
        if not self.experiment.rate_changes or span is None:
            return declared
        lasts_ns = span[1] - span[0]
        return float(self.experiment.offered(lasts_ns).expected(lasts_ns)) / (lasts_ns / NS_PER_S) or declared

    @cached_property
    def baseline_span(self) -> tuple[int, int] | None:
        """[from, to) under load before anything was done: the baseline, and what probes and pauses took after it."""
        span, start = self.timeline.span(Phase.BASELINE), self.timeline.start_ns
        if span is None or start is None:
            return None
        ends = [min(self._begun(lambda _: True), default=span.end_ns), self.timeline.struck_ns, self.timeline.stop_ns]
        end = min((moment for moment in ends if moment is not None), default=None)
        begin = max(span.start_ns, start)
        return (begin, end) if end is not None and end > begin else None

    @cached_property
    def touched_ns(self) -> int | None:
        """When the first fault struck, or an action that is none of ours began before it; None without a fault."""
        foreign = self._begun(lambda provider: provider.get("module") != "harness.faults")
        return None if self.timeline.struck_ns is None else min([self.timeline.struck_ns, *foreign])

    def _begun(self, wanted: Callable[[dict[str, Any]], bool]) -> list[int]:
        """When the method's actions of such providers began."""
        method = self.experiment.chaos["method"]
        names = {one["name"] for one in method if one["type"] == "action" and wanted(one["provider"])}
        own = [one for one in self.timeline.activities if one.section == "method" and one.step == "begin"]
        return [one.t_ns for one in own if one.name in names]

    # -- which requests -----

    @cached_property
    def baseline(self) -> Mask:
        """Requests of the baseline. Those still under way when the fault struck count with the fault."""
        if self.baseline_span is None:
            return np.zeros(len(self.requests), dtype=np.bool_)
        begin, end = self.baseline_span
        rows = (self.requests.scheduled_ns >= begin) & (self.requests.scheduled_ns < end)
        touched = self.touched_ns
        return rows if touched is None else rows & (self.requests.end_ns < touched)

    def baseline_by(self, within_ns: int | None) -> Mask:
        """The same, and those under way then that had broken this limit already, whatever the fault did to them.

        Without them a baseline of slow answers would be one of the quick ones: the slow had not ended yet.
        """
        touched = self.touched_ns
        if touched is None or within_ns is None or self.baseline_span is None:
            return self.baseline
        begin, end = self.baseline_span
        scheduled = self.requests.scheduled_ns
        late = (scheduled >= begin) & (scheduled < min(end, touched - within_ns)) & (self.requests.end_ns >= touched)
        return self.baseline | late

    @cached_property
    def from_fault(self) -> Mask | None:
        """Requests that the method may have touched: scheduled after that, or still under way then."""
        touched = self.touched_ns
        if touched is None:
            return None
        return (self.requests.scheduled_ns >= touched) | (self.requests.end_ns >= touched)

    def phase(self, phase: Phase) -> Mask:
        """Requests scheduled in a phase."""
        rows = np.zeros(len(self.requests), dtype=np.bool_)
        rows[self.rows_of(phase)] = True
        return rows

    def rows_of(self, phase: Phase) -> slice:
        """The same, as a slice: requests are sorted by their schedule."""
        span = self.timeline.span(phase)
        if span is None:
            return slice(0, 0)
        begin = int(np.searchsorted(self.requests.scheduled_ns, span.start_ns))
        if span.end_ns is None:
            return slice(begin, None)
        return slice(begin, int(np.searchsorted(self.requests.scheduled_ns, span.end_ns)))

    # -- good or bad -----

    @cached_property
    def by_slo(self) -> dict[str, Goodness]:
        """Goodness by each SLO, by name."""
        return {slo.name: goodness(self.requests, slo) for slo in self.experiment.slos}

    @cached_property
    def overall(self) -> Goodness:
        """Good by every SLO."""
        return together(list(self.by_slo.values()))

    @cached_property
    def aftershocks(self) -> Mask:
        """Bad requests that are the network's memory of an outage."""
        return find_aftershocks(self.requests, self.overall.good, self.overall.bad)

    def tally(self, rows: Mask | None = None, slo: Slo | None = None) -> Tally:
        """The requests of `rows` (None: all) by one SLO (None: by all)."""
        one = self.overall if slo is None else self.by_slo[slo.name]
        if rows is None:
            return self.tally_of(one)
        return Tally(scheduled=_count(rows), good=_count(one.good & rows), bad=_count(one.bad & rows))

    def answered_within(self, limit_ns: int) -> Goodness:
        """Good: the right answer within this time of its schedule, whatever the SLOs say."""
        slo = Slo(name="latency", service="", target=0.5, window_days=1.0, within_ns=limit_ns, file="")
        return goodness(self.requests, slo)

    def tally_of(self, one: Goodness) -> Tally:
        """All requests by this goodness."""
        return Tally(scheduled=len(self.requests), good=_count(one.good), bad=_count(one.bad))

    def first_ns(self, rows: Mask) -> int | None:
        """When the first of these requests was scheduled."""
        at = int(rows.argmax()) if len(rows) else 0
        return int(self.requests.scheduled_ns[at]) if len(rows) and rows[at] else None

    # -- what struck, what came back -----

    @cached_property
    def pods(self) -> Pods:
        """The workload's pods, as the watches told."""
        workload = self.spec.workload
        return read_pods(
            self.history.watched,
            namespace=workload.namespace,
            selector=workload.selector,
            service=workload.service,
        )

    @cached_property
    def claims(self) -> dict[str, tuple[Claim, ...]]:
        """Every claim of every fault, settled, by fault."""
        answers = Answers(requests=self.requests, timeline=self.timeline, pods=self.pods, baseline=self.baseline)
        found: dict[str, tuple[Claim, ...]] = {}
        for strike in self.timeline.struck:
            settled = tuple(settle(strike, evidence, answers) for evidence in strike.claims)
            found[strike.fault_id] = (*found.get(strike.fault_id, ()), *settled)
        return found

    def proven_ns(self, strike: Strike) -> int | None:
        """When the fault's effect was first seen by its evidence, never before it struck."""
        struck = strike.begin_ns or 0
        # What the requests say is in the requests themselves: the first bad one counts as a start there.
        seen = [one.t_ns for one in self.claims.get(strike.fault_id, ()) if one.seen and one.channel != "requests"]
        named = [
            since
            for one in strike.claims
            if one.seen and isinstance(since := one.facts.get("since_ns"), int) and not isinstance(since, bool)
        ]
        return max(struck, min([*seen, *named])) if seen or named else None

    def recoveries(self, *, doubting: bool, other_version: Mask | None = None) -> tuple[Recovery, ...]:
        """One for each group of strikes; none without a strike.

        `doubting` takes requests that the load generator failed as bad, otherwise they are passed over.
        `other_version` are further requests that count as bad; the baseline had none, so they are never noise.
        """
        strikes = self.timeline.struck
        until, stop = self.until_ns, self.timeline.stop_ns
        if not strikes or until is None or stop is None or self.from_fault is None:
            return ()
        bad, known = self.overall.bad, self.overall.good | self.overall.bad
        if doubting:
            bad, known = ~self.overall.good, np.ones(len(self.requests), dtype=np.bool_)
        known = known & ~self.aftershocks
        other = other_version if other_version is not None else np.zeros(len(self.requests), dtype=np.bool_)
        bad, known = bad | other, known | other
        struck = strikes[0].begin_ns or 0
        under_way = (self.requests.scheduled_ns < struck) & (self.requests.end_ns >= struck)
        tally = self.tally(self.baseline)
        observed = Observed(
            scheduled_ns=self.requests.scheduled_ns,
            sent_ns=self.requests.sent_ns,
            bad=bad & known,
            known=known,
            never_noise=other,
            in_flight_bad=bool((under_way & bad & known).any()),
            hold_ns=self.spec.expect.hold_ns,
            end_ns=stop,
            baseline_requests=tally.scheduled,
            baseline_bad=tally.bad,
        )
        starts = [(strike.begin_ns or 0, self.proven_ns(strike)) for strike in strikes]
        return recover_each(observed, starts, until)

    @cached_property
    def recovery(self) -> tuple[Recovery, ...]:
        """As far as the requests say for certain: the load generator's failures are passed over."""
        return self.recoveries(doubting=False)

    @cached_property
    def doubted_recovery(self) -> tuple[Recovery, ...]:
        """The worst that may have been: the load generator's failures hide bad requests."""
        if not self.overall.unknown.any():
            return self.recovery
        return self.recoveries(doubting=True)


def _count(rows: Mask) -> int:
    return int(np.count_nonzero(rows))  # ten times as fast as their sum
