"""Bad requests that are the network's memory of an outage, and not a new one.

A SYN to a dead pod's address leaves a conntrack entry; when the client's source port comes round again, within 120 s,
the new connection is black-holed although the service is well. Measured on a real cluster: 494 of 1,600 bad ones came
more than a second after the endpoint was withdrawn, 491 of them on a source port that had failed before.

They are told apart only where the rest shows that the service is well: a bad request is an aftershock when it opened a
new connection, got no answer, its port had failed so before, and among the other new connections within a second at
least 80 % (of at least 5) were good.
"""

from __future__ import annotations

import numpy as np

from harness.history import requests as outcomes
from harness.history.columns import Mask, Requests
from harness.units import NS_PER_S

_SILENT = (outcomes.TIMEOUT, outcomes.UNREACHABLE, "grpc_DEADLINE_EXCEEDED", "grpc_UNAVAILABLE")
NEIGHBOURHOOD_NS = NS_PER_S
HEALTHY_SHARE = 0.8
FEWEST_NEIGHBOURS = 5


def find_aftershocks(requests: Requests, good: Mask, bad: Mask) -> Mask:
    """The rows that are aftershocks."""
    none = np.zeros(len(requests), dtype=np.bool_)
    new = requests.connection.is_(outcomes.NEW)
    silent = bad & new & requests.outcome.is_(*_SILENT) & (requests.first_byte_ns < 0) & (requests.local_port > 0)
    rows = np.flatnonzero(silent)
    if len(rows) < 2:
        return none
    order = rows[np.lexsort((requests.scheduled_ns[rows], requests.local_port[rows]))]
    again = requests.local_port[order][1:] == requests.local_port[order][:-1]
    candidates = none.copy()
    candidates[order[1:][again]] = True
    return candidates & _well_around(requests, candidates, new, good, bad)


def _well_around(requests: Requests, candidates: Mask, new: Mask, good: Mask, bad: Mask) -> Mask:
    """The candidates among whose neighbours on other ports service is well."""
    well = np.zeros(len(requests), dtype=np.bool_)
    others = new & ~candidates & (good | bad)
    times = requests.scheduled_ns[others]
    sums = np.concatenate(([0], np.cumsum(good[others])))
    rows = np.flatnonzero(candidates)
    begin = np.searchsorted(times, requests.scheduled_ns[rows] - NEIGHBOURHOOD_NS, side="left")
    end = np.searchsorted(times, requests.scheduled_ns[rows] + NEIGHBOURHOOD_NS, side="right")
    count = end - begin
    fine = (count >= FEWEST_NEIGHBOURS) & (sums[end] - sums[begin] >= HEALTHY_SHARE * count)
    well[rows[fine]] = True
    return well
