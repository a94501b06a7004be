"""Aftershocks are told apart only where the rest shows that service is well."""

from __future__ import annotations

import numpy as np

from harness.history.columns import Coded, Requests
from harness.measure.aftershocks import find_aftershocks

S = 1_000_000_000


def make(scheduled_s, *, bad, ports, kind=None, outcome="timeout"):
    """Requests on new connections, bad ones without an answer."""
    count = len(scheduled_s)
    scheduled = (np.asarray(scheduled_s) * S).astype(np.int64)
    bad = np.asarray(bad, dtype=bool)
    none = Coded(np.full(count, -1, dtype=np.int32), [])
    kinds = np.zeros(count, dtype=np.int32) if kind is None else np.asarray(kind, dtype=np.int32)
    return Requests(
        arrival=np.arange(count, dtype=np.int64),
        scheduled_ns=scheduled,
        sent_ns=scheduled,
        first_byte_ns=np.where(bad, -1, scheduled + 1),
        end_ns=scheduled + 2,
        outcome=Coded(bad.astype(np.int32), ["ok", outcome]),
        error=none,
        pod=none,
        version=none,
        connection=Coded(kinds, ["new", "kept"]),
        protocol=none,
        local_port=np.asarray(ports, dtype=np.int32),
        attempts=np.ones(count, dtype=np.int16),
        user=np.zeros(count, dtype=np.int32),
    ), bad


TIMES = np.arange(0, 60, 0.01)
PORTS = 32768 + np.arange(len(TIMES)) % 3000  # the ports come round after 30 s


def test_ports_that_come_round_again_after_an_outage_are_aftershocks():
    """As measured: black-holed by conntrack while the service is well."""
    first = (TIMES >= 1) & (TIMES < 3)
    again = (TIMES >= 31) & (TIMES < 33) & (np.arange(len(TIMES)) % 10 == 0)
    requests, bad = make(TIMES, bad=first | again, ports=PORTS)

    assert (find_aftershocks(requests, ~bad, bad) == again).all()


def test_a_second_outage_on_the_same_ports_is_an_outage():
    """All fail, so nothing shows that service is well: a whole outage is never explained away."""
    outages = ((TIMES >= 1) & (TIMES < 3)) | ((TIMES >= 31) & (TIMES < 33))
    requests, bad = make(TIMES, bad=outages, ports=PORTS)

    found = find_aftershocks(requests, ~bad, bad)

    assert found[TIMES >= 31].sum() == 0


def test_a_client_with_few_ports_has_no_aftershocks_in_an_outage():
    """Every port has failed before at once; a hung backend must not hide behind that."""
    requests, bad = make(TIMES, bad=(TIMES >= 1) & (TIMES < 20), ports=32768 + np.arange(len(TIMES)) % 50)

    found = find_aftershocks(requests, ~bad, bad)

    assert found[(TIMES >= 3) & (TIMES < 18)].sum() == 0


def test_a_kept_connection_has_no_aftershocks():
    """It has one port for ever: a hung pod behind it fails again and again."""
    bad = (np.arange(len(TIMES)) % 10 == 0) & (TIMES > 1)
    kinds = (np.arange(len(TIMES)) % 10 == 0).astype(int)
    requests, bad = make(TIMES, bad=bad, ports=np.where(kinds == 1, 40000, PORTS), kind=kinds)

    assert not find_aftershocks(requests, ~bad, bad).any()


def test_an_answer_is_no_aftershock():
    """Whoever refused or answered wrongly was there."""
    first = (TIMES >= 1) & (TIMES < 3)
    again = (TIMES >= 31) & (TIMES < 33) & (np.arange(len(TIMES)) % 10 == 0)
    requests, bad = make(TIMES, bad=first | again, ports=PORTS, outcome="http_503")

    assert not find_aftershocks(requests, ~bad, bad).any()


def test_a_first_failure_is_no_aftershock():
    """Its port had never failed."""
    requests, bad = make(TIMES, bad=(TIMES >= 40) & (TIMES < 41), ports=np.arange(len(TIMES)) + 10000)

    assert not find_aftershocks(requests, ~bad, bad).any()


def test_a_kept_connection_that_is_opened_again_may_meet_one():
    """After an outage every kept connection is opened again, and some of them on a port that failed before."""
    number = np.arange(len(TIMES))
    first = (TIMES >= 1) & (TIMES < 3)
    kept = number % 50 == 0  # one user has one connection, opened again at 31 s and, as that hangs, once more
    again = kept & (TIMES >= 31) & (TIMES < 31.4)
    ports = np.where(kept, np.where(TIMES < 31, 20000, np.where(again, PORTS + 1, 20001)), PORTS)
    requests, bad = make(TIMES, bad=first | again, ports=ports, kind=kept.astype(int))

    assert again.sum() == 1
    assert (find_aftershocks(requests, ~bad, bad) == again).all()
