"""Bad requests that are the network's memory of an outage, and not a new one.

A SYN to a dead pod's address leaves a conntrack entry; when the client's source port comes round again, within 120 s,
the new connection is black-holed although the service is well. Measured on a real cluster: 494 of 1,600 bad ones came
more than a second after the endpoint was withdrawn, 491 of them on a source port that had failed before.

They are told apart only where the rest shows that the service is well: a bad request is an aftershock when it opened a
connection (a new one, or a kept one that had been lost), got no answer, its port had failed so before, and of the new
connections within a second most were good: at least 80 % (of at least 5) of those on other ports, and 55 % of all. A
second outage is never explained away.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from harness.history import requests as outcomes
from harness.history.columns import Ints, Mask, Requests
from harness.units import NS_PER_S

_SILENT = (outcomes.TIMEOUT, outcomes.UNREACHABLE, "grpc_DEADLINE_EXCEEDED", "grpc_UNAVAILABLE")
NEIGHBOURHOOD_NS = NS_PER_S
HEALTHY_SHARE = 0.8
HEALTHY_SHARE_OF_ALL = 0.55
FEWEST_NEIGHBOURS = 5


def find_aftershocks(requests: Requests, good: Mask, bad: Mask) -> Mask:
    """The rows that are aftershocks."""
    none = np.zeros(len(requests), dtype=np.bool_)
    rows = np.flatnonzero(bad)  # few, mostly
    rows = rows[requests.outcome[rows].is_(*_SILENT)]
    rows = rows[(requests.first_byte_ns[rows] < 0) & (requests.local_port[rows] > 0)]
    new = requests.connection[rows].is_(outcomes.NEW)
    rows = rows[new | _opened_again(requests, rows[~new])[rows]]
    if len(rows) < 2:
        return none
    order = rows[np.lexsort((requests.scheduled_ns[rows], requests.local_port[rows]))]
    again = requests.local_port[order][1:] == requests.local_port[order][:-1]
    if not again.any():
        return none
    candidates = none.copy()
    candidates[order[1:][again]] = True
    return candidates & _well_around(requests, candidates, good, bad)


def _opened_again(requests: Requests, asked: NDArray[np.intp]) -> Mask:
    """Requests whose user had its kept connection on another port before: all of those `asked` for, some others."""
    opened = np.zeros(len(requests), dtype=np.bool_)
    if not len(asked):
        return opened
    upto = slice(int(asked[-1]) + 1)  # what comes later says nothing of before
    order = np.flatnonzero(requests.connection.is_(outcomes.KEPT)[upto] & (requests.local_port[upto] > 0))
    order = order[np.isin(requests.user[order], np.unique(requests.user[asked]))]
    order = order[_by(requests.user[order])]
    same_user = requests.user[order][1:] == requests.user[order][:-1]
    other_port = requests.local_port[order][1:] != requests.local_port[order][:-1]
    opened[order[1:][same_user & other_port]] = True
    return opened


def _by(users: NDArray[np.int32]) -> NDArray[np.intp]:
    """The order by user, the requests of each in their own order. Numbers of 16 bits are sorted without comparing."""
    lowest = int(users.min(initial=0))
    if int(users.max(initial=0)) - lowest <= np.iinfo(np.uint16).max:
        return np.argsort((users - lowest).astype(np.uint16), kind="stable")
    return np.argsort(users, kind="stable")


def _well_around(requests: Requests, candidates: Mask, good: Mask, bad: Mask) -> Mask:
    """The candidates among whose neighbours on other ports service is well."""
    well = np.zeros(len(requests), dtype=np.bool_)
    known = requests.connection.is_(outcomes.NEW) & (good | bad)
    rows = np.flatnonzero(candidates)
    moments = requests.scheduled_ns[rows]
    number, fine = _around(requests.scheduled_ns, good, known & ~candidates, moments)
    number_of_all, fine_of_all = _around(requests.scheduled_ns, good, known, moments)
    others_well = (number >= FEWEST_NEIGHBOURS) & (fine >= HEALTHY_SHARE * number)
    well[rows[others_well & (fine_of_all >= HEALTHY_SHARE_OF_ALL * number_of_all)]] = True
    return well


def _around(scheduled_ns: Ints, good: Mask, among: Mask, moments: Ints) -> tuple[Ints, Ints]:
    """How many of the rows `among` are scheduled within the neighbourhood of each moment, and how many are good."""
    if not len(moments):
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    near = slice(
        int(np.searchsorted(scheduled_ns, moments.min() - NEIGHBOURHOOD_NS, side="left")),
        int(np.searchsorted(scheduled_ns, moments.max() + NEIGHBOURHOOD_NS, side="right")),
    )
    scheduled_ns, good, among = scheduled_ns[near], good[near], among[near]
    times = scheduled_ns[among]
    sums = np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(good[among], dtype=np.int64)))
    begin = np.searchsorted(times, moments - NEIGHBOURHOOD_NS, side="left")
    end = np.searchsorted(times, moments + NEIGHBOURHOOD_NS, side="right")
    return (end - begin).astype(np.int64), sums[end] - sums[begin]
