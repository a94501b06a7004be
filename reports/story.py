"""The run in words: what was promised, what was done, what clients saw. Every report tells it with these sentences.

All of it comes from the verdict (and the experiment, where there is one). Whatever is missing there is left out: a run
that was skipped or killed is reported too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from harness.experiment.model import Experiment
from harness.history.requests import NOT_SENT
from harness.units import format_duration, format_share
from harness.verdict import CheckResult, Verdict, VerdictName

MEANING = {
    VerdictName.PASSED: "the promise held",
    VerdictName.FAILED: "the promise did not hold",
    VerdictName.INVALID: "nothing may be concluded from this run",
    VerdictName.ABORTED: "stopped before its end; the fault is undone",
    VerdictName.RESIDUE: "something of the fault is left in the cluster",
    VerdictName.SKIPPED: "the cluster lacks what the experiment needs",
}

# Worst first: the order in which a person should read checks and suites.
WORST_FIRST = (
    VerdictName.RESIDUE,
    VerdictName.ABORTED,
    VerdictName.FAILED,
    VerdictName.INVALID,
    VerdictName.SKIPPED,
    VerdictName.PASSED,
)


@dataclass(frozen=True, slots=True)
class Figure:
    """One number that the report shows large."""

    label: str
    value: str
    note: str = ""


def section(data: Mapping[str, Any] | None, *path: str) -> Mapping[str, Any]:
    """The nested object at `path`, or an empty one."""
    value: Any = data
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def rows(data: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    """The list of objects under `key`, or an empty one."""
    value = data.get(key)
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list | tuple) else []


def number(data: Mapping[str, Any], key: str) -> float | None:
    """A finite number under `key`, or None."""
    value = data.get(key)
    if value is None or isinstance(value, bool | str):
        return None
    value = float(value)
    return value if abs(value) < float("inf") else None


def zero_ns(verdict: Verdict) -> int | None:
    """The start of the load, which all plots and tables count from."""
    zero = number(verdict.measurements, "zero_ns")
    return None if zero is None else int(zero)


def moment(verdict: Verdict, at_ns: float | None) -> str:
    """`15.32 s`: a monotonic time as seconds since the load began."""
    zero = zero_ns(verdict)
    if at_ns is None or zero is None:
        return ""
    return f"{(at_ns - zero) / 1e9:.2f} s"


def where(verdict: Verdict, check: CheckResult) -> str:
    """Where in the history the check's finding shows."""
    return moment(verdict, check.at_ns)


def experiment_name(verdict: Verdict) -> str:
    """`gpu-pod-kill`: the experiment's short name, else its title."""
    name = verdict.environment.get("experiment")
    return name if isinstance(name, str) and name else verdict.title or verdict.run_id


def started(verdict: Verdict) -> datetime | None:
    """When the run began, by the wall clock, in UTC."""
    wall = number(verdict.environment, "started_wall_ns")
    return None if wall is None else datetime.fromtimestamp(wall / 1e9, UTC)


def duration_ns(verdict: Verdict) -> int | None:
    """From the start of the first phase to the end of the last."""
    phases = rows(verdict.measurements, "phases")
    starts = [start for phase in phases if (start := number(phase, "start_ns")) is not None]
    ends = [end for phase in phases if (end := number(phase, "end_ns")) is not None]
    return int(max(ends) - min(starts)) if starts and ends else None


def environment(verdict: Verdict) -> list[tuple[str, str]]:
    """The environment as flat pairs: `cluster.version` -> `v1.33.0`."""
    return list(_flat(verdict.environment, ""))


def _flat(data: Mapping[str, Any], prefix: str) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for key, value in data.items():
        if isinstance(value, Mapping):
            pairs += _flat(value, f"{prefix}{key}.")
        elif value is not None and value != "":
            text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
            pairs.append((f"{prefix}{key}", text))
    return pairs


def checks_worst_first(verdict: Verdict) -> list[CheckResult]:
    """Checks in the order a person should read them: what went wrong first, otherwise as judged."""
    return sorted(verdict.checks, key=lambda check: WORST_FIRST.index(check.verdict))


