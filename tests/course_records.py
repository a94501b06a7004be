"""The records of a course: what the harness did, and what the cluster told of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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
    UndoStep,
    Watched,
)
from tests.course import MS, NEW_POD, PODS, WALL_NS, ZERO_NS, Course, S

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
