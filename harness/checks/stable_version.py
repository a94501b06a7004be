"""After a bad release: did the stable version serve every answer again in time, and how many met the other one?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from harness.checks.answer import Answer, count, failed, invalid, passed
from harness.checks.recovers_within import recovers_within
from harness.measure.recovery import Recovery
from harness.units import format_share


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """Answers from the strike until the stable version served every answer again (or until the load ended)."""

    scheduled: int  # requests scheduled in that time
    others: int  # answered by another version
    unnamed: int  # answered without naming a version
    first_ns: int | None


def served_before(stable: int, answers: int, version: str) -> Answer | None:
    """Before the release the stable version must have served; otherwise there is nothing to go back to."""
    if not answers:
        return invalid("no answer of the baseline names its version", hint="answers name it in model_version")
    if stable < answers:
        why = f"before the release only {stable:,} of {answers:,} answers were of version {version}"
        return invalid(why, hint="check workload.stable_version")
    return None


def stable_within(certain: Sequence[Recovery], doubted: Sequence[Recovery], limit_ns: int, hold_ns: int) -> Answer:
    """No answer of another version, and no bad request, later than `limit_ns` after the release took effect."""
    return recovers_within(certain, doubted, limit_ns, hold_ns, subject="the stable version")


def exposed(exposure: Exposure | None, limit: float) -> Answer:
    """At most this share of the requests until then was answered by another version."""
    if exposure is None:
        return invalid("no fault struck, so nobody was exposed to another version")
    scheduled = max(exposure.scheduled, exposure.others)
    share = exposure.others / scheduled if scheduled else 0.0
    worst = (exposure.others + exposure.unnamed) / scheduled if scheduled else 0.0
    seen = f"{count(exposure.others, 'answer')} of another version"
    if exposure.others:
        seen += f", {share:.2%} of {count(scheduled, 'request')} until the stable one was back"
    figures: dict[str, Any] = {"others": exposure.others, "scheduled": scheduled, "share": share}
    allowed = f"{limit:.2%}" if 0 < limit < 1 else format_share(limit)
    if share > limit:
        why = f"{share:.2%} of the requests were answered by another version, at most {allowed} may be"
        return failed(seen, why, at_ns=exposure.first_ns, **figures)
    if worst > limit:
        return invalid(f"{count(exposure.unnamed, 'answer')} named no version", seen=seen, **figures)
    return passed(seen, at_ns=exposure.first_ns, **figures)
