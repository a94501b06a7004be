"""Which pod served worse than the others while it counted as ready: what probes and averages hide.

A request belongs to the pod that its answer named. One that was not answered belongs, on a kept connection, to the pod
that last answered on the same connection (through a Service a connection goes to one pod); on a new one nobody knows.
So a pod that swallows new connections shows in another way: it answers far fewer of them than its even share.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.history import requests as outcomes
from harness.history.columns import Mask, Requests

# Chance that an honest pod is called gray, for each pod and each of the two questions.
LUCK = 1e-6
# A pod with fewer answers to new connections than this part of its even share swallows them.
FEW = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What one pod did for its clients. `gray` says in words why it is, and is empty where it is not."""

    name: str
    requests: int
    bad: int
    gray: str


def owners(requests: Requests) -> NDArray[np.int64]:
    """The code of the pod that each request belongs to, -1 where nobody knows."""
    pod = requests.pod.codes.astype(np.int64)
    rows = np.flatnonzero(requests.connection.is_(outcomes.KEPT) & (requests.local_port > 0))
    # By connection, then by time; the pod that answered last on it is carried forward.
    order = rows[np.lexsort((requests.scheduled_ns[rows], requests.local_port[rows], requests.user[rows]))]
    if len(order):
        begins = np.ones(len(order), dtype=np.bool_)
        user, port = requests.user[order], requests.local_port[order]
        begins[1:] = (user[1:] != user[:-1]) | (port[1:] != port[:-1])
        known = pod[order] >= 0
        last = np.maximum.accumulate(np.where(known | begins, np.arange(len(order)), 0))
        pod[order] = np.where(known, pod[order], pod[order[last]])
    return pod


def served(requests: Requests, rows: Mask, bad: Mask, pods: Sequence[str], most_bad: float) -> list[Served]:
    """Each of these pods against the others, over `rows`. `most_bad` is the share of bad ones that the SLO allows."""
    from harness.measure.special import bdtr, bdtrc

    owner = owners(requests)
    new = rows & requests.connection.is_(outcomes.NEW) & requests.pod.known()
    names = {name: code for code, name in enumerate(requests.pod.names)}
    counted = {}
    for name in pods:
        mine = rows & (owner == names.get(name, -2))
        counted[name] = (int(mine.sum()), int((mine & bad).sum()), int((mine & new).sum()))
    answered_new = sum(fresh for _, _, fresh in counted.values())
    found = []
    for name, (total, wrong, fresh) in counted.items():
        others = sum(count for other, (count, _, _) in counted.items() if other != name)
        others_bad = sum(lost for other, (_, lost, _) in counted.items() if other != name)
        normal = max(most_bad, others_bad / others if others else 0.0)
        gray = ""
        if wrong and float(bdtrc(wrong - 1.0, total, normal)) < LUCK:
            gray = f"{wrong:,} of its {total:,} requests bad, {others_bad:,} of {others:,} of the others"
        elif fresh < FEW * answered_new / len(counted) and float(bdtr(fresh, answered_new, 1 / len(counted))) < LUCK:
            gray = f"answered {fresh:,} of {answered_new:,} new connections, its even share is 1 in {len(counted)}"
        found.append(Served(name=name, requests=total, bad=wrong, gray=gray))
    return found
