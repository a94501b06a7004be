"""What really happened in a course: from the script, the server's own log, and nothing that was judged."""

from __future__ import annotations

import bisect
import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from tests.truth.courses import acts
from tests.truth.courses.acts import Act
from tests.truth.courses.families import HOLD_NS
from tests.truth.courses.offer import Offered
from tests.truth.courses.plan import Course

SLACK_NS = 5_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class TrueOutage:
    """When it was, and when requests were scheduled that could have met it: its resolution."""

    begin_ns: int
    end_ns: int
    exposed_ns: np.ndarray  # scheduled times, sorted
    read_ns: int = 0  # answers that were held back come all at once: how long the load took to read them


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """The truth of one course; moments absolute."""

    outages: tuple[TrueOutage, ...]
    whole: bool  # every request in an outage met it
    hidden: int  # requests that the server harmed and the records call good
    invented: int  # requests that the server answered in time and the records call bad
    mistaken: int  # bad requests on new connections where only kept ones were harmed, and the reverse
    matched: int  # requests that are both in the server's log and in the records
    harmed: int  # of them
    ignored: int  # of them, on a source port that was harmed before
    ways: dict[int, int]  # scheduled time -> from there to the server's reading it
    lateness_ns: int  # the worst time from a request's schedule to the server's reading it, of those well-connected


class Requests:
    """The load's records of a batch, as columns, and where the server saw each."""

    def __init__(self, offered: Offered) -> None:
        with (offered.folder / "requests-0.arrows").open("rb") as file:
            self.table = pa.ipc.open_stream(file).read_all()
        order = np.argsort(self.column("scheduled_ns"), kind="stable")
        self.table = self.table.take(pa.array(order))
        self.scheduled = self.column("scheduled_ns")
        self.sent = self.column("sent_ns")
        self.end = self.column("end_ns")
        self.user = self.column("user")
        self.outcome = self.table["outcome"].to_pylist()
        self.new = np.array([kind == "new" for kind in self.table["connection"].to_pylist()])
        within_ns = offered.batch.load.within_ns
        ok = np.array([outcome == "ok" for outcome in self.outcome])
        self.good = ok & (self.end - self.scheduled <= within_ns)
        self.log_row = self._match(offered.log)

    def column(self, name: str) -> np.ndarray:
        """A column of numbers; -1 for null."""
        return self.table[name].combine_chunks().fill_null(-1).to_numpy(zero_copy_only=False)

    def _match(self, log: list[list[Any]]) -> np.ndarray:
        """The row in the server's log of each request, -1 where there is none.

        The local port and the time tell it: a port carries one request at a time.
        """
        by_port: dict[int, list[tuple[int, int]]] = {}
        for row, (t_ns, port, *_, who) in enumerate(log):
            if who == "load":
                by_port.setdefault(port, []).append((t_ns, row))
        found = np.full(len(self.scheduled), -1)
        ports = self.column("local_port").tolist()
        for at, (port, sent, end) in enumerate(zip(ports, self.sent.tolist(), self.end.tolist(), strict=True)):
            seen = by_port.get(port, [])
            place = bisect.bisect_left(seen, (sent, -1))
            if sent >= 0 and place < len(seen) and seen[place][0] <= end:
                found[at] = seen[place][1]
        return found


def truth(offered: Offered, requests: Requests, course: Course) -> Truth:
    """Of one course of the batch."""
    zero, within_ns = offered.zero_ns, offered.batch.load.within_ns
    inside = (requests.scheduled >= zero + course.begin_ns) & (requests.scheduled < zero + course.end_ns)
    # What was never sent says nothing of the server, and the judge takes it for neither good nor bad.
    rows = np.flatnonzero(inside & (requests.sent >= 0))
    moved = [act.moved(zero) for act in course.acts]
    harming = [(act, span) for act in moved if (span := _harm(act, offered, within_ns)) is not None]
    spans = [span for _, span in harming]
    read_ns = max((_reading(act, offered, requests, rows) for act in moved), default=0)
    outages: list[TrueOutage] = []
    for act, (begin, end) in harming:
        if outages and begin - outages[-1].end_ns < HOLD_NS:
            outages[-1] = dataclasses.replace(outages[-1], end_ns=end)
        else:
            exposed = _exposed(act, offered, requests, rows)
            outages.append(TrueOutage(begin_ns=begin, end_ns=end, exposed_ns=exposed, read_ns=read_ns))
    hidden, invented, matched, harmed = _compare(offered, requests, rows, spans, SLACK_NS + read_ns)
    seen = requests.log_row[rows]
    ways = _ways(offered, requests, rows, moved)
    return Truth(
        outages=tuple(outages),
        whole=all(act.whom == acts.ALL and act.every == 1 and act.kind != acts.DEAF for act in moved),
        hidden=hidden,
        invented=invented,
        mistaken=_mistaken(moved, requests, rows),
        matched=matched,
        harmed=harmed,
        ignored=sum(offered.log[row][5] == acts.IGNORE for row in seen[seen >= 0].tolist()),
        ways=ways,
        lateness_ns=max(ways.values(), default=0),
    )


