"""What the plots draw, as plain data: arrays packed in base64, limits, labels. `assets/report.js` reads it."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np

from harness.experiment.model import Experiment
from harness.history.columns import Requests
from harness.units import format_duration, format_share
from harness.verdict import Verdict
from reports import story
from reports.downsample import (
    Cells,
    Classified,
    Floats,
    Sample,
    bin_edges,
    count_by,
    ecdf,
    quantiles_by_bin,
    running_total,
)
from reports.tracks import Band

# A class keeps its colour and its shape in every report. The slots are in report.css (`--class-N`) and report.js.
SLOTS = {
    "ok": 0,
    "slow": 1,
    "timeout": 2,
    "refused": 3,
    "reset": 4,
    "wrong_answer": 5,
    "not_sent": 6,
    "truncated": 7,
    "unreachable": 8,
    "load_late": 11,
}
FIRST_FREE_SLOT, ALL_SLOTS = 9, 11  # for everything else
# A shape for each slot, about the origin, 10 units wide: who cannot tell the colours apart tells the shapes.
SHAPES = (
    "M-2.5 -2.5h5v5h-5z",
    "M0 -4.6L4.6 3.6H-4.6z",
    "M-3.6 -3.6h7.2v7.2h-7.2z",
    "M0 -5L5 0L0 5L-5 0z",
    "M0 4.6L4.6 -3.6H-4.6z",
    "M-4.8 -3.2L-3.2 -4.8L0 -1.6L3.2 -4.8L4.8 -3.2L1.6 0L4.8 3.2L3.2 4.8L0 1.6L-3.2 4.8L-4.8 3.2L-1.6 0z",
    "M-1.3 -5h2.6v3.7h3.7v2.6h-3.7v3.7h-2.6v-3.7h-3.7v-2.6h3.7z",
    "M-4.8 0L3.6 -4.6V4.6z",
    "M4.8 0L-3.6 -4.6V4.6z",
    "M-4.8 0L-2.4 -4.2H2.4L4.8 0L2.4 4.2H-2.4z",
    "M-1.7 -5h3.4v10h-3.4z",
    "M-5 -1.7h10v3.4h-10z",
)
_BURN_STEPS = 1200


def slots(names: Sequence[str]) -> list[int]:
    """A colour slot for each class; http and gRPC codes share the free ones in turn."""
    free = 0
    chosen = []
    for name in names:
        slot = SLOTS.get(name)
        if slot is None:
            slot = FIRST_FREE_SLOT + free % (ALL_SLOTS - FIRST_FREE_SLOT)
            free += 1
        chosen.append(slot)
    return chosen


def pack(values: Any, kind: str) -> dict[str, str]:
    """An array as base64 of little-endian `kind` (f8, f4, u4, u2, u1)."""
    array = np.ascontiguousarray(values, dtype=f"<{kind}")
    return {"type": kind, "base64": base64.b64encode(array.tobytes()).decode()}


def payload(
    verdict: Verdict,
    experiment: Experiment | None,
    requests: Requests,
    data: Classified,
    drawn: Sample,
    bands: Sequence[Band],
    from_s: float,
    to_s: float,
) -> dict[str, Any]:
    """Everything that the plots need."""
    edges = bin_edges(from_s, to_s)
    return {
        "from": from_s,
        "to": to_s,
        "classes": [
            {"name": name, "slot": slot, "count": count}
            for name, slot, count in zip(data.names, slots(data.names), data.counts, strict=True)
        ],
        "bands": [{"kind": band.kind, "label": band.label, "from": band.from_s, "to": band.to_s} for band in bands],
        "latency": _latency(experiment, requests, data, drawn, edges),
        "rate": _rate(data, edges, float(data.t_s[0]), float(data.t_s[-1])),
        "budget": _budget(verdict, experiment, data, from_s, to_s),
        "ecdf": _ecdf(verdict, data),
    }


def _latency(
    experiment: Experiment | None, requests: Requests, data: Classified, drawn: Sample, edges: Floats
) -> dict[str, Any]:
    ended = data.latency_ms[~np.isnan(data.latency_ms)]
    low = float(max(ended.min(), 1e-3)) if len(ended) else 1.0
    high = float(max(ended.max(), low)) if len(ended) else 1000.0
    limits: list[tuple[float, str]] = []
    if experiment is not None:
        for slo in experiment.slos:
            if slo.within_ns is not None:
                limits.append((slo.within_ns / 1e6, f"SLO {format_duration(slo.within_ns)}"))
        timeout = experiment.bulletproof.load.timeout_ns
        limits.append((timeout / 1e6, f"timeout {format_duration(timeout)}"))
    rows = drawn.points
    quantiles = quantiles_by_bin(data.t_s, data.answered_ms, edges, (0.5, 0.99))
    return {
        "low": round_down(low),
        "high": round_up(max([high, *(ms for ms, _ in limits if ms < high * 4)])),
        "limits": [{"ms": ms, "label": label} for ms, label in limits],
        "t": pack(data.t_s[rows], "f8"),
        "ms": pack(data.latency_ms[rows], "f4"),
        "class": pack(data.codes[rows], "u1"),
        "arrival": pack(requests.arrival[rows], "u4"),
        "pod": _names(requests.pod.codes[rows], requests.pod.names),
        "error": _names(requests.error.codes[rows], requests.error.names),
        "connection": _names(requests.connection.codes[rows], requests.connection.names),
        "cells": _cells(drawn.cells),
        "quantile_t": pack((edges[:-1] + edges[1:]) / 2, "f8"),
        "p50": pack(quantiles[0], "f4"),
        "p99": pack(quantiles[1], "f4"),
    }


def round_down(value: float) -> float:
    """The nearest of 1, 2, 5, 10 … below, with some room."""
    return max(step for step in _steps() if step <= value * 0.95)


def round_up(value: float) -> float:
    """The nearest of 1, 2, 5, 10 … above, with some room."""
    return min(step for step in _steps() if step >= value * 1.05)


def _steps() -> list[float]:
    """Of milliseconds: from a tenth of a microsecond to a good year."""
    return [factor * 10.0**power for power in range(-4, 11) for factor in (1, 2, 5)]


def _names(codes: Any, names: Sequence[str]) -> dict[str, Any]:
    """Names that occur, and for each row the number of its name plus one; 0: none."""
    used = np.unique(codes[codes >= 0])
    return {
        "names": [str(names[code])[:200] for code in used],
        "code": pack(np.where(codes >= 0, np.searchsorted(used, codes) + 1, 0), "u2"),
    }


def _cells(cells: Cells | None) -> dict[str, Any] | None:
    if cells is None:
        return None
    return {
        "time": pack(cells.time, "u2"),
        "latency": pack(cells.latency, "u1"),
        "class": pack(cells.code, "u1"),
        "count": pack(cells.count, "u4"),
        "from": cells.from_s,
        "to": cells.to_s,
        "low": cells.low_ms,
        "high": cells.high_ms,
    }


def _rate(data: Classified, edges: Floats, from_s: float, to_s: float) -> dict[str, Any]:
    classes = len(data.names)
    width = float(edges[1] - edges[0])
    # The last second of a run is seldom a whole one: a rate counts the part of it that was load.
    covered = np.minimum(edges[1:], to_s) - np.maximum(edges[:-1], from_s)
    covered = np.where(covered > width / 20, covered, width)
    offered = count_by(data.t_s, np.zeros(len(data.t_s), dtype=np.int32), 1, edges)[0]
    # What never ended has no end to be counted at; it stands where it was scheduled.
    ended = np.where(np.isnan(data.end_s), data.t_s, data.end_s)
    answered = count_by(ended, data.codes, classes, edges)
    return {
        "from": float(edges[0]),
        "width": width,
        "offered": pack(offered / covered, "f4"),
        "by_class": [pack(row / covered, "f4") for row in answered],
        "highest": float(max((offered / covered).max(), (answered.sum(axis=0) / covered).max())),
    }


def _budget(
    verdict: Verdict, experiment: Experiment | None, data: Classified, from_s: float, to_s: float
) -> dict[str, Any] | None:
    """What may be lost, less what was: in seconds of service, or in requests where the promise counts those."""
    if experiment is None or to_s <= from_s:
        return None
    expect, load = experiment.bulletproof.expect, experiment.bulletproof.load
    fault = min(
        (
            begin
            for fault in story.rows(verdict.measurements, "faults")
            if (begin := story.number(fault, "begin_ns")) is not None
        ),
        default=None,
    )
    zero = story.zero_ns(verdict) or 0
    since = from_s if fault is None else (fault - zero) / 1e9
    if expect.lost_ns is not None:
        limit, per_request, unit = expect.lost_ns / 1e9, 1 / load.rate_per_s, "s"
        label = f"Promise: at most {format_duration(expect.lost_ns)} of service lost from the fault on"
    elif expect.lost_requests is not None:
        limit, per_request, unit = float(expect.lost_requests), 1.0, "requests"
        label = f"Promise: at most {expect.lost_requests:,} bad requests from the fault on"
    else:
        slo = experiment.slos[0]
        limit, per_request, unit, since = (1 - slo.target) * len(data.t_s), 1.0, "requests", from_s
        label = f"SLO {slo.name}: {format_share(slo.target)} of this run's requests"
    edges = np.linspace(from_s, to_s, _BURN_STEPS + 1)
    spent = running_total(data.t_s[np.isin(data.codes, data.bad_classes)], since, edges) * per_request
    return {"label": label, "unit": unit, "limit": limit, "t": pack(edges[1:], "f8"), "left": pack(limit - spent, "f4")}


def _ecdf(verdict: Verdict, data: Classified) -> list[dict[str, Any]]:
    """Latency before the fault, from the fault until service was back, and after."""
    zero = story.zero_ns(verdict) or 0
    begins = [
        begin
        for fault in story.rows(verdict.measurements, "faults")
        if (begin := story.number(fault, "begin_ns")) is not None
    ]
    if not begins:
        parts = [("whole run", np.ones(len(data.t_s), dtype=bool))]
    else:
        begin = (min(begins) - zero) / 1e9
        end = max(_fault_end_s(verdict, zero), begin)
        before, after = data.t_s < begin, data.t_s > end
        parts = [("before the fault", before), ("until it was undone", ~before & ~after), ("after", after)]
    curves = []
    for name, part in parts:
        ms, share = ecdf(data.answered_ms[part])
        if len(ms):
            curves.append({"name": name, "n": int(part.sum()), "ms": pack(ms, "f4"), "share": pack(share, "f8")})
    return curves


def _fault_end_s(verdict: Verdict, zero: int) -> float:
    """When the fault was undone, or service was back, whichever is later; the load's end where neither is known."""
    ends = [
        undone
        for fault in story.rows(verdict.measurements, "faults")
        if (undone := story.number(fault, "undone_ns")) is not None
    ]
    back = story.number(story.section(verdict.measurements, "recovery"), "by_ns")
    if back is not None:
        ends.append(back)
    return (max(ends) - zero) / 1e9 if ends else float("inf")
