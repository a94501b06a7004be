"""The pictures that need no JavaScript: the strip of availability, a lane for each pod, the stages of recovery.

Each is an SVG whose x axis is seconds since the load began (`preserveAspectRatio="none"`), so that zooming all of them
together with the plots is one change of `viewBox`. Text stands beside them in HTML, where it is not stretched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.history.columns import Requests
from harness.units import format_duration
from harness.verdict import Verdict
from reports import story
from reports.downsample import Classified, Floats, Ints, count_by

STRIP_SLICES = 160
LANE_SLICES = 240
MOST_LANES = 40
STRIP_HEIGHT = 40
LANE_HEIGHT = 40


@dataclass(frozen=True, slots=True)
class Band:
    """A stretch of the time axis: a phase, the fault's window, the outage. `left` and `width` are percent."""

    kind: str  # phase | fault | outage | undo
    label: str
    from_s: float
    to_s: float
    left: float
    width: float


@dataclass(frozen=True, slots=True)
class Tick:
    """A label of a time axis, at `left` percent."""

    left: float
    label: str


@dataclass(frozen=True, slots=True)
class Lane:
    """One pod (or model version) over time, as SVG path data."""

    name: str
    detail: str
    good: str
    bad: str
    ready: str
    endpoint: str


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of the recovery: from the step before until it was reached; percent of the chart."""

    name: str
    value: str
    seen: bool
    left: float
    width: float


def bands(verdict: Verdict, from_s: float, to_s: float) -> list[Band]:
    """Phases, fault windows, the outage and the undo, in seconds of the load."""
    zero = story.zero_ns(verdict) or 0
    measurements = verdict.measurements
    found: list[Band] = []

    def add(kind: str, label: str, begin_ns: float | None, end_ns: float | None) -> None:
        if begin_ns is None:
            return
        begin = (begin_ns - zero) / 1e9
        end = to_s if end_ns is None else (end_ns - zero) / 1e9
        shown_from, shown_to = max(begin, from_s), min(max(end, begin), to_s)
        if shown_to >= shown_from:
            scale = 100 / (to_s - from_s)
            left, width = (shown_from - from_s) * scale, (shown_to - shown_from) * scale
            found.append(Band(kind, label, shown_from, shown_to, round(left, 3), round(width, 3)))

    for phase in story.rows(measurements, "phases"):
        add("phase", str(phase.get("phase", "")), story.number(phase, "start_ns"), story.number(phase, "end_ns"))
    recovery = story.section(measurements, "recovery")
    start, back = story.number(recovery, "start_ns"), story.number(recovery, "by_ns")
    for fault in story.rows(measurements, "faults"):
        begin, undone = story.number(fault, "begin_ns"), story.number(fault, "undone_ns")
        label = f"{fault.get('fault', 'fault')} on {fault.get('target', '')}"
        # A killed pod has nothing to undo: its window ends when service is back.
        add("fault", label, begin, undone if undone is not None else _later(back, begin, measurements))
    outages = story.rows(recovery, "outages")
    for outage in outages:
        begin = story.number(outage, "first_ns")
        add("outage", f"{outage.get('bad', '')} bad requests", begin, story.number(outage, "by_ns"))
    if not outages and start is not None and (back is None or back > (story.number(recovery, "after_ns") or 0) > start):
        add("outage", "service not good", start, back)
    for entry in story.rows(measurements, "undo"):
        begin = story.number(entry, "begin_ns")
        verified = story.number(entry, "verified_ns")
        add("undo", f"undo {entry.get('entry_id', '')}", begin, verified if verified is not None else begin)
    return found


def _later(back: float | None, begin: float | None, measurements: Mapping[str, Any]) -> float | None:
    if begin is not None and back is not None and back > begin:
        return back
    ends = {str(phase.get("phase")): story.number(phase, "end_ns") for phase in story.rows(measurements, "phases")}
    end = ends.get("fault")
    return end if end is not None and begin is not None and end > begin else begin


def ticks(from_s: float, to_s: float, about: int = 8) -> list[Tick]:
    """Round labels for a time axis."""
    span = to_s - from_s
    step = 10.0 ** np.floor(np.log10(max(span / about, 1e-9)))
    step *= next(factor for factor in (1, 2, 5, 10) if span / (step * factor) <= about)
    first = np.ceil(from_s / step - 1e-9)
    labels = []
    for index in range(about + 2):
        at = (first + index) * step
        if at <= to_s + step * 1e-6:
            labels.append(Tick(round((at - from_s) / span * 100, 3), f"{at:.10g} s"))
    return labels


def availability_strip(data: Classified, from_s: float, to_s: float) -> tuple[str, str, str]:
    """Path data (offered, spoiled by the load itself, bad): their shares in each slice of time, by schedule."""
    edges = np.linspace(from_s, to_s, STRIP_SLICES + 1)
    counts = count_by(data.t_s, data.codes, len(data.names), edges)
    offered, bad = counts.sum(axis=0), counts[data.bad_classes].sum(axis=0)
    spoiled = counts[1:].sum(axis=0)  # bad ones too, which are drawn over it

    def heights(part: Ints) -> Floats:
        share = np.divide(part, offered, out=np.zeros(len(part)), where=offered > 0)
        # Never less than a visible sliver: one bad request of a thousand still shows.
        visible: Floats = np.where(part > 0, np.maximum(share, 0.12), 0.0)
        return visible

    full = _bars(edges, (offered > 0).astype(float), STRIP_HEIGHT)
    return full, _bars(edges, heights(spoiled), STRIP_HEIGHT), _bars(edges, heights(bad), STRIP_HEIGHT)


def pod_lanes(
    verdict: Verdict, requests: Requests | None, data: Classified | None, from_s: float, to_s: float
) -> tuple[list[Lane], int]:
    """A lane for each pod that answered or was watched, and how many more there were."""
    described = {str(pod.get("pod")): pod for pod in story.rows(verdict.measurements, "pods")}
    names = dict.fromkeys(described)
    counts: dict[str, Ints] = {}
    edges = np.linspace(from_s, to_s, LANE_SLICES + 1)
    if requests is not None and data is not None:
        counts = _counts_by_name(data, requests.pod.codes, requests.pod.names, edges)
        names |= dict.fromkeys(sorted(counts))
    highest = max((int(count.sum(axis=0).max()) for count in counts.values()), default=1) or 1
    lanes = []
    for name in list(names)[:MOST_LANES]:
        pod = described.get(name, {})
        lanes.append(
            _lane(verdict, name, _pod_detail(pod, counts.get(name)), pod, counts.get(name), edges, highest, to_s)
        )
    return lanes, max(len(names) - MOST_LANES, 0)


def version_lanes(
    verdict: Verdict, requests: Requests | None, data: Classified | None, from_s: float, to_s: float
) -> list[Lane]:
    """A lane for each model version, when more than one answered."""
    if requests is None or data is None:
        return []
    edges = np.linspace(from_s, to_s, LANE_SLICES + 1)
    counts = _counts_by_name(data, requests.version.codes, requests.version.names, edges)
    if len(counts) < 2:
        return []
    highest = max(int(count.sum(axis=0).max()) for count in counts.values()) or 1
    return [
        _lane(verdict, f"version {name}", _pod_detail({}, count), {}, count, edges, highest, to_s)
        for name, count in sorted(counts.items())[:MOST_LANES]
    ]


def _counts_by_name(data: Classified, codes: Any, names: Sequence[str], edges: Floats) -> dict[str, Ints]:
    """name -> answers per slice, shape (2, slices): good and bad."""
    answered = np.where(np.isnan(data.end_s), -1, codes)
    wrong = np.isin(data.codes, data.bad_classes)
    kind = np.where(answered >= 0, answered * 2 + wrong, -1).astype(np.int32)
    counts = count_by(data.end_s, kind, max(len(names), 1) * 2, edges)
    return {
        str(name): counts[index * 2 : index * 2 + 2]
        for index, name in enumerate(names)
        if counts[index * 2 : index * 2 + 2].any()
    }


def _pod_detail(pod: Mapping[str, Any], counts: Ints | None) -> str:
    parts = [f"on {pod['node']}"] if pod.get("node") else []
    total = int(counts.sum()) if counts is not None else int(story.number(pod, "answers") or 0)
    parts.append(f"{total:,} answers")
    if counts is not None and counts[1].any():
        parts.append(f"{int(counts[1].sum()):,} bad")
    return ", ".join(parts)


def _lane(
    verdict: Verdict,
    name: str,
    detail: str,
    pod: Mapping[str, Any],
    counts: Ints | None,
    edges: Floats,
    highest: int,
    to_s: float,
) -> Lane:
    good = bad = ""
    if counts is not None:
        bars = LANE_HEIGHT - 12  # the rest is for the two lines: ready, endpoint
        # The square root keeps a trickle of answers visible beside a flood.
        total, wrong = np.sqrt(counts.sum(axis=0) / highest), np.sqrt(counts[1] / highest)
        good, bad = _bars(edges, total, bars), _bars(edges, wrong, bars)
    return Lane(
        name=name,
        detail=detail,
        good=good,
        bad=bad,
        ready=_stretches(verdict, pod.get("ready"), LANE_HEIGHT - 9, to_s),
        endpoint=_stretches(verdict, pod.get("endpoint"), LANE_HEIGHT - 4, to_s),
    )


def _stretches(verdict: Verdict, intervals: Any, top: float, to_s: float) -> str:
    zero = story.zero_ns(verdict) or 0
    parts = []
    for interval in intervals if isinstance(intervals, list | tuple) else ():
        begin, end = interval
        if begin is None:
            continue
        start = (begin - zero) / 1e9
        stop = to_s if end is None else (end - zero) / 1e9
        parts.append(f"M{start:.7g} {top:g}H{max(stop, start):.7g}v3H{start:.7g}z")
    return "".join(parts)


def _bars(edges: Floats, heights: Floats, full: float) -> str:
    """Bars from the bottom (y = `full`) up; neighbours of equal height become one, which keeps the file small."""
    parts = []
    rounded = np.round(heights * full, 1)
    index = 0
    while index < len(rounded):
        height = rounded[index]
        start = index
        while index < len(rounded) and rounded[index] == height:
            index += 1
        if height > 0:
            parts.append(f"M{edges[start]:.7g} {full:g}v{-height:g}H{edges[index]:.7g}V{full:g}z")
    return "".join(parts)


def recovery_stages(verdict: Verdict, limit_ns: int | None) -> tuple[list[Stage], float | None, str]:
    """The stages as bars on their own axis, the position of the limit on it in percent, and the axis' end as text."""
    recovery = story.section(verdict.measurements, "recovery")
    start = story.number(recovery, "start_ns")
    if start is None:
        return [], None, ""
    reached = [(str(stage.get("name", "")), story.number(stage, "at_ns")) for stage in story.rows(recovery, "stages")]
    by = story.number(recovery, "by_ns")
    if by is not None and by not in [at for _, at in reached] and all("good" not in name for name, _ in reached):
        reached.append(("service good again", by))
    times = [at - start for _, at in reached if at is not None]
    longest = max([*times, 1e6])
    if limit_ns is not None and limit_ns <= 4 * longest:
        longest = max(longest, limit_ns)
    scale = 92 / longest  # room for the label of the last one
    stages = []
    before = 0.0
    for name, at in sorted(reached, key=lambda stage: (stage[1] is None, stage[1] or 0)):
        if at is None:
            stages.append(Stage(name, "not seen", False, 0, 0))
            continue
        after = max(at - start, 0)
        label = format_duration(after) if at >= start else f"{format_duration(start - at)} before"
        stages.append(Stage(name, label, True, round(before * scale, 3), round(max(after - before, 0) * scale, 3)))
        before = after
    limit = round(limit_ns * scale, 3) if limit_ns is not None and limit_ns <= longest else None
    return stages, limit, format_duration(longest)