def _ways(offered: Offered, requests: Requests, rows: np.ndarray, moved: list[Act]) -> dict[int, int]:
    """Of what the server never read, or not before it thawed: until it ended, and no longer than others of its kind."""
    log_row = requests.log_row[rows]
    arrived = np.array([offered.log[row][0] if row >= 0 else 0 for row in log_row.tolist()], dtype=np.int64)
    read = log_row >= 0
    for act in moved:
        if act.kind == acts.FREEZE:
            read &= (requests.sent[rows] >= act.end_ns) | (arrived < act.end_ns)
    ways = {}
    for new in (True, False):
        kind = requests.new[rows] == new
        took = (arrived - requests.scheduled[rows])[kind & read]
        usual = int(np.quantile(took, 0.99)) if len(took) else 0
        ended = np.minimum((requests.end - requests.scheduled)[rows][kind & ~read], usual)
        ways |= dict(zip(requests.scheduled[rows][kind & read].tolist(), took.tolist(), strict=True))
        ways |= dict(zip(requests.scheduled[rows][kind & ~read].tolist(), ended.tolist(), strict=True))
    return ways


def _harm(act: Act, offered: Offered, within_ns: int) -> tuple[int, int] | None:
    """[from, to) in which a request that the act meets is harmed; None: never."""
    if act.kind in acts.LISTENER:
        closed = _mark(offered, "closed", act.begin_ns)
        opened = _mark(offered, "listening", act.end_ns)
        return closed["before_ns"], opened["after_ns"]
    if act.kind in (acts.PAUSE, acts.FREEZE):  # who waits no longer than the limit is served well
        end = act.end_ns - within_ns
        return (act.begin_ns, end) if end > act.begin_ns else None
    if act.kind == acts.IDLE_CLOSE or (act.kind == acts.SLOW and act.delay_ns < within_ns):
        return None
    return act.begin_ns, act.end_ns


def _mistaken(moved: list[Act], requests: Requests, rows: np.ndarray) -> int:
    """Bad requests on the kind of connection that no act met.

    A kept connection that was lost in an earlier course is opened when its user needs it next, and meets what new ones
    meet: only those count that had served since this course began.
    """
    if all(act.whom == acts.KEPT for act in moved):
        return int(requests.new[rows[~requests.good[rows]]].sum())
    if not all(act.whom == acts.NEW or act.kind == acts.DEAF for act in moved):
        return 0
    mistaken, serving = 0, set()
    for at in rows[~requests.new[rows]].tolist():
        user = int(requests.user[at])
        if requests.good[at]:
            serving.add(user)
        elif user in serving:
            mistaken += 1
            serving.discard(user)
    return mistaken


def _reading(act: Act, offered: Offered, requests: Requests, rows: np.ndarray) -> int:
    """From the release of held answers to the last of them being read and checked; 0 where none were held."""
    if act.kind not in (acts.PAUSE, acts.FREEZE):
        return 0
    held = rows[(requests.sent[rows] >= act.begin_ns) & (requests.sent[rows] < act.end_ns)]
    read = [int(requests.end[at]) for at in held.tolist() if requests.outcome[at] == "ok"]
    return max(0, max(read, default=0) - act.end_ns)


def _mark(offered: Offered, what: str, near_ns: int) -> dict[str, Any]:
    found = [mark for mark in offered.marks if mark["what"] == what]
    return min(found, key=lambda mark: abs(mark["before_ns"] - near_ns))


def _exposed(act: Act, offered: Offered, requests: Requests, rows: np.ndarray) -> np.ndarray:
    """When the requests were scheduled that the act would have met, whenever it was."""
    if act.kind == acts.DEAF:
        return requests.scheduled[rows[requests.new[rows]]]
    if act.whom == acts.ALL and act.every == 1:
        return requests.scheduled[rows]
    seen = rows[requests.log_row[rows] >= 0]
    met = []
    for at in seen.tolist():
        _, _, backend, ordinal, count, *_ = offered.log[requests.log_row[at]]
        met.append(act.meets(ordinal, backend, count))
    return requests.scheduled[seen[np.array(met, dtype=bool)]]


def _compare(
    offered: Offered, requests: Requests, rows: np.ndarray, spans: list[tuple[int, int]], slack_ns: int
) -> tuple[int, int, int, int]:
    """(hidden, invented, matched, harmed): each request as the server treated it against its record.

    What the server never saw must lie in an outage. What was answered within `slack_ns` of the limit may be either.
    """
    within_ns = offered.batch.load.within_ns
    hidden = invented = matched = harmed = 0
    for at in rows.tolist():
        good, row = bool(requests.good[at]), int(requests.log_row[at])
        scheduled = int(requests.scheduled[at])
        if row < 0:
            inside = any(begin - slack_ns <= scheduled < end + slack_ns for begin, end in spans)
            invented += not good and not inside
            hidden += good  # a good answer that the server did not give
            continue
        matched += 1
        kind, sent_ns = offered.log[row][5], offered.log[row][6]
        if kind in ("answer", acts.PAUSE, acts.SLOW):
            late = sent_ns - scheduled - within_ns if sent_ns else slack_ns + 1
            harmed += late > 0
            if sent_ns and abs(late) <= slack_ns:
                continue
            hidden += good and late > 0
            invented += not good and late < 0
        else:
            harmed += 1
            hidden += good
    return hidden, invented, matched, harmed
