"""Which requests were good, which were bad, and of which the load generator cannot say.

Good: the right answer came within the SLO's latency, counted from where the SLO counts. Bad: it did not. Unknown: the
load generator itself was at fault, and nobody may hold that against the platform or in its favour:

- it never sent the request (`not_sent`),
- the answer was right, and within the latency from the sending but not from the schedule: the generator was late,
- it sent the request so late (`BLIND_NS`) that a good answer says nothing about the moment that it was scheduled for:
  a stall of the generator would hide an outage of the platform.

A claim in the platform's favour counts the unknown as bad, a claim against it counts them as good; where that makes a
difference the answer is INVALID.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.experiment.model import Slo
from harness.history import requests as outcomes
from harness.history.columns import Mask, Requests
from harness.units import NS_PER_MS

BLIND_NS = 50 * NS_PER_MS


@dataclass(frozen=True, slots=True, kw_only=True)
class Goodness:
    """One row is one request; exactly one of the three is true. `unknown` is what is neither good nor bad."""

    good: Mask
    bad: Mask

    @property
    def unknown(self) -> Mask:
        """The load generator's own failures."""
        return ~(self.good | self.bad)


def goodness(requests: Requests, slo: Slo) -> Goodness:
    """By one SLO."""
    good, bad = np.empty(len(requests), dtype=np.bool_), np.empty(len(requests), dtype=np.bool_)
    for rows, block in requests.blocks():
        good[rows], bad[rows] = _good_and_bad(block, slo)
    return Goodness(good=good, bad=bad)


def _good_and_bad(requests: Requests, slo: Slo) -> tuple[Mask, Mask]:
    right = requests.outcome.is_(outcomes.OK)
    sent = requests.sent_ns >= 0
    lag_ns = requests.sent_ns - requests.scheduled_ns
    in_time = right & sent
    late_by_us = np.zeros(len(requests), dtype=np.bool_)
    if slo.within_ns is not None:
        from_sent = requests.end_ns - requests.sent_ns <= slo.within_ns
        in_time &= from_sent
        if slo.measured_from == "scheduled":
            from_scheduled = requests.end_ns - requests.scheduled_ns <= slo.within_ns
            late_by_us = in_time & ~from_scheduled
            in_time &= from_scheduled
    blind = in_time & (lag_ns > BLIND_NS)
    unsent = requests.outcome.is_(outcomes.NOT_SENT) | (right & ~sent)
    return in_time & ~blind, ~(in_time | late_by_us | unsent)


def together(parts: list[Goodness]) -> Goodness:
    """Good by every SLO; bad by at least one. Raises ValueError without an SLO."""
    if not parts:
        raise ValueError("no SLO: nothing says what a good request is")
    good, bad = parts[0].good, parts[0].bad
    for part in parts[1:]:
        good = good & part.good
        bad = bad | part.bad
    return Goodness(good=good, bad=bad)
