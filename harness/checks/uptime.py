"""In how much of the run's time was service up? Time is cut into windows; each is up or it is not."""

from __future__ import annotations

from typing import Any

from harness.checks.answer import Answer, failed, invalid, passed
from harness.units import format_share


def uptime(up: int, may_be_up: int, windows: int, least: float, first_down_ns: int | None) -> Answer:
    """The share of windows that met the target reaches `least`.

    `up` counts windows that met it whatever the load generator failed to judge, `may_be_up` those that may have met it.
    """
    if not windows:
        return invalid("no request was scheduled, so no window says anything")
    seen = f"{format_share(up / windows)}: {up:,} of {windows:,} seconds"
    figures: dict[str, Any] = {"up": up, "may_be_up": may_be_up, "windows": windows, "uptime": up / windows}
    if may_be_up / windows < least:
        why = f"service was up in {may_be_up:,} of {windows:,} seconds, {format_share(least)} of them must be"
        return failed(seen, why, at_ns=first_down_ns, **figures)
    if up / windows < least:
        why = "requests that the load generator failed decide whether enough seconds were up"
        return invalid(why, seen=seen, hint="give the load generator more CPU", at_ns=first_down_ns, **figures)
    return passed(seen, at_ns=first_down_ns, **figures)
