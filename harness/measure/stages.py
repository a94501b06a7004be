"""The way back, stage by stage, as far as it was seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.history.columns import Requests
from harness.measure.pods import Pods
from harness.measure.recovery import Recovery
from harness.measure.timeline import Strike


def recovery_stages(
    recovery: Recovery, strikes: Sequence[Strike], proven_ns: int | None, pods: Pods, requests: Requests, hold_ns: int
) -> list[dict[str, Any]]:
    """[{name, at_ns}] in order of their names' meaning; at_ns is None where the stage was not seen."""
    struck = strikes[0].begin_ns or recovery.start_ns
    new = [pod for pod in pods.pods if not pod.listed and pod.seen_ns >= struck]
    scheduled = [pod.scheduled_ns for pod in new if pod.scheduled_ns is not None]
    ready = [pod.ready[0][0] for pod in new if pod.ready]
    first = recovery.outages[0] if recovery.outages else None
    held_ns = recovery.by_ns + hold_ns if recovery.by_ns is not None and recovery.held else None
    stages: list[tuple[str, int | None]] = [
        ("first bad request", first.first_ns if first else None),
        ("fault proven", proven_ns),
        ("endpoint removed", _endpoint_removed(strikes, pods, struck)),
        ("pod scheduled", min(scheduled, default=None)),
        ("pod ready", min(ready, default=None)),
        ("first good answer after the last bad request", _answered(first.by_ns if first else None, requests)),
        ("SLO met for the hold time", held_ns),
    ]
    return [{"name": name, "at_ns": at_ns} for name, at_ns in stages]


def _endpoint_removed(strikes: Sequence[Strike], pods: Pods, struck: int) -> int | None:
    uids = {str(strike.facts.get("uid")) for strike in strikes}
    names = {name for strike in strikes for name in strike.names}
    ends = [
        end
        for pod in pods.pods
        if pod.uid in uids or (pod.name in names and pod.seen_ns < struck)
        for _, end in pod.endpoint
        if end is not None and end >= struck
    ]
    return min(ends, default=None)


def _answered(by_ns: int | None, requests: Requests) -> int | None:
    """When the request that was scheduled then, or sent late then, had its answer."""
    if by_ns is None:
        return None
    rows = ((requests.scheduled_ns == by_ns) | (requests.sent_ns == by_ns)).nonzero()[0]
    return int(requests.end_ns[rows[0]]) if len(rows) else None
