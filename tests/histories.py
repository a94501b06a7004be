"""Run folders with a known course, written as a run writes them: what the judge and the reports are tested with.

    run_dir = build_run(tmp_path)  # a pod kill that nobody noticed
    run_dir = build_run(tmp_path, outage=(0.0, 0.8))  # all requests of the first 0.8 s after the strike are bad
    run_dir = build_run(tmp_path, outage=(0.0, 9.0), outage_share=1 / 3, outcome="timeout")

Times of a course are seconds from the strike. The same course gives the same bytes.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import yaml

from harness.experiment.shape import curve
from harness.history.reader import History
from harness.history.records import (
    Action,
    ClockAnchor,
    Evidence,
    FaultStrike,
    LoadState,
    Phase,
    PhaseStart,
    Record,
    Snapshot,
    Stop,
    UndoStep,
    Watched,
)
from harness.history.requests import schema
from harness.history.trace import replay
from harness.history.writer import Recorder
from loadtests.arrivals import Clock

ZERO_NS = 5_000_000_000_000  # the schedule's zero: 5000 s after boot
WALL_NS = 1_795_000_000_000_000_000
S = 1_000_000_000
MS = 1_000_000
RUN_ID = "20261121-101112-gpu-pod-kill-3f2a"
PODS = ("detector-7d9f-aaaaa", "detector-7d9f-bbbbb", "detector-7d9f-ccccc")
NEW_POD = "detector-7d9f-ddddd"


@dataclass(frozen=True, kw_only=True)
class Course:
    """What happened. Everything is seconds from the strike unless it says otherwise."""

    # what was offered
    rate: float = 200.0  # arrivals per second
    arrivals: str = "poisson"
    shape: str | None = None  # that the experiment declares
    trace: str | None = None  # recorded arrivals, as CSV; for arrivals="trace"
    shape_offered: str | None = None  # that the load had in truth
    seed: int = 7
    timeout_s: float = 1.5
    baseline_s: float = 15.0
    recover_s: float = 20.0
    rollback_s: float = 0.5
    settle_s: float = 5.0
    lag_ms: float = 0.1  # of every request
    latency_scale: float = 1.0  # of every answer

    # what clients saw
    outage: tuple[float, float] | Sequence[tuple[float, float]] = ()  # bad requests are scheduled in [from, to)
    outage_share: float = 1.0  # share of requests in an outage that are bad
    met_when_sent: bool = False  # what a request meets is what is there when it is sent, not when it was due
    outcome: str = "refused"  # of the bad ones; "slow" is an ok answer after 0.9 x timeout
    noise: float = 0.0  # share of requests that are bad at any time, independently
    late: Sequence[tuple[float, float, float]] = ()  # (from, to, ms): requests sent that much late
    not_sent: Sequence[tuple[float, float]] = ()
    slow_ms: float = 0.0  # added to answers of `slow_pod` (None: all) between strike and undo
    slow_pod: str | None = None
    bad_version: tuple[float, float, float] | None = None  # (from, to, share): answered by version 4
    bad_version_outcome: str = "wrong_answer"

    # what the cluster did
    fault: str = "pod-kill"
    strikes: bool = True
    claims: dict[str, bool | None] = field(
        default_factory=lambda: {"pod-gone": True, "endpoint-withdrawn": True, "pod-silent": None}
    )
    proven_s: float = 0.05
    withdrawn_s: float = 0.06
    silent: bool = True  # the struck pod answers nothing after the strike
    new_pod_scheduled_s: float = 0.3
    new_pod_ready_s: float | None = 1.2  # None: never
    undo_entries: int = 1
    undo_s: float = 0.2
    undo_verified: bool = True
    differences: tuple[str, ...] = ()
    after_snapshot: bool = True
    stop: Stop | None = None

    # what was promised
    target: float = 0.995
    within: str | None = "250ms"
    expect: dict[str, Any] = field(
        default_factory=lambda: {
            "lost": "0.5s",
            "recovers_within": "5s",
            "replicas_within": "15s",
            "wrong_answers": 0,
            "undone_within": "5s",
        }
    )
    stable_version: str | None = None
    lag_limit: str = "5ms"
    on_time: str = "99.9%"
    kept: str = "50%"

    @property
    def strike_ns(self) -> int:
        """Absolute moment of the strike."""
        return ZERO_NS + round((self.baseline_s + 0.01) * S)

    @property
    def rollback_ns(self) -> int:
        """Absolute begin of the rollback phase."""
        return ZERO_NS + round((self.baseline_s + 0.1 + self.recover_s) * S)

    @property
    def end_ns(self) -> int:
        """Absolute end of the load."""
        return self.rollback_ns + round((self.rollback_s + self.settle_s) * S)

    @property
    def outages(self) -> list[tuple[float, float]]:
        """The outages as a list."""
        if self.outage and isinstance(self.outage[0], int | float):
            return [self.outage]  # type: ignore[list-item]
        return list(self.outage)  # type: ignore[arg-type]

    def at(self, seconds: float) -> int:
        """Absolute monotonic ns of a moment given in seconds from the strike."""
        return self.strike_ns + round(seconds * S)


def build_run(tmp_path: Path, **course: Any) -> Path:
    """A run folder with this course, without reports. Returns its path."""
    return write_course(tmp_path / RUN_ID, Course(**course))


def write_course(run_dir: Path, course: Course) -> Path:
    """Write the course into a new folder."""
    run_dir.mkdir(parents=True)
    write_description(run_dir, course)
    write_requests(run_dir / "requests-0.arrows", request_rows(course))
    with Recorder(run_dir) as recorder:
        count = len(schedule(course))
        for record in actions(course, count):
            recorder.record(record)
        for watched in cluster_events(course):
            recorder.record(watched)
    return run_dir


def read_history(run_dir: Path) -> History:
    """The history of a folder."""
    return History.read(run_dir)


# -- requests -----


def schedule(course: Course) -> np.ndarray:
    """Scheduled times, absolute ns, strictly increasing."""
    if course.trace is not None:
        due = np.arange(100_000)
        with tempfile.NamedTemporaryFile("w", suffix=".csv") as file:
            file.write(course.trace)
            file.flush()
            times_ns = ZERO_NS + replay(Path(file.name), 1.0).offsets_ns(due)
        return times_ns[times_ns < course.end_ns]
    rng = np.random.default_rng(course.seed)
    span_s = (course.end_ns - ZERO_NS) / S
    most = 1.5 if course.shape_offered is None else 5.0  # of the declared rate, on average
    if course.arrivals == "constant":
        times = np.arange(1, int(span_s * course.rate * most) + 1) / course.rate
    else:
        times = np.cumsum(rng.exponential(1 / course.rate, int(span_s * course.rate * most) + 100))
    if course.shape_offered is not None:
        points = curve(course.rate, course.shape_offered, course.end_ns - ZERO_NS).points
        times = Clock(points).offsets_ns(times * course.rate) / S
    times_ns = ZERO_NS + np.unique((times * S).astype(np.int64))
    return times_ns[times_ns < course.end_ns]


def request_rows(course: Course) -> dict[str, list[Any]]:
    """The requests, as columns of Python values; tests may alter them before they are written."""
    rng = np.random.default_rng(course.seed + 1)
    scheduled = schedule(course)
    count = len(scheduled)
    since = (scheduled - course.strike_ns) / S
    latency_ms = (rng.gamma(4.0, 0.5, count) + 1.0) * course.latency_scale
    lag_ns = np.full(count, round(course.lag_ms * MS))
    for begin, end, ms in course.late:
        lag_ns[(since >= begin) & (since < end)] = round(ms * MS)
    pods = np.array(PODS, dtype=object)[rng.integers(0, len(PODS), count)]
    struck = pods == PODS[0]
    replaced = course.new_pod_ready_s is not None and course.fault == "pod-kill"
    if course.silent and course.strikes and course.fault == "pod-kill":
        gone = struck & (since >= 0)
        back = gone & (since >= (course.new_pod_ready_s or 0)) if replaced else np.zeros(count, dtype=bool)
        pods[gone] = PODS[1]
        pods[back] = NEW_POD
    if course.slow_ms:
        slow = (since >= 0) & (scheduled < course.rollback_ns + round(course.undo_s * S))
        if course.slow_pod is not None:
            slow &= pods == course.slow_pod
        latency_ms[slow] += course.slow_ms
    bad = rng.random(count) < course.noise
    chance = rng.random(count)
    for begin, end in course.outages:
        met = since + lag_ns / S if course.met_when_sent else since
        bad |= (met >= begin) & (met < end) & (chance < course.outage_share)
    unsent = np.zeros(count, dtype=bool)
    for begin, end in course.not_sent:
        unsent |= (since >= begin) & (since < end)
    versions = np.full(count, "1", dtype=object)
    outcomes = np.full(count, "ok", dtype=object)
    outcomes[bad] = "ok" if course.outcome == "slow" else course.outcome
    if course.bad_version is not None:
        begin, end, share = course.bad_version
        met = (since >= begin) & (since < end) & (rng.random(count) < share)
        versions[met] = "4"
        outcomes[met] = course.bad_version_outcome
    outcomes[unsent] = "not_sent"

    sent = scheduled + lag_ns
    took_ns = (latency_ms * MS).astype(np.int64)
    if course.outcome in ("timeout", "slow"):
        took_ns[bad] = round(course.timeout_s * S * (0.9 if course.outcome == "slow" else 1.0))
    elif course.outcome == "refused":
        took_ns[bad] = MS // 2
    end_ns = sent + took_ns
    answered = ~unsent & np.isin(outcomes, ["ok", "wrong_answer"])
    connection = np.where(rng.random(count) < float(course.kept.rstrip("%")) / 100, "kept", "new")

    def optional(values: np.ndarray, there: np.ndarray) -> list[Any]:
        return [value if is_there else None for value, is_there in zip(values.tolist(), there.tolist(), strict=True)]

    return {
        "arrival": list(range(count)),
        "scheduled_ns": scheduled.tolist(),
        "sent_ns": optional(sent, ~unsent),
        "first_byte_ns": optional(end_ns - took_ns // 10, answered),
        "end_ns": optional(end_ns, ~unsent),
        "outcome": outcomes.tolist(),
        "error": [None if outcome == "ok" else f"{outcome} by the course" for outcome in outcomes.tolist()],
        "pod": optional(pods, answered),
        "version": optional(versions, answered),
        "connection": connection.tolist(),
        "local_port": (32768 + np.arange(count) % 28000).tolist(),
        "attempts": np.where(unsent, 0, 1).tolist(),
        "user": (np.arange(count) % 300).tolist(),
        "protocol": ["kserve-v2-http"] * count,
        "tries": [None] * count,
    }


def batches(rows: dict[str, list[Any]], chunk: int = 20) -> list[pa.RecordBatch]:
    """The rows as chunks, each with dictionaries of its own, as a recorder makes them."""
    count = len(rows["arrival"])
    return [
        pa.RecordBatch.from_pydict({name: values[at : at + chunk] for name, values in rows.items()}, schema=schema())
        for at in range(0, count, chunk)
    ]


def write_requests(path: Path, rows: dict[str, list[Any]] | Sequence[pa.RecordBatch], *, close: bool = True) -> None:
    """A file of requests. `close=False` leaves out the end of the stream, as a killed writer does."""
    chunks = batches(rows) if isinstance(rows, dict) else rows
    with path.open("wb") as file:
        writer = pa.ipc.new_stream(file, schema())
        for chunk in chunks:
            writer.write_batch(chunk)
        if close:
            writer.close()


def read_batches(path: Path) -> list[pa.RecordBatch]:
    """The chunks of a file, to shuffle, double or drop them."""
    with path.open("rb") as file:
        return list(pa.ipc.open_stream(file))


def alter_requests(run_dir: Path, alter: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> None:
    """Rewrite the requests, given and returned as a list of rows."""
    path = run_dir / "requests-0.arrows"
    rows = alter(pa.Table.from_batches(read_batches(path), schema()).to_pylist())
    table = pa.Table.from_pylist(rows, schema=schema())
    write_requests(path, table.to_batches(max_chunksize=500))


def alter_lines(path: Path, alter: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> None:
    """Rewrite actions.jsonl or cluster.jsonl, given and returned as a list of objects.

    The count of lines that the history was closed with follows, so that the alteration is all that is wrong.
    """
    lines = alter([json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()])
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    if path.name == "cluster.jsonl":
        actions_file = path.with_name("actions.jsonl")
        text = actions_file.read_text(encoding="utf-8")
        closed = f'"cluster_lines":{len(lines)}' + "}"
        actions_file.write_text(re.sub(r'"cluster_lines": ?\d+}', closed, text), encoding="utf-8")


# -- what the harness did -----


def actions(course: Course, arrivals: int) -> list[Record]:
    """actions.jsonl."""
    at = course.at
    baseline_end = ZERO_NS + round(course.baseline_s * S)
    recover = baseline_end + 100 * MS
    records: list[Record] = [
        ClockAnchor(t_ns=ZERO_NS - 5 * S, wall_ns=WALL_NS, process="harness"),
        PhaseStart(t_ns=ZERO_NS - 4 * S, phase=Phase.PREPARE),
        Snapshot(t_ns=ZERO_NS - 3 * S, moment="before", objects=9),
        LoadState(t_ns=ZERO_NS - 300 * MS, state="ready"),
        LoadState(t_ns=ZERO_NS - 200 * MS, state="start", start_ns=ZERO_NS),
        PhaseStart(t_ns=ZERO_NS, phase=Phase.BASELINE),
        PhaseStart(t_ns=baseline_end, phase=Phase.FAULT),
        Action(t_ns=baseline_end + MS, step="begin", name="strike", section="method"),
    ]
    fault_id = f"{course.fault}-1"
    target = f"pod/{PODS[0]}"
    facts: dict[str, Any] = {"pod": PODS[0], "uid": f"uid-{PODS[0]}", "node": "gpu-0"}
    if course.fault == "pod-latency":
        facts = {"pods": [course.slow_pod] if course.slow_pod else list(PODS), "latency_ns": round(course.slow_ms * MS)}
    if course.fault == "bad-release":
        facts = {"deployment": "detector", "version": "4"}
    if course.strikes:
        records += [
            UndoStep(t_ns=at(-0.002), step="planned", entry_id=f"{fault_id}.{n}", fault_id=fault_id)
            for n in range(course.undo_entries)
        ]
        strike = {"fault_id": fault_id, "fault": course.fault, "target": target, "facts": facts}
        records += [
            FaultStrike(t_ns=at(-0.001), step="planned", **strike),
            FaultStrike(t_ns=at(0), step="begin", **strike),
            FaultStrike(t_ns=at(0.01), step="injected", **strike),
        ]
        for claim, seen in course.claims.items():
            channel = "requests" if claim in ("pod-silent", "latency-added", "version-served") else "cluster"
            moment = at(course.withdrawn_s if claim in ("endpoint-withdrawn", "pod-silent") else course.proven_s)
            records.append(
                Evidence(t_ns=moment, fault_id=fault_id, claim=claim, channel=channel, seen=seen, facts=facts)
            )
    records += [
        Action(t_ns=recover - MS, step="end", name="strike", section="method"),
        PhaseStart(t_ns=recover, phase=Phase.RECOVER),
    ]
    if course.stop is None or course.stop.reason != "killed":
        records.append(PhaseStart(t_ns=course.rollback_ns, phase=Phase.ROLLBACK))
    if course.strikes:
        for n in range(course.undo_entries):
            entry = {"entry_id": f"{fault_id}.{n}", "fault_id": fault_id}
            records.append(UndoStep(t_ns=course.rollback_ns + MS, step="begin", **entry))
            records.append(UndoStep(t_ns=course.rollback_ns + 2 * MS, step="applied", **entry))
            step = "verified" if course.undo_verified else "failed"
            moment = course.rollback_ns + round(course.undo_s * S)
            records.append(UndoStep(t_ns=moment, step=step, detail="" if course.undo_verified else "409", **entry))
    undone = course.rollback_ns + round(course.rollback_s * S)
    if course.after_snapshot:
        records.append(Snapshot(t_ns=undone - MS, moment="after", differences=course.differences, objects=9))
    records += [
        PhaseStart(t_ns=undone, phase=Phase.SETTLE),
        PhaseStart(t_ns=course.end_ns, phase=Phase.END),
        LoadState(t_ns=course.end_ns + S, state="done", start_ns=ZERO_NS, stop_ns=course.end_ns, arrivals=arrivals),
    ]
    if course.stop is not None:
        records.append(course.stop)
    records.append(
        ClockAnchor(t_ns=course.end_ns + 2 * S, wall_ns=WALL_NS + (course.end_ns + 7 * S - ZERO_NS), process="harness")
    )
    return records


# -- what the cluster told -----


def pod_object(name: str, *, node: str | None, ready: bool, deleting: bool = False) -> dict[str, Any]:
    """A Pod as the API tells it, with what the judge reads."""
    metadata: dict[str, Any] = {
        "name": name,
        "namespace": "inference",
        "uid": f"uid-{name}",
        "labels": {"app": "detector"},
    }
    if deleting:
        metadata["deletionTimestamp"] = "2026-11-21T10:11:12Z"
    return {
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"nodeName": node} if node else {},
        "status": {
            "phase": "Running" if ready else "Pending",
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
        },
    }


def slice_object(pods: Sequence[str]) -> dict[str, Any]:
    """The Service's EndpointSlice with these ready endpoints."""
    return {
        "kind": "EndpointSlice",
        "metadata": {
            "name": "detector-x1",
            "namespace": "inference",
            "uid": "uid-slice",
            "labels": {"kubernetes.io/service-name": "detector"},
        },
        "endpoints": [
            {
                "addresses": [f"127.80.16.{n}"],
                "conditions": {"ready": True, "serving": True, "terminating": False},
                "targetRef": {"kind": "Pod", "name": pod, "uid": f"uid-{pod}"},
            }
            for n, pod in enumerate(pods)
        ],
        "ports": [{"name": "http", "port": 8000}],
    }


