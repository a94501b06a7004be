"""report.html: one file that tells the whole run, offline, on a phone, at night and on paper.

Everything in it is inline, and a Content-Security-Policy forbids the browser to load anything or to run any script but
the two whose hashes it names: what a pod wrote into an error message stays text, whatever it is.
"""

from __future__ import annotations

import base64
import hashlib
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.experiment.model import Experiment
from harness.history.records import Action, Evidence, Note, Snapshot, Stop, UndoStep
from harness.units import format_duration, format_share
from harness.verdict import Verdict
from reports import story
from reports.jsonsafe import dumps

if TYPE_CHECKING:
    import jinja2

    from harness.history.columns import Requests
    from harness.history.reader import History

_HERE = Path(__file__).parent
_MOST_ERRORS = 20
_MOST_ROWS = 400  # of evidence, undo and notes; a run has a few dozen
MARK = {"PASSED": "✓", "FAILED": "✗", "INVALID": "?", "ABORTED": "■", "RESIDUE": "!", "SKIPPED": "–"}


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


def render(run_dir: Path, verdict: Verdict, history: History | None) -> str:
    """The whole page. Works without requests, without experiment and without history: less to show, never nothing."""
    experiment = history.experiment if history is not None else None
    requests = history.requests if history is not None else None
    pictures = _pictures(verdict, experiment, requests)
    view: dict[str, Any] = {
        "verdict": verdict,
        "mark": MARK,
        "meaning": story.MEANING[verdict.verdict],
        "name": story.experiment_name(verdict),
        "started": story.started(verdict),
        "description": experiment.description if experiment is not None else "",
        "promised": story.promised(experiment),
        "done": story.done(verdict),
        "saw": story.saw(verdict),
        "figures": story.figures(verdict),
        "checks": [(check, story.where(verdict, check)) for check in story.checks_worst_first(verdict)],
        "errors": _errors(verdict),
        "most_errors": _MOST_ERRORS,
        "latency_table": _latency_table(verdict),
        "connections": _connections(verdict),
        "slos": story.rows(verdict.measurements, "slos"),
        "environment": story.environment(verdict),
        "seed": verdict.environment.get("seed"),
        "command": verdict.environment.get("command"),
        "judge_again": f"bulletproof judge {shlex.quote(str(run_dir))}",
        "proxy_cost": _proxy_cost(verdict),
        "lag": story.section(verdict.measurements, "lag"),
        "problems": list(history.problems) if history is not None else [],
        **_records(verdict, history),
        **pictures,
    }
    return page(
        "report.html.j2", view, scripts=("uPlot.iife.min.js", "report.js"), styles=("uPlot.min.css", "report.css")
    )


def page(template: str, view: Mapping[str, Any], *, scripts: tuple[str, ...], styles: tuple[str, ...]) -> str:
    """A template with its scripts and styles inline, and the policy that allows only those."""
    sources = [asset(name) for name in scripts]
    hashes = " ".join(f"'sha256-{_sha256(source)}'" for source in sources) or "'none'"
    policy = (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    return (
        _environment()
        .get_template(template)
        .render(
            view,
            policy=policy,
            scripts=sources,
            styles=[asset(name) for name in styles],
            licence=asset("uPlot.LICENSE"),
        )
    )


def _sha256(source: str) -> str:
    return base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()


@cache
def asset(name: str) -> str:
    """The text of a file in `assets/`."""
    return (_HERE / "assets" / name).read_text(encoding="utf-8").strip()


@cache
def _environment() -> jinja2.Environment:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"duration": _duration, "share": _share, "count": _count}
    return environment


def _duration(ns: Any) -> str:
    return "" if ns is None else format_duration(ns)


def _share(share: Any) -> str:
    return "" if share is None else format_share(share)


def _count(value: Any) -> str:
    return "" if value is None else f"{value:,.0f}"


