"""Which runs may be put side by side: those of one experiment, under one load, each of them once."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.errors import UsageError
from harness.history.reader import History


def same_experiment(histories: Sequence[History]) -> None:
    """Raises UsageError when they are not of one experiment, load and kind of cluster."""
    first = histories[0]
    for other in histories[1:]:
        for what, one, two in (
            ("experiment", first.run.get("experiment"), other.run.get("experiment")),
            ("cluster provider", _provider(first), _provider(other)),
            ("load", _load(first), _load(other)),
            ("method", _method(first), _method(other)),
            ("hold time", first.experiment.bulletproof.expect.hold_ns, other.experiment.bulletproof.expect.hold_ns),
            ("SLOs", [slo.model_dump(exclude={"file"}) for slo in first.experiment.slos],
             [slo.model_dump(exclude={"file"}) for slo in other.experiment.slos]),
        ):  # fmt: skip
            if one != two:
                raise UsageError(
                    f"{other.run_dir} cannot be compared with {first.run_dir}: their {what} differs",
                    hint="compare runs of one experiment under one load on one kind of cluster",
                )


def distinct(histories: Sequence[History]) -> None:
    """Raises UsageError when a run is there twice, be it as a copy of its folder: it is one trial, not two."""
    seen: dict[bytes, Path] = {}
    for history in histories:
        # No two runs have their requests at the same nanoseconds; what was never run has none, and no twin either.
        taken = history.requests.scheduled_ns.tobytes() + history.requests.end_ns.tobytes()
        if not taken:
            continue
        digest = hashlib.sha256(taken).digest()
        if digest in seen:
            raise UsageError(
                f"{history.run_dir} holds the same run as {seen[digest]}",
                hint="name each run once, and on one side",
            )
        seen[digest] = history.run_dir


def _provider(history: History) -> Any:
    cluster = history.run.get("cluster")
    return cluster.get("provider") if isinstance(cluster, dict) else None


def _method(history: History) -> Any:
    """What was done, and to what."""
    chaos, workload = history.experiment.chaos, history.experiment.bulletproof.workload
    return chaos["method"], chaos.get("configuration"), workload.model_dump(exclude={"golden"})


def _load(history: History) -> dict[str, Any]:
    load = history.experiment.bulletproof.load
    # Everything that changes what clients see; not the seed, and not how exactly the load keeps its schedule.
    trace = history.experiment.trace
    return {
        **load.model_dump(exclude={"seed", "users", "lag_limit_ns", "lag_share"}),
        "recorded": None if trace is None else Path(trace).read_bytes(),
    }