def cluster_events(course: Course) -> list[Watched]:
    """cluster.jsonl."""
    events: list[tuple[int, str, str, dict[str, Any]]] = []
    for number, pod in enumerate(PODS):
        events.append((ZERO_NS - 3 * S, "Pod", "LISTED", pod_object(pod, node=f"gpu-{number}", ready=True)))
    events.append((ZERO_NS - 3 * S, "EndpointSlice", "LISTED", slice_object(PODS)))
    if course.strikes and course.fault == "pod-kill":
        scheduled, ready = course.new_pod_scheduled_s, course.new_pod_ready_s
        left = PODS[1:]
        events += [
            (course.at(0.02), "Pod", "DELETED", pod_object(PODS[0], node="gpu-0", ready=True)),
            (course.at(course.withdrawn_s), "EndpointSlice", "MODIFIED", slice_object(left)),
            (course.at(0.1), "Pod", "ADDED", pod_object(NEW_POD, node=None, ready=False)),
            (course.at(scheduled), "Pod", "MODIFIED", pod_object(NEW_POD, node="gpu-0", ready=False)),
        ]
        if ready is not None:
            events += [
                (course.at(ready), "Pod", "MODIFIED", pod_object(NEW_POD, node="gpu-0", ready=True)),
                (course.at(ready + 0.01), "EndpointSlice", "MODIFIED", slice_object([*left, NEW_POD])),
            ]
    events.sort(key=lambda event: event[0])
    return [Watched(t_ns=t_ns, kind=kind, verb=verb, object=body) for t_ns, kind, verb, body in events]


