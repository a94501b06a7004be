"""What the connections of an earlier run left in the network, and how long the next one waits for it.

A connection that a dead pod never answered stays in the nodes' connection tracking: another one from the same
local port is led to that pod again. A client's ports come round within a few runs, so the next run would find a
healthy platform ill in its baseline. Pods of a load inside have addresses of their own.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

from harness.history import requests as outcomes
from harness.run.active import state_dir
from harness.verdict import Verdict

MEMORY_NS = 120_000_000_000  # nf_conntrack_tcp_timeout_syn_sent, by default
_UNANSWERED = (outcomes.TIMEOUT, outcomes.UNREACHABLE)


def remember(cluster: str, verdict: Verdict) -> None:
    """To be called when a run on a cluster that tracks connections has ended: the next run hears of unanswered ones."""
    counts = verdict.measurements.get("requests", {}).get("by_outcome", {})
    if not any(counts.get(outcome) for outcome in _UNANSWERED):
        return
    told = {name: until_ns for name, until_ns in _read().items() if until_ns > time.monotonic_ns()}
    told[cluster] = time.monotonic_ns() + MEMORY_NS
    file = _file()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(told), encoding="utf-8")


def left_ns(cluster: str) -> int:
    """How much longer the network remembers an earlier run of this machine on that cluster."""
    left = _read().get(cluster, 0) - time.monotonic_ns()
    # More than that was written before this machine was started again, when its clock began anew.
    return left if 0 < left <= MEMORY_NS else 0


def _file() -> Path:
    return state_dir() / "unanswered.json"


def _read() -> dict[str, int]:
    try:
        return {str(name): int(until_ns) for name, until_ns in json.loads(_file().read_text(encoding="utf-8")).items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}  # a wait that nobody knows of is what there was without the file
