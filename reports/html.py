"""report.html: one file that tells the whole run, offline, on a phone, at night and on paper.

Everything in it is inline, and a Content-Security-Policy forbids the browser to load anything or to run any script but
the two whose hashes it names: what a pod wrote into an error message stays text, whatever it is.
"""

from __future__ import annotations

import base64
import hashlib
import shlex
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.experiment.model import Experiment
from harness.units import format_duration, format_share
from harness.verdict import Verdict
from reports import story, tables
from reports.jsonsafe import dumps

if TYPE_CHECKING:
    import jinja2

    from harness.history.columns import Requests
    from harness.history.reader import History

_HERE = Path(__file__).parent
_MOST_ERRORS = 20
MARK = {"PASSED": "✓", "FAILED": "✗", "INVALID": "?", "ABORTED": "■", "RESIDUE": "!", "SKIPPED": "–"}


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
        "errors": tables.errors(verdict),
        "most_errors": _MOST_ERRORS,
        "latency_table": tables.latency_table(verdict),
        "connections": tables.connections(verdict),
        "slos": story.rows(verdict.measurements, "slos"),
        "environment": story.environment(verdict),
        "seed": verdict.environment.get("seed"),
        "command": verdict.environment.get("command"),
        "judge_again": f"bulletproof judge {shlex.quote(str(run_dir))}",
        "proxy_cost": tables.proxy_cost(verdict),
        "lag": story.section(verdict.measurements, "lag"),
        "problems": list(history.problems) if history is not None else [],
        **tables.records(verdict, history),
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
