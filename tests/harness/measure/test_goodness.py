"""Good, bad, or the load generator's own failure."""

from __future__ import annotations

import numpy as np
import pytest

from harness.experiment.model import Slo
from harness.history.columns import Coded, Requests
from harness.measure.goodness import goodness, together

MS = 1_000_000
OUTCOMES = ["ok", "timeout", "refused", "wrong_answer", "not_sent", "http_503"]


def one(outcome, lag_ms=0.0, took_ms=10.0):
    """A single request."""
    scheduled = np.array([1_000 * MS], dtype=np.int64)
    sent = scheduled + round(lag_ms * MS) if outcome != "not_sent" else np.array([-1], dtype=np.int64)
    end = sent + round(took_ms * MS) if outcome != "not_sent" else sent
    none = Coded(np.array([-1], dtype=np.int32), [])
    zero = np.zeros(1, dtype=np.int32)
    return Requests(
        arrival=np.zeros(1, dtype=np.int64),
        scheduled_ns=scheduled,
        sent_ns=sent,
        first_byte_ns=end,
        end_ns=end,
        outcome=Coded(np.array([OUTCOMES.index(outcome)], dtype=np.int32), OUTCOMES),
        error=none,
        pod=none,
        version=none,
        connection=none,
        protocol=none,
        local_port=zero,
        attempts=np.ones(1, dtype=np.int16),
        user=zero,
    )


def slo(within_ms=250, measured_from="scheduled"):
    """An objective."""
    within = None if within_ms is None else within_ms * MS
    return Slo(name="detector", service="detector", target=0.999, within_ns=within, measured_from=measured_from)


@pytest.mark.parametrize(
    ("request_", "objective", "is_"),
    [
        (one("ok"), slo(), "good"),
        (one("ok", took_ms=250), slo(), "good"),
        (one("ok", took_ms=250.001), slo(), "bad"),
        (one("ok", took_ms=5000), slo(None), "good"),
        (one("ok", lag_ms=2, took_ms=249), slo(), "unknown"),  # in time but for our own lateness
        (one("ok", lag_ms=2, took_ms=249), slo(measured_from="sent"), "good"),
        (one("ok", lag_ms=400, took_ms=10), slo(), "unknown"),
        (one("ok", lag_ms=60, took_ms=10), slo(), "unknown"),  # too late to say how it was when scheduled
        (one("ok", lag_ms=60, took_ms=10), slo(None), "unknown"),
        (one("ok", lag_ms=2, took_ms=251), slo(), "bad"),  # the platform was too slow by itself
        (one("timeout", took_ms=1500), slo(), "bad"),
        (one("timeout", lag_ms=400, took_ms=1500), slo(), "bad"),  # late, but failed all the same
        (one("refused", took_ms=0.1), slo(), "bad"),
        (one("wrong_answer"), slo(), "bad"),
        (one("http_503"), slo(None), "bad"),
        (one("not_sent"), slo(), "unknown"),
        (one("not_sent"), slo(None), "unknown"),
    ],
)
def test_each_request_is_good_bad_or_unknown(request_, objective, is_):
    """The table of the definition."""
    found = goodness(request_, objective)

    assert {"good": found.good[0], "bad": found.bad[0], "unknown": found.unknown[0]} == {
        name: name == is_ for name in ("good", "bad", "unknown")
    }


def test_several_objectives_are_met_together_or_not():
    """Good by every SLO, bad by at least one."""
    request_ = one("ok", took_ms=100)

    both = together([goodness(request_, slo(250)), goodness(request_, slo(50))])

    assert both.bad[0] and not both.good[0]


def test_without_an_objective_nothing_is_good():
    """Nobody said what good means."""
    with pytest.raises(ValueError, match="no SLO"):
        together([])