def _pictures(verdict: Verdict, experiment: Experiment | None, requests: Requests | None) -> dict[str, Any]:
    """Plots and tracks; without a single request only the bands of the phases."""
    import numpy as np

    from reports import charts, downsample, tracks

    zero = story.zero_ns(verdict)
    recorded = requests is not None and len(requests.scheduled_ns) > 0
    if zero is None and recorded and requests is not None:
        zero = int(requests.scheduled_ns[0])
    spans = [
        (end - (zero or 0)) / 1e9
        for phase in story.rows(verdict.measurements, "phases")
        if (end := story.number(phase, "end_ns")) is not None
    ]
    from_s, to_s = 0.0, max([*spans, 0.0])
    data = None
    if requests is not None and recorded:
        data = downsample.classify(requests, experiment.slos if experiment is not None else (), zero or 0)
        from_s, to_s = (
            min(from_s, float(data.t_s[0])),
            max(to_s, float(data.t_s[-1]), float(np.nanmax(data.end_s, initial=0))),
        )
    if to_s <= from_s:
        to_s = from_s + 1.0
    bands = tracks.bands(verdict, from_s, to_s)
    limit = experiment.bulletproof.expect.recovers_within_ns if experiment is not None else None
    stages, limit_left, stages_end = tracks.recovery_stages(verdict, limit)
    lanes, lanes_left_out = tracks.pod_lanes(verdict, requests, data, from_s, to_s)
    view = {
        "from_s": from_s,
        "to_s": to_s,
        "bands": bands,
        "ticks": tracks.ticks(from_s, to_s),
        "strip": None,
        "strip_height": tracks.STRIP_HEIGHT,
        "lane_height": tracks.LANE_HEIGHT,
        "lanes": lanes,
        "lanes_left_out": lanes_left_out,
        "version_lanes": tracks.version_lanes(verdict, requests, data, from_s, to_s),
        "stages": stages,
        "stages_end": stages_end,
        "limit": limit,
        "limit_left": limit_left,
        "classes": [],
        "shapes": charts.SHAPES,
        "sample": None,
        "budget_label": "",
        "curves": [],
        "data": "",
    }
    if data is None or requests is None:
        return view
    drawn = downsample.sample(data)
    payload = charts.payload(verdict, experiment, requests, data, drawn, bands, from_s, to_s)
    return view | {
        "strip": tracks.availability_strip(data, from_s, to_s),
        "classes": payload["classes"],
        "sample": drawn,
        "budget_label": payload["budget"]["label"] if payload["budget"] else "",
        "curves": [(curve["name"], curve["n"]) for curve in payload["ecdf"]],
        "data": _script_safe(dumps(payload)),
    }


def _script_safe(text: str) -> str:
    """JSON that cannot end the `script` element it stands in, nor open a comment there."""
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _errors(verdict: Verdict) -> list[dict[str, Any]]:
    return [
        {
            "outcome": error.get("outcome", ""),
            "error": error.get("error") or "",
            "count": story.number(error, "count"),
            "first": story.moment(verdict, story.number(error, "first_ns")),
        }
        for error in story.rows(verdict.measurements, "errors")
    ]


def _latency_table(verdict: Verdict) -> list[tuple[str, dict[str, float | None]]]:
    table = []
    for part, figures in story.section(verdict.measurements, "latency").items():
        if isinstance(figures, Mapping):
            table.append(
                (str(part), {key: story.number(figures, key) for key in ("n", "p50_ns", "p95_ns", "p99_ns", "max_ns")})
            )
    return table


def _connections(verdict: Verdict) -> list[tuple[str, float, float]]:
    kinds = story.section(verdict.measurements, "requests", "by_connection")
    return [
        (str(kind), story.number(counts, "scheduled") or 0, story.number(counts, "bad") or 0)
        for kind, counts in kinds.items()
        if isinstance(counts, Mapping)
    ]


def _proxy_cost(verdict: Verdict) -> list[tuple[str, str]]:
    cost = verdict.measurements.get("proxy_cost_ns")
    if isinstance(cost, Mapping):
        return [(str(key), format_duration(value)) for key in cost if (value := story.number(cost, key)) is not None]
    value = story.number(verdict.measurements, "proxy_cost_ns")
    return [] if value is None else [("median", format_duration(value))]


def _records(verdict: Verdict, history: History | None) -> dict[str, Any]:
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
