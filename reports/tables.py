"""The tables of report.html: measurements and records as rows, in the order a person reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.history.records import Action, Evidence, Note, Snapshot, Stop, UndoStep
from harness.units import format_duration
from harness.verdict import Verdict
from reports import story

if TYPE_CHECKING:
    from harness.history.reader import History

_MOST_ROWS = 400  # of evidence, undo and notes; a run has a few dozen


@dataclass(frozen=True, slots=True)
class Claim:
    """One claim of a fault's effect, and whether the second channel showed it."""

    fault: str
    claim: str
    channel: str
    seen: bool | None
    when: str
    detail: str


@dataclass(frozen=True, slots=True)
class UndoLine:
    """The life of one undo entry."""

    entry: str
    fault: str
    ending: str
    when: str
    detail: str


def errors(verdict: Verdict) -> list[dict[str, Any]]:
    """What clients met, by signature, most frequent first."""
    return [
        {
            "outcome": error.get("outcome", ""),
            "error": error.get("error") or "",
            "count": story.number(error, "count"),
            "first": story.moment(verdict, story.number(error, "first_ns")),
        }
        for error in story.rows(verdict.measurements, "errors")
    ]


def latency_table(verdict: Verdict) -> list[tuple[str, dict[str, float | None]]]:
    """By phase: its name, requests a second, and the quantiles of latency in ns."""
    table = []
    flow = story.section(verdict.measurements, "throughput")
    for part, figures in story.section(verdict.measurements, "latency").items():
        if isinstance(figures, Mapping):
            row = {key: story.number(figures, key) for key in ("n", "p50_ns", "p95_ns", "p99_ns", "max_ns")}
            rates = flow.get(part)
            for key in ("offered_per_s", "good_per_s"):
                row[key] = story.number(rates, key) if isinstance(rates, Mapping) else None
            table.append((str(part), row))
    return table


def connections(verdict: Verdict) -> list[tuple[str, float, float]]:
    """Kind of connection, requests scheduled on it, and how many of them were bad."""
    kinds = story.section(verdict.measurements, "requests", "by_connection")
    return [
        (str(kind), story.number(counts, "scheduled") or 0, story.number(counts, "bad") or 0)
        for kind, counts in kinds.items()
        if isinstance(counts, Mapping)
    ]


def proxy_cost(verdict: Verdict) -> list[tuple[str, str]]:
    """What the latency proxy itself costs, where it was measured."""
    cost = verdict.measurements.get("proxy_cost_ns")
    if isinstance(cost, Mapping):
        return [(str(key), format_duration(value)) for key in cost if (value := story.number(cost, key)) is not None]
    value = story.number(verdict.measurements, "proxy_cost_ns")
    return [] if value is None else [("median", format_duration(value))]


def records(verdict: Verdict, history: History | None) -> dict[str, Any]:
    """Evidence, undo journal, activities and notes as the harness wrote them down."""
    actions = list(history.actions) if history is not None else []
    return {
        "evidence": _evidence(verdict, [record for record in actions if isinstance(record, Evidence)])[:_MOST_ROWS],
        "undo": _undo_lines(verdict, [record for record in actions if isinstance(record, UndoStep)])[:_MOST_ROWS],
        "differences": [text for record in actions if isinstance(record, Snapshot) for text in record.differences][
            :_MOST_ROWS
        ],
        "snapshot_taken": any(isinstance(record, Snapshot) and record.moment == "after" for record in actions),
        "stops": [(record, story.moment(verdict, record.t_ns)) for record in actions if isinstance(record, Stop)],
        "activities": [
            (record, story.moment(verdict, record.t_ns))
            for record in actions
            if isinstance(record, Action) and record.step != "begin"
        ][:_MOST_ROWS],
        "notes": [(record, story.moment(verdict, record.t_ns)) for record in actions if isinstance(record, Note)][
            :_MOST_ROWS
        ],
    }


def _evidence(verdict: Verdict, records: list[Evidence]) -> list[Claim]:
    """The claims as the judge settled them; as the harness recorded them where there is no such measurement."""
    settled = [
        Claim(
            fault=str(fault.get("fault_id", "")),
            claim=str(claim.get("claim", "")),
            channel=str(claim.get("channel", "")),
            seen=bool(claim.get("seen")),
            when=story.moment(verdict, story.number(claim, "t_ns")),
            detail=str(claim.get("detail") or ""),
        )
        for fault in story.rows(verdict.measurements, "faults")
        for claim in story.rows(fault, "claims")
    ]
    known = {(claim.fault, claim.claim, claim.channel) for claim in settled}
    return settled + [
        Claim(
            record.fault_id,
            record.claim,
            record.channel,
            record.seen,
            story.moment(verdict, record.t_ns),
            record.detail,
        )
        for record in records
        if (record.fault_id, record.claim, record.channel) not in known
    ]


def _undo_lines(verdict: Verdict, steps: list[UndoStep]) -> list[UndoLine]:
    """One line for each entry: how far it came, and when. An entry that is only planned is a warning in itself."""
    entries: dict[str, list[UndoStep]] = {}
    for step in steps:
        entries.setdefault(step.entry_id, []).append(step)
    lines = []
    for entry, life in entries.items():
        last = life[-1]
        course = ", ".join(f"{step.step} {story.moment(verdict, step.t_ns)}" for step in life)
        detail = "; ".join(dict.fromkeys(step.detail for step in life if step.detail))
        lines.append(UndoLine(entry, last.fault_id, last.step, course, detail))
    return lines