# -- what was asked for -----


def experiment_document(course: Course) -> dict[str, Any]:
    """experiment.yaml."""
    workload = {
        "namespace": "inference",
        "service": "detector",
        "selector": "app=detector",
        "protocol": "kserve-v2-http",
        "model": "detector",
        "golden": "golden/detector.json",
    }
    if course.stable_version is not None:
        workload["stable_version"] = course.stable_version
    return {
        "title": "A GPU pod dies under load",
        "description": "When one of three detector pods is killed, clients lose at most half a second.",
        "tags": ["gpu", "pod"],
        "method": [
            {
                "type": "action",
                "name": "strike",
                "provider": {
                    "type": "python",
                    "module": "harness.faults",
                    "func": course.fault.replace("-", "_"),
                    "arguments": {"namespace": "inference", "selector": "app=detector", "count": 1},
                },
            }
        ],
        "extensions": [
            {
                "name": "bulletproof",
                "workload": workload,
                "load": {
                    **({"trace": "traces/x.csv"} if course.trace is not None else {"rate": f"{course.rate:g}/s"}),
                    "arrivals": course.arrivals,
                    **({"shape": course.shape} if course.shape is not None else {}),
                    "timeout": f"{round(course.timeout_s * 1000)}ms",
                    "seed": course.seed,
                    "kept": course.kept,
                    "lag_limit": course.lag_limit,
                    "on_time": course.on_time,
                },
                "phases": {
                    "baseline": f"{round(course.baseline_s * 1000)}ms",
                    "recover": f"{round(course.recover_s * 1000)}ms",
                    "settle": f"{round(course.settle_s * 1000)}ms",
                },
                "slos": ["slos/detector.yaml"],
                "expect": course.expect,
                "blast_radius": {"pods": 1, "floor": 0},
                "requires": ["pods", "services", "gpu"],
            }
        ],
    }


