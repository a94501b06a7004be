"""Is everything that should have been recorded there, once, with times that can be?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from harness.checks.answer import Answer, count, invalid, passed
from harness.experiment.model import Phases
from harness.history import requests as outcomes
from harness.history.columns import Damage, Mask, Requests
from harness.history.records import Phase, Record
from harness.measure.timeline import Timeline
from harness.units import NS_PER_MS, NS_PER_S, format_duration

# A request is stamped by one clock in one process, so its times are in order; this allows for the stamping itself.
TOLERANCE_NS = NS_PER_MS
OBSERVED_SHARE = 0.9  # of the declared length of a phase
# Threads write side by side, and evidence is written down a little after it was seen.
DISORDER_NS = 10 * NS_PER_S


def history_complete(
    requests: Requests, timeline: Timeline, damage: Sequence[Damage], actions: Sequence[Record], declared: Phases
) -> Answer:
    """Every arrival of the schedule is there exactly once, from the baseline to the end of the settle phase."""
    wrong = [*_load(timeline, requests), *_damage(damage, timeline), *_phases(timeline, declared)]
    wrong += [*_order(actions, timeline), *_clock(requests, timeline)]
    seen = f"{count(len(requests), 'request')}, {count(len(timeline.spans), 'phase')}"
    if wrong:
        more = f" ({count(len(wrong) - 1, 'more problem')})" if len(wrong) > 1 else ""
        return invalid(
            f"the history is not complete: {wrong[0]}{more}",
            seen=f"{seen}; {wrong[0]}",
            hint="what is missing cannot be judged; run it again",
            problems=wrong,
        )
    return passed(f"{seen}, nothing missing", requests=len(requests))


def _load(timeline: Timeline, requests: Requests) -> list[str]:
    states = [load.state for load in timeline.loads]
    lost = [load.detail for load in timeline.loads if load.state == "lost"]
    if lost:
        return [f"the load generator was lost: {lost[0] or 'no reason given'}"]
    if "start" not in states or timeline.start_ns is None:
        return ["the load never started"]
    if "done" not in states:
        return ["the load generator never told its end"]
    if any(load.arrivals is None for load in timeline.loads if load.state == "done"):
        return ["the load generator did not tell how many requests it scheduled"]
    return [] if len(requests) else ["no request was recorded"]


def _damage(damage: Sequence[Damage], timeline: Timeline) -> list[str]:
    complete = any(load.state == "done" for load in timeline.loads) and not any(
        one.kind == "arrivals" or (one.kind == "missing" and one.where.startswith("requests")) for one in damage
    )
    # A file of requests that its writer did not close is whole when the load's own count says so.
    harmless = [one for one in damage if complete and one.kind == "cut" and one.where.startswith("requests")]
    return [str(one) for one in damage if one not in harmless]


def _phases(timeline: Timeline, declared: Phases) -> list[str]:
    found = [span.phase for span in timeline.spans]
    order = list(Phase)
    if timeline.stops:  # the phases that a run left out are told by its stop
        order = [phase for phase in order if phase in found]
    if found != order:
        missing = [phase.value for phase in order if phase not in found]
        if missing:
            return [f"the run never reached its phase {missing[0]}"]
        return [f"the phases are {', '.join(found)}, which is no order that a run has"]
    if any(span.end_ns is not None and span.end_ns < span.start_ns for span in timeline.spans):
        return ["a phase ends before it began"]
    if timeline.stops or timeline.stop_ns is None:
        return []
    for phase, declared_ns in ((Phase.RECOVER, declared.recover_ns), (Phase.SETTLE, declared.settle_ns)):
        span = timeline.span(phase)
        if span is None or span.end_ns is None:
            continue
        lasted = min(span.end_ns, timeline.stop_ns) - span.start_ns
        if lasted < OBSERVED_SHARE * declared_ns:
            whole = format_duration(declared_ns)
            return [f"the {phase.value} phase was observed for {format_duration(max(0, lasted))} of {whole}"]
    return []


def _order(actions: Sequence[Record], timeline: Timeline) -> list[str]:
    """Records are written as things happen; a run that was finished by another machine has another clock."""
    if timeline.stops:
        return []
    for before, after in pairwise(actions):
        if before.t_ns - after.t_ns > DISORDER_NS:
            earlier = format_duration(before.t_ns - after.t_ns)
            return [f"a record of actions.jsonl is {earlier} older than the one before it"]
    return []


def _clock(requests: Requests, timeline: Timeline) -> list[str]:
    """Times that cannot be: they would move requests to where they were not."""
    misnumbered = np.zeros(len(requests), dtype=np.bool_)
    misnumbered[1:] = requests.arrival[1:] <= requests.arrival[:-1]  # they are numbered in the order of the schedule
    found: Counter[str] = Counter()
    for rows, block in requests.blocks():
        impossible = _impossible(block, misnumbered[rows], timeline)
        found.update({what: int(np.count_nonzero(those)) for what, those in impossible.items()})
    return [f"{count(number, 'request')} {what}" for what, number in found.items() if number]


def _impossible(requests: Requests, misnumbered: Mask, timeline: Timeline) -> dict[str, Mask]:
    sent, end, first = requests.sent_ns, requests.end_ns, requests.first_byte_ns
    unsent = requests.outcome.is_(outcomes.NOT_SENT)
    impossible = {
        "have no outcome": ~requests.outcome.known(),
        "were sent before they were scheduled": (sent >= 0) & (sent < requests.scheduled_ns - TOLERANCE_NS),
        "ended before they were sent": (sent >= 0) & (end < sent),
        "were answered before they were sent": (first >= 0) & (first < sent),
        "ended before they were answered": (first >= 0) & (end < first),
        "were not sent and yet ended": unsent & (end >= 0) & (sent >= 0),
        "were neither sent nor told as not sent": ~unsent & (sent < 0),
        "have the same number as one scheduled at another time": misnumbered,
    }
    if timeline.start_ns is not None and timeline.stop_ns is not None:
        outside = (requests.scheduled_ns < timeline.start_ns) | (requests.scheduled_ns >= timeline.stop_ns)
        impossible["were scheduled before the start or after the stop of the load"] = outside
    return impossible