def promised(experiment: Experiment | None) -> list[str]:
    """What the experiment expects, one short sentence each."""
    if experiment is None:
        return []
    expect = experiment.bulletproof.expect
    lines = []
    for slo in experiment.slos:
        within = "" if slo.within_ns is None else f" right within {format_duration(slo.within_ns)}"
        lines.append(f"{format_share(slo.target)} of answers{within or ' right'} ({slo.name})")
    durations = (
        (expect.recovers_within_ns, "service back within {}"),
        (expect.lost_ns, "at most {} of service lost"),
        (expect.replicas_within_ns, "full strength within {}"),
        (expect.stable_within_ns, "stable version everywhere within {}"),
        (expect.undone_within_ns, "fault undone within {}"),
    )
    lines += [text.format(format_duration(limit)) for limit, text in durations if limit is not None]
    if expect.lost_requests is not None:
        lines.append(f"at most {expect.lost_requests:,} bad requests" if expect.lost_requests else "no bad request")
    if expect.wrong_answers is not None:
        lines.append(f"at most {expect.wrong_answers:,} wrong answers" if expect.wrong_answers else "no wrong answer")
    if expect.exposed is not None:
        lines.append(f"at most {format_share(expect.exposed)} of requests on another version")
    if expect.ready_floor is not None:
        lines.append(f"never fewer than {expect.ready_floor} pods ready")
    return lines + _service_promised(experiment)


def _service_promised(experiment: Experiment) -> list[str]:
    expect = experiment.bulletproof.expect
    lines = [f"{name} at most {format_duration(limit)}" for name, limit in expect.latency_ns.items()]
    if expect.uptime is not None:
        lines.append(f"up in {format_share(expect.uptime)} of the seconds")
    if expect.goodput_per_s is not None:
        lines.append(f"at least {expect.goodput_per_s:g} good answers a second while it lasts")
    if expect.budget_spent is not None:
        lines.append(f"at most {expect.budget_spent * 100:.3g} % of the error budget spent")
    if expect.burn_rate is not None:
        lines.append(f"error budget never burning above {expect.burn_rate:g}x")
    if expect.degraded_ns is not None:
        lines.append(f"degraded for at most {format_duration(expect.degraded_ns)} in all")
    if expect.in_flight_lost is not None:
        lines.append(f"at most {expect.in_flight_lost:,} of the requests under way lost")
    if expect.gray_pods is not None:
        lines.append("no gray pod" if not expect.gray_pods else f"at most {expect.gray_pods} gray pods")
    return lines


def done(verdict: Verdict) -> list[str]:
    """What was broken, how it was proven, and how it was undone."""
    lines = []
    for fault in rows(verdict.measurements, "faults"):
        begin, proven, undone = (number(fault, key) for key in ("begin_ns", "proven_ns", "undone_ns"))
        text = f"{fault.get('fault', 'fault')} on {fault.get('target', 'unknown target')}"
        if begin is not None:
            text += f" at {moment(verdict, begin)}"
        if fault.get("proven") and begin is not None and proven is not None:
            text += f", proven {format_duration(max(proven - begin, 0))} later"
        elif not fault.get("proven"):
            text += ", its effect NOT proven"
        if undone is not None:
            text += f", undone at {moment(verdict, undone)}"
        lines.append(text)
    undo = rows(verdict.measurements, "undo")
    left = [entry for entry in undo if number(entry, "verified_ns") is None]
    if left:
        lines.append(f"{len(left)} of {len(undo)} undo entries NOT verified")
    return lines


