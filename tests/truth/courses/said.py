"""What a 1 s poller and a stock Locust had to say about the same outages."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from tests.truth.courses.compare import Compared
from tests.truth.courses.families import S
from tests.truth.courses.offer import Offered
from tests.truth.courses.plan import QUIET_NS

# Locust's history has whole seconds, and a hung request of a client without a deadline ends a second later.
LATE_NS = 2 * S


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """Of one course: whether anything was noticed, and how far off its begin and end were (ns)."""

    noticed: bool
    begin_off_ns: int | None = None
    end_off_ns: int | None = None


def poller_said(offered: Offered, one: Compared) -> Said:
    """Its outage lasts from the first poll that failed to the first one that was content again."""
    begin, end = _course(offered, one)
    polls = [poll for poll in offered.polls if begin - S < poll[0] < end + QUIET_NS]
    failed = [t_ns for t_ns, well in polls if not well]
    if not failed:
        return Said(noticed=False)
    content = [t_ns for t_ns, well in offered.polls if well and t_ns > failed[-1]]
    back = content[0] if content else failed[-1]
    return Said(noticed=True, begin_off_ns=abs(failed[0] - begin), end_off_ns=abs(back - end))


def locust_said(offered: Offered, one: Compared) -> Said:
    """Its outage lasts from the first row of its history with new failures to the last one."""
    begin, end = _course(offered, one)
    rows = [row for row in offered.locust if begin - 2 * S < row[0] <= end + LATE_NS]
    grown = [later[0] for row, later in pairwise(rows) if later[2] > row[2]]
    if not grown:
        return Said(noticed=False)
    return Said(noticed=True, begin_off_ns=abs(grown[0] - begin), end_off_ns=abs(grown[-1] - end))


def _course(offered: Offered, one: Compared) -> tuple[int, int]:
    """The true span of all its outages; of a control, of its acts."""
    if one.edges:
        return one.edges[0].begin_ns, one.edges[-1].end_ns
    return offered.zero_ns + one.course.first_ns, offered.zero_ns + one.course.last_ns
