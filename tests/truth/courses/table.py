"""The tables of docs/truth.md."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from loadtests.config import GRPC, HTTP
from tests.truth.courses.compare import Compared
from tests.truth.courses.families import MS, S
from tests.truth.courses.said import Said

_PROTOCOLS = {HTTP: "HTTP", GRPC: "gRPC"}
LENGTHS = (("20 to 100 ms", 0, 100 * MS), ("0.1 to 1 s", 100 * MS, S), ("1 to 30 s", S, 100 * S))


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One course and what was said about it."""

    ours: Compared
    poller: Said | None  # None: nobody watched beside
    locust: Said | None
    rate: float
    protocol: str
    user: str
    scheduler: str


def families(lines: Sequence[Line], protocol: str) -> str:
    """Ours under one protocol, by what went wrong."""
    lines = [line for line in lines if line.protocol == protocol]
    head = ("what went wrong", "courses", "true outages", "judged", "lasted", "requests harmed", "hidden", "invented")
    head += ("begin off", "end off", *(("on the way",) if protocol == GRPC else ()), "widest gap", "INVALID", "wrong")
    rows = []
    for family in dict.fromkeys(line.ours.course.family for line in lines):
        some = [line.ours for line in lines if line.ours.course.family == family]
        rows.append((family, *_family(some, protocol)))
    rows.append(("**all**", *_family([line.ours for line in lines], protocol)))
    return _table(head, rows)


def _family(some: list[Compared], protocol: str) -> tuple[str, ...]:
    edges = [edge for one in some for edge in one.edges]
    lengths = [edge.end_ns - edge.begin_ns for edge in edges]
    lasted = f"{_short(min(lengths))} to {_short(max(lengths))}" if lengths else "-"
    begin, end = (max(values, default=0) for values in ([e.begin_off_ns for e in edges], [e.end_off_ns for e in edges]))
    gap = max((max(edge.begin_gap_ns, edge.end_gap_ns) for edge in edges), default=0)
    way = (f"{max(edge.way_ns for edge in edges) / MS:.2f} ms" if edges else "-",) if protocol == GRPC else ()
    bad = sum(one.judged.bad for one in some)
    return (
        str(len(some)),
        str(sum(len(one.truth.outages) for one in some)),
        str(sum(len(one.judged.outages) for one in some)),
        lasted,
        f"{bad:,}",
        str(sum(one.truth.hidden for one in some)),
        str(sum(one.truth.invented for one in some)),
        f"{begin / MS:.2f} ms" if edges else "-",
        f"{end / MS:.2f} ms" if edges else "-",
        *way,
        f"{gap / MS:.0f} ms" if edges else "-",
        str(sum(one.verdict == "INVALID" for one in some)),
        str(sum(bool(one.faults) for one in some)),
    )


def others(lines: Sequence[Line]) -> str:
    """Beside ours, by how long it lasted."""
    head = ("outage lasted", "courses", "noticed by ours", "poller", "Locust", "begin off: ours", "poller", "Locust")
    head += ("end off: ours", "poller", "Locust")
    rows = []
    for name, low, high in LENGTHS:
        rows.append((name, *_beside([line for line in lines if line.ours.edges and low <= _lasted(line) < high])))
    rows.append(("**all**", *_beside([line for line in lines if line.ours.edges])))
    controls = [line for line in lines if not line.ours.truth.outages]
    said = [sum(bool(line.ours.judged.outages) for line in controls)]
    said += [sum(of(line).noticed for line in controls) for of in _OTHERS]
    rows.append(("no outage (controls)", str(len(controls)), *(str(number) for number in said), *("-",) * 6))
    return _table(head, rows)


def blind(lines: Sequence[Line]) -> str:
    """Which outages the others noticed, by what went wrong."""
    rows = []
    for family in dict.fromkeys(line.ours.course.family for line in lines if line.ours.truth.outages):
        some = [line for line in lines if line.ours.course.family == family]
        cells = [f"{sum(hit)} of {len(some)}" for hit in _noticed(some)]
        rows.append((family, *cells))
    return _table(("what went wrong", "noticed by ours", "1 s poller", "stock Locust"), rows)


def loads(lines: Sequence[Line]) -> str:
    """What was offered."""
    rows = []
    for batch in dict.fromkeys(line.ours.batch for line in lines):
        some = [line for line in lines if line.ours.batch == batch]
        late = max(line.ours.truth.lateness_ns for line in some) / MS
        spoken = _PROTOCOLS[some[0].protocol]
        told = (f"{some[0].rate:g}/s", spoken, some[0].user, some[0].scheduler, str(len(some)), f"{late:.1f} ms")
        rows.append((batch, *told))
    return _table(
        ("load run", "rate", "protocol", "user", "scheduler", "courses", "latest request at the server"), rows
    )


def where() -> str:
    """What it was measured on."""
    return f"Python {platform.python_version()}, Linux {platform.release().split('-')[0]}"


def _beside(some: list[Line]) -> tuple[str, ...]:
    ours_begin = [max(edge.begin_off_ns for edge in line.ours.edges) for line in some]
    ours_end = [max(edge.end_off_ns for edge in line.ours.edges) for line in some]
    begins = [ours_begin, *([said.begin_off_ns for line in some if (said := of(line)).noticed] for of in _OTHERS)]
    ends = [ours_end, *([said.end_off_ns for line in some if (said := of(line)).noticed] for of in _OTHERS)]
    return (
        str(len(some)),
        *(str(sum(hit)) for hit in _noticed(some)),
        *(_spread(values) for values in begins),
        *(_spread(values) for values in ends),
    )


def _noticed(some: list[Line]) -> tuple[list[bool], list[bool], list[bool]]:
    return (
        [bool(line.ours.judged.outages) for line in some],
        [_poller(line).noticed for line in some],
        [_locust(line).noticed for line in some],
    )


def _poller(line: Line) -> Said:
    assert line.poller is not None
    return line.poller


def _locust(line: Line) -> Said:
    assert line.locust is not None
    return line.locust


_OTHERS: tuple[Callable[[Line], Said], ...] = (_poller, _locust)


def _lasted(line: Line) -> int:
    return line.ours.edges[-1].end_ns - line.ours.edges[0].begin_ns


def _spread(values: Iterable[int | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{_short(float(np.median(known)))} / {_short(max(known))}" if known else "-"


def _short(ns: float) -> str:
    return f"{ns / S:.2f} s" if ns >= S else f"{ns / MS:.0f} ms" if ns >= 10 * MS else f"{ns / MS:.2f} ms"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
