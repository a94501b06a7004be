"""The checks: pure functions from what was measured to an answer, one question a file.

`harness.judge` asks them; `catalogue` tells people which there are.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.verdict import CheckKind


@dataclass(frozen=True, slots=True)
class Described:
    """A check for people: its stable name, what it asks about, and what it says."""

    name: str
    kind: CheckKind
    says: str


_INSTRUMENT = CheckKind.INSTRUMENT
_PROMISE = CheckKind.PROMISE

_CATALOGUE = (
    Described("stopped", _INSTRUMENT, "the run ended by itself (always)"),
    Described("history_complete", _INSTRUMENT, "every request and phase was recorded, exactly once (always)"),
    Described("load_delivered", _INSTRUMENT, "the load was offered on schedule (load.lag_limit, load.on_time)"),
    Described("baseline_steady", _INSTRUMENT, "the platform met its SLOs before it was struck (always)"),
    Described("fault_proven", _INSTRUMENT, "the fault happened, as a second channel saw (always)"),
    Described("undo_verified", _INSTRUMENT, "the cluster is as it was before (always)"),
    Described("slo_NAME", _PROMISE, "the whole run met the SLO (each of slos)"),
    Described("steady_NAME", _PROMISE, "the baseline has enough requests to claim the SLO at 95 % (each of slos)"),
    Described("recovers_within", _PROMISE, "service was back in time and stayed back (expect.recovers_within)"),
    Described("lost", _PROMISE, "clients lost few seconds from the fault on (expect.lost)"),
    Described("lost_requests", _PROMISE, "clients lost few requests from the fault on (expect.lost_requests)"),
    Described("wrong_answers", _PROMISE, "no more wrong answers than allowed (expect.wrong_answers)"),
    Described("replicas_within", _PROMISE, "full strength was back in time (expect.replicas_within)"),
    Described("ready_floor", _PROMISE, "enough pods were ready at all times (expect.ready_floor)"),
    Described("stable_within", _PROMISE, "after a bad release the stable version was back (expect.stable_within)"),
    Described("exposed", _PROMISE, "few requests met the bad release (expect.exposed)"),
    Described("undone_within", _PROMISE, "the fault was undone in time (expect.undone_within)"),
    Described("latency_pNN", _PROMISE, "the run's latency quantile kept its limit (each of expect.latency)"),
    Described("steady_latency_pNN", _PROMISE, "the steady state's too, at 95 % (each of expect.latency)"),
    Described("uptime", _PROMISE, "the SLOs were met in enough of the run's seconds (expect.uptime)"),
    Described("goodput", _PROMISE, "clients got enough good answers a second all the time (expect.goodput)"),
    Described("budget_NAME", _PROMISE, "the run spent little of the SLO's error budget (expect.budget_spent)"),
    Described("burn_NAME", _PROMISE, "the error budget did not burn too fast (expect.burn_rate)"),
    Described("degraded", _PROMISE, "outages were short, all together (expect.degraded)"),
    Described(
        "in_flight_lost", _PROMISE, "requests under way when the fault struck ended well (expect.in_flight_lost)"
    ),
    Described("gray_pods", _PROMISE, "no pod was ready and yet bad for its clients (expect.gray_pods)"),
    Described("settles", _PROMISE, "service met its SLOs after the undo (always)"),
)


def catalogue() -> tuple[Described, ...]:
    """Every check there is, in the order in which they are asked."""
    return _CATALOGUE