def saw(verdict: Verdict) -> list[str]:
    """What clients met, as counts."""
    measurements = verdict.measurements
    requests = section(measurements, "requests")
    scheduled, bad = number(requests, "scheduled"), number(requests, "bad")
    if not scheduled:
        return ["no request was recorded"]
    lines = [f"{scheduled:,.0f} requests offered{_from(verdict)}, {_bad(bad or 0, scheduled)}"]
    not_judged = number(requests, "not_judged")
    if not_judged:
        lines.append(f"{not_judged:,.0f} more say nothing: the load itself was late, or did not send them")
    outcomes = section(requests, "by_outcome")
    kinds = [(int(count), name) for name, count in outcomes.items() if name != "ok" and count]
    # A right answer that came too late has the outcome ok.
    slow = round(bad or 0) - sum(count for count, name in kinds if name != NOT_SENT)
    if slow > 0:
        kinds.append((slow, "too slow"))
    if kinds:
        ordered = sorted(kinds, key=lambda kind: (-kind[0], kind[1]))
        lines.append(", ".join(f"{count:,} {name}" for count, name in ordered))
    lines += _several_attempts(verdict)
    recovery = section(measurements, "recovery")
    start, after, by = (number(recovery, key) for key in ("start_ns", "after_ns", "by_ns"))
    if start is not None and after is not None and after <= start and by is not None:
        lines.append("service was never away after the fault")
    elif start is not None and by is not None:
        lines.append(f"service back {format_duration(max(by - start, 0))} after the fault's effect began")
    elif start is not None:
        lines.append("service did NOT come back while it was watched")
    aftershocks = number(recovery, "aftershocks")
    if aftershocks:
        lines.append(f"{aftershocks:,.0f} aftershocks on source ports that had failed before")
    return lines


def _from(verdict: Verdict) -> str:
    """Where the load ran, as far as the run tells it."""
    load = section(verdict.environment, "load")
    place = f" from {load['from']} the cluster" if load.get("from") in ("inside", "outside") else ""
    workers = load.get("workers")
    return place + (f" by {len(workers)} workers" if isinstance(workers, list) and len(workers) > 1 else "")


def _several_attempts(verdict: Verdict) -> list[str]:
    """What retries hide. Of a hedged request nothing says that its first copy would have failed."""
    attempts = section(verdict.measurements, "requests", "several_attempts")
    several, good = number(attempts, "requests") or 0, number(attempts, "good") or 0
    if not several:
        return []
    if section(verdict.environment, "load").get("hedge_after"):
        return [f"{several:,.0f} requests took several attempts, by retries or hedging; {good:,.0f} of them were good"]
    return [f"{several:,.0f} requests were retried; {good:,.0f} of them were good only by that"]


def _bad(bad: float, scheduled: float) -> str:
    return f"{bad:,.0f} of them bad ({_percent(bad / scheduled)})" if bad else "every one answered well"


def _percent(share: float) -> str:
    return "0 %" if share == 0 else f"{share * 100:.2g} %" if share < 0.1 else f"{share * 100:.1f} %"


def figures(verdict: Verdict) -> list[Figure]:
    """The few numbers that decide: availability, lost seconds, recovery, latency before and during."""
    measurements = verdict.measurements
    found = []
    for slo in rows(measurements, "slos")[:2]:
        availability, target = number(slo, "availability"), number(slo, "target")
        if availability is not None:
            note = "" if target is None else f"target {format_share(target)}"
            found.append(Figure(f"Availability · {slo.get('name', 'SLO')}", format_share(availability), note))
    lost = number(measurements, "lost_s")
    if lost is not None:
        spent = next((s for slo in rows(measurements, "slos") if (s := number(slo, "budget_spent")) is not None), None)
        note = "" if spent is None else f"{_percent(spent)} of the error budget"
        pages = [
            page for slo in rows(measurements, "slos") if (page := section(slo, "burn").get("would_page")) is not None
        ]
        if pages:
            note += "; would page" if any(pages) else "; would not page"
        found.append(Figure("Service lost", format_duration(lost * 1e9), note))
    recovery = section(measurements, "recovery")
    start, after, by = (number(recovery, key) for key in ("start_ns", "after_ns", "by_ns"))
    if start is not None:
        value = "not seen" if by is None else format_duration(max(by - start, 0))
        note = "" if after is None else f"last bad request {format_duration(max(after - start, 0))} after the fault"
        if after is not None and after <= start and by is not None:
            value, note = "never away", "no bad request after the fault"
        found.append(Figure("Service back after", value, note))
    before, during = (section(measurements, "latency", part) for part in ("baseline", "fault"))
    p99 = number(before, "p99_ns")
    if p99 is not None:
        struck = number(during, "p99_ns")
        note = "" if struck is None else f"{format_duration(struck)} during the fault"
        found.append(Figure("Latency p99, baseline", format_duration(p99), note))
    return found
