"""The load of one run: what is configured, when it starts and stops, what it says on the way."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import InvalidRun
from harness.experiment.model import Experiment
from harness.experiment.shape import Curve
from harness.history.records import ClockOffset, LoadState, Record
from harness.run.abort import AbortWatch
from harness.run.load_link import LoadLink, OnLine
from harness.run.load_place import Place
from harness.run.progress import Progress

if TYPE_CHECKING:
    from harness.history.trace import Replay

START_LEAD_S = 0.2  # between "start" and the schedule's zero: the load process must have heard it
START_LEAD_WORKERS_S = 1.0  # and must have told its workers
ROLLBACKS_LIMIT_S = 60.0
UNDO_LIMIT_S = 600.0  # a machine may boot for minutes, and each of several in its turn: the load must not end before


def load_config(experiment: Experiment, place: Place, run_dir: Path, *, web_ui: int | None = None) -> dict[str, Any]:
    """What `python -m loadtests` reads. `web_ui`: the port of Locust's own pages on this machine."""
    spec = experiment.bulletproof
    workload, load, phases = spec.workload, spec.load, spec.phases
    grpc = workload.protocol == "kserve-v2-grpc"
    limit_ns = int((ROLLBACKS_LIMIT_S + UNDO_LIMIT_S) * 1e9)
    declared_ns = phases.baseline_ns + phases.fault_limit_ns + phases.recover_ns + phases.settle_ns
    offered = experiment.offered(declared_ns + limit_ns)
    return {
        "host": place.host,
        "http_port": 0 if grpc else place.port,
        "grpc_port": place.port if grpc else 0,
        "protocol": workload.protocol,
        "user": load.user,
        "model": workload.model,
        "golden": str(run_dir / "golden" / Path(workload.golden).name),  # where copy_into puts it
        "rate_per_s": load.rate_per_s,
        "arrivals": load.arrivals,
        "curve": offered.points if isinstance(offered, Curve) and load.shape is not None else None,
        "trace": str(run_dir / "traces" / Path(experiment.trace).name) if experiment.trace is not None else None,
        "trace_speed": load.trace_speed,
        "seed": load.seed,
        "timeout_ns": load.timeout_ns,
        "retries": load.retries,
        "retry_on": load.retry_on,
        "retry_backoff_ns": load.retry_backoff_ns,
        "retry_connection": load.retry_connection,
        "attempt_timeout_ns": load.attempt_timeout_ns,
        "hedge_after_ns": load.hedge_after_ns,
        "kept_share": load.kept_share,
        # Each request in flight holds a user until its deadline: fewer than rate x timeout, and a hang would silence
        # the schedule instead of showing in it.
        "users": max(load.users or math.ceil(1.25 * _most_under_way(offered, load.timeout_ns)) + 8, load.workers),
        "max_duration_ns": declared_ns + limit_ns,
        "out": str(run_dir),
        "worker": 0,
        "workers": load.workers,
        "web_ui": None if place.inside else web_ui,
        "source_address": place.source_address,
    }


def _most_under_way(offered: Curve | Replay, timeout_ns: int) -> float:
    """Requests that wait at one time when none is answered."""
    return offered.peak_per_s * timeout_ns / 1e9 if isinstance(offered, Curve) else offered.most_within(timeout_ns)


class Offering:
    """The load process in the run's terms: every state goes into the history, every live line to the progress."""

    def __init__(
        self,
        link: Callable[[OnLine], LoadLink],
        record: Callable[[Record], None],
        progress: Progress,
        abort: AbortWatch | None,
    ) -> None:
        self._record = record
        self._progress = progress
        self._abort = abort
        self.abort_reached = False
        self._several = False
        self._link = link(self._on_line)

    @property
    def config(self) -> dict[str, Any]:
        """What the load was told."""
        return self._link.config

    def start(self, interrupted: threading.Event) -> tuple[dict[str, Any], int]:
        """Returns the ready line and the schedule's zero, which lies a little ahead."""
        ready = self._link.wait_ready(interrupted)
        self._record(LoadState(t_ns=time.monotonic_ns(), state="ready", detail=json.dumps(ready)))
        self._several = "workers" in ready
        lead_s = START_LEAD_WORKERS_S if self._several else START_LEAD_S
        start_ns = time.monotonic_ns() + int(lead_s * 1e9)
        self._link.start(start_ns)
        self._record(LoadState(t_ns=time.monotonic_ns(), state="start", start_ns=start_ns))
        return ready, start_ns

    def foresee_stop(self, stop_ns: int) -> None:
        """The load ends then, unless it is stopped before. Several workers must agree on it ahead."""
        if self._several:
            self._link.foresee_stop(stop_ns)

    def check(self) -> None:
        """Raises InvalidRun when the load generator is gone, or a worker of it."""
        if self._link.lost:
            raise InvalidRun(self._link.lost, hint="its log stands in load.log, or where the worker was started")
        if not self._link.alive:
            raise InvalidRun("the load generator was lost", hint="its log stands in load.log")

    def check_baseline(self, target: float) -> None:
        """Raises InvalidRun when the share of good answers so far is under the target.

        A platform that is ill already is not struck: the run could conclude nothing, and might do harm.
        """
        counts = self._link.latest
        ended = counts.get("ok", 0) + counts.get("bad", 0)
        if ended and counts["ok"] / ended >= target:
            return
        seen = f"{counts.get('bad', 0)} of {ended} requests were bad" if ended else "no request was answered"
        raise InvalidRun(
            f"the baseline is not steady: {seen}; the fault was not injected",
            hint="an experiment needs a service that meets its SLO: see load.log and the platform",
        )

    def stop(self, stop_ns: int) -> None:
        """No arrival from `stop_ns` on; every request is on disk and the process has ended after this."""
        try:
            done = self._link.stop(stop_ns)
            self._record(
                LoadState(
                    t_ns=time.monotonic_ns(),
                    state="done",
                    start_ns=done.get("start_ns"),
                    stop_ns=done.get("stop_ns"),
                    arrivals=done.get("arrivals"),
                )
            )
        except InvalidRun as error:
            self._record(LoadState(t_ns=time.monotonic_ns(), state="lost", stop_ns=stop_ns, detail=str(error)))
        finally:
            self._link.close()

    def _on_line(self, line: dict[str, Any]) -> None:
        if line.get("state") == "clock":
            self._record(
                ClockOffset(
                    t_ns=time.monotonic_ns(),
                    process=f"load-{line['worker']}",
                    moment=line["moment"],
                    ahead_ns=-line["ahead_ns"],
                    bound_ns=line["bound_ns"],
                    host=line["host"],
                )
            )
        if line.get("state") == "web_ui":
            self._progress.note(f"Locust's web UI: {line['address']}")
        if line.get("state") != "live":
            return
        self._progress.live(line)
        if self._abort is not None and self._abort.feed(line):
            self.abort_reached = True