def slo_document(course: Course) -> dict[str, Any]:
    """slos/detector.yaml."""
    good: dict[str, Any] = {"outcome": "ok", "from": "scheduled"}
    if course.within is not None:
        good["within"] = course.within
    return {
        "apiVersion": "openslo/v1",
        "kind": "SLO",
        "metadata": {"name": "detector"},
        "spec": {
            "service": "detector",
            "indicator": {
                "spec": {
                    "ratioMetric": {
                        "counter": True,
                        "good": {"metricSource": {"type": "bulletproof", "spec": good}},
                        "total": {"metricSource": {"type": "bulletproof", "spec": {"outcome": "any"}}},
                    }
                }
            },
            "timeWindow": [{"duration": "30d", "isRolling": True}],
            "budgetingMethod": "Occurrences",
            "objectives": [{"target": course.target}],
        },
    }


def run_document(course: Course) -> dict[str, Any]:
    """run.json."""
    return {
        "format": 1,
        "run_id": RUN_ID,
        "bulletproof": "0.1.0",
        "experiment": "gpu-pod-kill",
        "file": "experiments/gpu-pod-kill.yaml",
        "platform": "healthy",
        "cluster": {
            "name": "sandbox",
            "provider": "sandbox",
            "context": "sandbox-1",
            "kubeconfig": "/somewhere/kubeconfig",
            "version": "v1.33.0-sandbox",
            "nodes": 3,
        },
        "seed": course.seed,
        "python": "3.11.7",
        "versions": {"locust": "2.47.0"},
        "git": "abc123",
        "command": "bulletproof run experiments/gpu-pod-kill.yaml",
        "user": "someone",
        "host": "ci-1",
        "started_wall_ns": WALL_NS,
        "started_ns": ZERO_NS - 5 * S,
        "load": {"target": "127.80.8.2:8000", "users": 383, "scheduler": "SCHED_FIFO"},
    }


def write_description(run_dir: Path, course: Course) -> None:
    """run.json, experiment.yaml, slos/, golden/, plan.json, logs."""
    (run_dir / "slos").mkdir()
    (run_dir / "golden").mkdir()
    (run_dir / "run.json").write_text(json.dumps(run_document(course), indent=2), encoding="utf-8")
    _yaml(run_dir / "experiment.yaml", experiment_document(course))
    _yaml(run_dir / "slos" / "detector.yaml", slo_document(course))
    golden = {"format": 1, "model": "detector", "version": "1", "tolerance": 1e-4, "cases": [{"inputs": []}]}
    (run_dir / "golden" / "detector.json").write_text(json.dumps(golden), encoding="utf-8")
    if course.trace is not None:
        (run_dir / "traces").mkdir()
        (run_dir / "traces" / "x.csv").write_text(course.trace, encoding="utf-8")
    (run_dir / "plan.json").write_text(json.dumps({"format": 1, "targets": []}), encoding="utf-8")
    (run_dir / "load.log").write_text("", encoding="utf-8")


def _yaml(path: Path, document: dict[str, Any]) -> None:
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
