"""What did some runs together use up of an error budget? What a gate may ask beyond their verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.verdict import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """Share of an SLO's error budget (of its whole period) that some runs used up."""

    slo: str
    at_least: float
    at_most: float  # with the requests that the load generator failed taken as bad


def budget_spent(verdicts: Sequence[Verdict], rate_per_s: float) -> list[Spent] | None:
    """Over all the runs together, for each SLO; None when one of the runs does not tell."""
    low: dict[str, float] = {}
    high: dict[str, float] = {}
    for verdict in verdicts:
        slos, requests = verdict.measurements.get("slos"), verdict.measurements.get("requests")
        if not slos or not requests:
            return None
        for slo in slos:
            name, spent = slo["name"], float(slo["budget_spent"])
            unknown = float(requests["not_judged"])
            low[name] = low.get(name, 0.0) + spent
            high[name] = high.get(name, 0.0) + spent + unknown / rate_per_s / float(slo["budget_s"])
    return [Spent(slo=name, at_least=low[name], at_most=high[name]) for name in low]
