"""index.html: several experiments at one glance, and each one's course over the earlier runs in the same folder."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from harness.units import format_duration, format_share
from harness.verdict import SEVERITY, Verdict, VerdictName
from reports import story, verdict_json
from reports.html import MARK, page

MOST_RUNS = 40  # in one row's trend
_SPARK_WIDTH, _SPARK_HEIGHT = 96, 24


@dataclass(frozen=True, slots=True)
class Run:
    """One run as a row or a dot shows it."""

    verdict: Verdict
    link: str  # to its report, relative to the overview; empty where there is none
    when: str
    now: bool  # belongs to this suite, not to an earlier one


@dataclass(frozen=True, slots=True)
class Trend:
    """A figure over the runs, oldest first, as an SVG line; `latest` in words."""

    latest: str
    line: str
    dots: tuple[tuple[float, float], ...]
    described: str


@dataclass(frozen=True, slots=True)
class Row:
    """One experiment on one platform."""

    experiment: str
    variant: str
    latest: Run
    runs: tuple[Run, ...]  # oldest first, with the latest
    back: Trend | None
    lost: Trend | None
    repeats: str


def render(out_dir: Path, verdicts: Sequence[Verdict]) -> str:
    """The overview of `verdicts`; the folders of runs in `out_dir` give links and earlier runs."""
    found, unreadable = _runs_in(out_dir)
    here = {verdict.run_id for verdict in verdicts}
    folders = {verdict.run_id: folder for folder, verdict in found}
    runs = [_run(verdict, folders.get(verdict.run_id), now=True) for verdict in verdicts]
    runs += [_run(verdict, folder, now=False) for folder, verdict in found if verdict.run_id not in here]
    rows = _rows(runs)
    current = [run.verdict for run in runs if run.now]
    counts = [(name, sum(verdict.verdict is name for verdict in current)) for name in SEVERITY]
    worst = next((name for name, count in counts if count), VerdictName.INVALID)
    variants = sorted({row.variant for row in rows})
    view = {
        "worst": worst.value,
        "passed": sum(verdict.verdict is VerdictName.PASSED for verdict in current),
        "total": len(current),
        "counts": [(name.value, count) for name, count in counts if count],
        "rows": rows,
        "variants": variants,
        "matrix": _matrix(rows) if len(variants) > 1 else {},
        "unreadable": unreadable,
        "mark": MARK,
        "why_short": _short,
        "spark_width": _SPARK_WIDTH,
        "spark_height": _SPARK_HEIGHT,
    }
    return page("suite.html.j2", view, scripts=(), styles=("report.css", "suite.css"))


def _runs_in(out_dir: Path) -> tuple[list[tuple[Path, Verdict]], list[str]]:
    """Every run's folder with its verdict, and the folders whose verdict cannot be read."""
    found, unreadable = [], []
    for file in sorted(out_dir.glob("*/verdict.json")):
        try:
            found.append((file.parent, verdict_json.read(file)))
        except (OSError, ValueError, KeyError, TypeError) as error:
            unreadable.append(f"{file.parent.name}: {type(error).__name__} {error}")
    return found, unreadable


def _run(verdict: Verdict, folder: Path | None, *, now: bool) -> Run:
    link = f"{quote(folder.name)}/report.html" if folder is not None and (folder / "report.html").is_file() else ""
    started = story.started(verdict)
    return Run(verdict, link, started.strftime("%Y-%m-%d %H:%M") if started is not None else verdict.run_id, now)


def _rows(runs: Sequence[Run]) -> list[Row]:
    """One row for each experiment and platform that this suite ran, the worst first."""
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((story.experiment_name(run.verdict), _variant(run.verdict)), []).append(run)
    rows = []
    for (experiment, variant), members in groups.items():
        ordered = sorted(
            members, key=lambda run: (story.number(run.verdict.environment, "started_wall_ns") or 0, run.verdict.run_id)
        )
        current = [run for run in ordered if run.now]
        if not current:
            continue
        # Of several runs in this suite the worst stands for the row: a flaky promise is a broken one.
        latest = min(reversed(current), key=lambda run: SEVERITY.index(run.verdict.verdict))
        rows.append(
            Row(
                experiment=experiment,
                variant=variant,
                latest=latest,
                runs=tuple(ordered[-MOST_RUNS:]),
                back=_trend([_back_ns(run.verdict) for run in ordered[-MOST_RUNS:]], "service back after"),
                lost=_trend([_lost_ns(run.verdict) for run in ordered[-MOST_RUNS:]], "service lost"),
                repeats=_repeats([run.verdict.verdict for run in current]),
            )
        )
    return sorted(rows, key=lambda row: (SEVERITY.index(row.latest.verdict.verdict), row.experiment, row.variant))


def _variant(verdict: Verdict) -> str:
    cluster = story.section(verdict.environment, "cluster").get("name")
    parts = (verdict.environment.get("platform"), cluster)
    return " on ".join(str(part) for part in parts if part)


def _matrix(rows: Sequence[Row]) -> dict[str, dict[str, Row]]:
    matrix: dict[str, dict[str, Row]] = {}
    for row in sorted(rows, key=lambda row: row.experiment):
        matrix.setdefault(row.experiment, {})[row.variant] = row
    return matrix


def _repeats(endings: Sequence[VerdictName]) -> str:
    """What several runs of one experiment may claim about the platform: all n passed bounds the pass rate below."""
    n, passed = len(endings), sum(ending is VerdictName.PASSED for ending in endings)
    if n < 2:
        return ""
    if passed == n:
        bound = math.floor(0.05 ** (1 / n) * 1000) / 1000  # downwards: a bound must not claim more than it may
        return f"all {n} runs passed: it passes at least {format_share(bound)} of the time (95 % confidence)"
    return f"{passed} of {n} runs passed; the worst one is shown"


_CONCLUSIVE = (VerdictName.PASSED, VerdictName.FAILED)  # the figures of the others are worth nothing in a trend


def _back_ns(verdict: Verdict) -> float | None:
    if verdict.verdict not in _CONCLUSIVE:
        return None
    recovery = story.section(verdict.measurements, "recovery")
    start, by = story.number(recovery, "start_ns"), story.number(recovery, "by_ns")
    return max(by - start, 0.0) if start is not None and by is not None else None


def _lost_ns(verdict: Verdict) -> float | None:
    if verdict.verdict not in _CONCLUSIVE:
        return None
    lost = story.number(verdict.measurements, "lost_s")
    return None if lost is None else lost * 1e9


def _trend(values: Sequence[float | None], name: str) -> Trend | None:
    """Drawn from zero, so that noise stays small and a real change does not."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    highest = max(known) or 1.0
    step = (_SPARK_WIDTH - 6) / max(len(values) - 1, 1)
    dots = tuple(
        (round(3 + index * step, 1), round(_SPARK_HEIGHT - 3 - (_SPARK_HEIGHT - 6) * value / highest, 1))
        for index, value in enumerate(values)
        if value is not None
    )
    latest = "" if values[-1] is None else format_duration(values[-1])
    described = f"{name}, {len(known)} runs: least {format_duration(min(known))}, most {format_duration(max(known))}"
    return Trend(latest, " ".join(f"{x:g},{y:g}" for x, y in dots), dots, described)


def _short(text: str, most: int = 160) -> str:
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"
