"""Judged against true, course by course."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.verdict import Verdict, VerdictName
from loadtests.config import GRPC
from tests.truth.courses.families import MS
from tests.truth.courses.judged import Judged, judge_course
from tests.truth.courses.offer import Offered
from tests.truth.courses.plan import Course
from tests.truth.courses.truth import SLACK_NS, Requests, TrueOutage, Truth, truth

MARGIN_NS = 20 * MS  # a limit so far beside the truth, and an arrival gap, must be judged rightly


@dataclass(frozen=True, slots=True, kw_only=True)
class Edges:
    """One true outage and the judged one. Distances are ns, outside of the stated interval; 0 is inside."""

    begin_ns: int  # true
    end_ns: int
    begin_off_ns: int
    end_off_ns: int
    way_ns: int  # of the distances, what the request at the edge was on its way to the server: allowed for under gRPC
    begin_gap_ns: int  # the arrival gap of the interval
    end_gap_ns: int
    read_ns: int  # so much later may the end be judged, see TrueOutage
    by_off_ns: int  # how far the true end lies outside of the judge's own [after, by]


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One course. `faults` are the ways in which the judgement is not the truth; none is what is claimed."""

    course: Course
    batch: str
    truth: Truth
    judged: Judged
    edges: tuple[Edges, ...]
    verdict: str
    faults: tuple[str, ...]


def compare(offered: Offered, requests: Requests, course: Course, folder: Path) -> Compared:
    """Judges the course and holds it against the truth."""
    real = truth(offered, requests, course)
    judged = judge_course(offered, requests, course, folder)
    faults: list[str] = []
    # A run whose load was not on time is INVALID, by the lag on record: nothing is concluded from it. Its moments are
    # right all the same, to within that lag.
    invalid = judged.verdict.verdict is VerdictName.INVALID
    if invalid and not (why := _unsaid(judged.verdict)).get("load_delivered"):
        faults.append(f"INVALID, but the load was on time: {why}")
    slack_ns = SLACK_NS + (real.lateness_ns if invalid else 0)
    if len(judged.outages) != len(real.outages):
        faults.append(f"{len(judged.outages)} outages judged, {len(real.outages)} true")
    edges = []
    for outage, found in zip(real.outages, judged.outages, strict=False):
        edge = _edges(outage, found, real.ways if offered.batch.load.protocol == GRPC else {})
        edges.append(edge)
        if edge.begin_off_ns > slack_ns:
            faults.append(f"begin {edge.begin_off_ns / MS:.2f} ms off")
        if edge.end_off_ns > slack_ns:
            faults.append(f"end {edge.end_off_ns / MS:.2f} ms off")
        if edge.by_off_ns > slack_ns:
            faults.append(f"end {edge.by_off_ns / MS:.2f} ms outside of [after, by]")
    if real.hidden:
        faults.append(f"{real.hidden} harmed requests on record as good")
    if real.invented:
        faults.append(f"{real.invented} good requests on record as bad")
    if real.mistaken:
        faults.append(f"{real.mistaken} bad requests on the kind of connection that was not harmed")
    if judged.aftershocks != real.ignored:
        faults.append(f"{judged.aftershocks} aftershocks judged, {real.ignored} true")
    if len(edges) == len(real.outages):
        faults += _limits(judged, edges)
    compared = Compared(
        course=course,
        batch=offered.batch.name,
        truth=real,
        judged=judged,
        edges=tuple(edges),
        verdict=judged.verdict.verdict.value,
        faults=tuple(faults),
    )
    if not faults:
        shutil.rmtree(folder)
    return compared


def _unsaid(verdict: Verdict) -> dict[str, str]:
    """Why the checks that could not say could not."""
    return {check.name: str(check.why) for check in verdict.checks if check.verdict is VerdictName.INVALID}


def _edges(outage: TrueOutage, found: tuple[int, int, int | None], ways: dict[int, int]) -> Edges:
    """`ways`: by scheduled time, how long the request took to reach the server; none is allowed for if empty.

    A request on its way when the outage began met it, one on its way when it ended did not: both were scheduled before.
    """
    first, last, by = found
    exposed = outage.exposed_ns
    before = exposed[exposed < first]
    after = exposed[exposed > last]
    previous = int(before[-1]) if len(before) else first
    following = int(after[0]) if len(after) else last
    until = last if by is None else by
    begin_off = _outside(outage.begin_ns, previous, first + ways.get(first, 0))
    end_off = _outside(outage.end_ns, last - outage.read_ns, following + ways.get(following, 0))
    begin_way = _outside(outage.begin_ns, previous, first) - begin_off
    end_way = _outside(outage.end_ns, last - outage.read_ns, following) - end_off
    return Edges(
        begin_ns=outage.begin_ns,
        end_ns=outage.end_ns,
        begin_off_ns=begin_off,
        end_off_ns=end_off,
        way_ns=max(begin_way, end_way),
        begin_gap_ns=first - previous,
        end_gap_ns=following - last,
        read_ns=outage.read_ns,
        by_off_ns=_outside(outage.end_ns, last - outage.read_ns, until + ways.get(until, 0)),
    )


def _outside(moment: int, low: int, high: int) -> int:
    return max(0, low - moment, moment - high)


def _limits(judged: Judged, edges: list[Edges]) -> list[str]:
    """A promise that was broken must not be PASSED, one that was kept must not be FAILED."""
    start = judged.recovery.start_ns + judged.moved_ns
    if not edges:
        check, run = judged.asked(MARGIN_NS)
        return [] if check == "PASSED" and run in ("PASSED", "INVALID") else [f"no outage, but {check}"]
    took, gap, read = edges[-1].end_ns - start, edges[-1].end_gap_ns, edges[-1].read_ns
    faults = []
    tight = took - gap - edges[-1].way_ns - MARGIN_NS
    if tight > 0:
        check, run = judged.asked(tight)
        if check == "PASSED" or run == "PASSED":
            faults.append(f"back after {took / MS:.1f} ms, but PASSED with a limit of {tight / MS:.1f} ms")
    wide = took + gap + read + MARGIN_NS
    check, run = judged.asked(wide)
    if check == "FAILED" or run == "FAILED":
        faults.append(f"back after {took / MS:.1f} ms, but FAILED with a limit of {wide / MS:.1f} ms")
    return faults


def off_ms(compared: list[Compared]) -> tuple[float, float]:
    """The worst begin and end, ms outside of the stated interval before its 5 ms."""
    begins = [edge.begin_off_ns for one in compared for edge in one.edges]
    ends = [edge.end_off_ns for one in compared for edge in one.edges]
    return float(np.max(begins, initial=0)) / MS, float(np.max(ends, initial=0)) / MS


def compare_all(offered: Offered, folder: Path) -> list[Compared]:
    """Every course of the batch; folders of those that are not the truth stay."""
    requests = Requests(offered)
    return [compare(offered, requests, course, folder / course.name) for course in offered.batch.courses]
