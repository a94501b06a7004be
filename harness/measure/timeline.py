"""When the phases were, what struck, what was said about it, what was undone: the harness' own records, in order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from harness.history.records import (
    Action,
    Evidence,
    FaultStrike,
    LoadState,
    Phase,
    PhaseStart,
    Record,
    Snapshot,
    Stop,
    UndoStep,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A phase of the run. `end_ns` is the start of the next one; None: it is the last that was recorded."""

    phase: Phase
    start_ns: int
    end_ns: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Strike:
    """One fault on one target, as far as it went."""

    fault_id: str
    fault: str
    target: str
    begin_ns: int | None
    injected_ns: int | None
    failed: str | None  # the error; None: it did not fail
    facts: dict[str, Any]  # of all steps; later ones win
    claims: tuple[Evidence, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The pods that the fault struck, by name; empty where it names none."""
        return pod_names(self.facts, self.target)


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoEntry:
    """One entry of the undo journal, and how far its undo went."""

    entry_id: str
    fault_id: str
    begin_ns: int | None
    verified_ns: int | None  # None: not (or no longer) verified
    detail: str  # of the last step


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """The run's course. Times are monotonic ns; None is "never seen"."""

    spans: tuple[Span, ...]
    start_ns: int | None  # the load's schedule begins
    stop_ns: int | None  # no arrival at or after this
    loads: tuple[LoadState, ...]
    strikes: tuple[Strike, ...]
    undo: tuple[UndoEntry, ...]
    snapshots: tuple[Snapshot, ...]
    activities: tuple[Action, ...]
    stops: tuple[Stop, ...]

    @property
    def struck(self) -> tuple[Strike, ...]:
        """The strikes that began, in order of time."""
        begun = [strike for strike in self.strikes if strike.begin_ns is not None]
        return tuple(sorted(begun, key=lambda strike: strike.begin_ns or 0))

    @property
    def struck_ns(self) -> int | None:
        """The moment at which the first fault struck."""
        return self.struck[0].begin_ns if self.struck else None

    def span(self, phase: Phase) -> Span | None:
        """The phase's span; None when the run never reached it."""
        return next((span for span in self.spans if span.phase is phase), None)

    def start_of(self, phase: Phase) -> int | None:
        """When the phase began."""
        span = self.span(phase)
        return None if span is None else span.start_ns


def pod_names(facts: dict[str, Any], target: str) -> tuple[str, ...]:
    """The pods that facts (`pod`, `pods`) or a target (`pod/NAME`) name."""
    pods = facts.get("pods")
    if isinstance(pods, list | tuple) and pods:
        return tuple(str(pod.get("pod", pod.get("name"))) if isinstance(pod, dict) else str(pod) for pod in pods)
    if isinstance(facts.get("pod"), str):
        return (facts["pod"],)
    return (target.removeprefix("pod/"),) if target.startswith("pod/") else ()


def read_timeline(actions: Sequence[Record], last_scheduled_ns: int | None) -> Timeline:
    """The run's course from its records, in the order of writing."""
    loads = tuple(record for record in actions if isinstance(record, LoadState))
    spans = _spans([record for record in actions if isinstance(record, PhaseStart)])
    start_ns = next((load.start_ns for load in loads if load.state == "start"), None)
    stops_ns = [load.stop_ns for load in loads if load.state in ("done", "stop") and load.stop_ns is not None]
    end = next((span.start_ns for span in spans if span.phase is Phase.END), None)
    if stops_ns:
        stop_ns: int | None = max(stops_ns)
    elif end is not None:
        stop_ns = end
    else:
        stop_ns = None if last_scheduled_ns is None else last_scheduled_ns + 1
    return Timeline(
        spans=spans,
        start_ns=start_ns,
        stop_ns=stop_ns,
        loads=loads,
        strikes=_strikes(actions),
        undo=_undo([record for record in actions if isinstance(record, UndoStep)]),
        snapshots=tuple(record for record in actions if isinstance(record, Snapshot)),
        activities=tuple(record for record in actions if isinstance(record, Action)),
        stops=tuple(record for record in actions if isinstance(record, Stop)),
    )


def _spans(starts: Sequence[PhaseStart]) -> tuple[Span, ...]:
    ends: list[int | None] = [*(start.t_ns for start in starts[1:]), None]
    return tuple(
        Span(phase=start.phase, start_ns=start.t_ns, end_ns=end)
        for start, end in zip(starts, ends[-len(starts) :], strict=True)
    )


def _strikes(actions: Iterable[Record]) -> tuple[Strike, ...]:
    steps: dict[tuple[str, str], list[FaultStrike]] = {}
    claims: dict[str, list[Evidence]] = {}
    for record in actions:
        if isinstance(record, FaultStrike):
            steps.setdefault((record.fault_id, record.target), []).append(record)
        elif isinstance(record, Evidence):
            claims.setdefault(record.fault_id, []).append(record)
    strikes = []
    for (fault_id, target), found in steps.items():
        by_step = {step.step: step for step in reversed(found)}  # the first of each
        facts: dict[str, Any] = {}
        for step in found:
            facts.update(step.facts)
        strikes.append(
            Strike(
                fault_id=fault_id,
                fault=found[0].fault,
                target=target,
                begin_ns=by_step["begin"].t_ns if "begin" in by_step else None,
                injected_ns=by_step["injected"].t_ns if "injected" in by_step else None,
                failed=(by_step["failed"].detail or "no reason given") if "failed" in by_step else None,
                facts=facts,
                claims=tuple(claims.get(fault_id, ())),
            )
        )
    return tuple(strikes)


def _undo(steps: Sequence[UndoStep]) -> tuple[UndoEntry, ...]:
    by_entry: dict[str, list[UndoStep]] = {}
    for step in steps:
        by_entry.setdefault(step.entry_id, []).append(step)
    entries = []
    for entry_id, found in by_entry.items():
        begun = [step.t_ns for step in found if step.step == "begin"]
        last = found[-1]
        entries.append(
            UndoEntry(
                entry_id=entry_id,
                fault_id=last.fault_id,
                begin_ns=begun[0] if begun else None,
                verified_ns=last.t_ns if last.step == "verified" else None,
                detail=last.detail,
            )
        )
    return tuple(entries)
