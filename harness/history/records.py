"""What the harness writes down during a run, besides the requests: one JSON object a line, never rewritten.

`actions.jsonl` holds what the harness did and saw (phases, actions, evidence, undo, notes), `cluster.jsonl` what the
cluster told through watches. Each line has `type` and `t_ns` (CLOCK_MONOTONIC of the harness' machine, at the moment
of writing or receiving). A line that was cut off by a crash is dropped by the reader, and only the last may be.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

FORMAT = 1

LOAD_UNDO = "load"  # entry of the undo journal that ends the load itself: undone last, and no fault's undo


class Phase(StrEnum):
    """The phases of a run, in order."""

    PREPARE = "prepare"
    BASELINE = "baseline"
    FAULT = "fault"
    RECOVER = "recover"
    ROLLBACK = "rollback"
    SETTLE = "settle"
    END = "end"  # a mark: load stopped, nothing follows


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockAnchor:
    """type=anchor. The same moment on both clocks; one per process, written at its start and end."""

    t_ns: int
    wall_ns: int  # CLOCK_REALTIME
    process: str  # harness, load-0


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockOffset:
    """type=clock. How far the monotonic clock of a load worker is ahead of its master's, before and after the load.

    The process load-master: how far the master's is ahead of the harness', where they are not on one machine. The
    worker's times in the history are converted with what was found before.
    """

    t_ns: int
    process: str  # load-0
    moment: str  # before | after
    ahead_ns: int
    bound_ns: int  # the truth lies within this of it; 0: both read one clock
    host: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseStart:
    """type=phase. The phase runs until the next one starts."""

    t_ns: int
    phase: Phase


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """type=action. An activity of the method or of the rollbacks: `begin`, then `end` or `failed`."""

    t_ns: int
    step: str  # begin | end | failed
    name: str  # as in the experiment file
    section: str  # method | rollbacks
    detail: str = ""  # result or error


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultStrike:
    """type=fault. One fault on one target: `planned` (undo written), `begin`, `injected` or `failed`."""

    t_ns: int
    step: str  # planned | begin | injected | failed
    fault_id: str  # unique in the run: pod-kill-1
    fault: str  # registered name: pod-kill
    target: str  # pod/detector-7d9-abc, node/gpu-1
    detail: str = ""
    # What the judge must know of the target, e.g. {"pod": …, "uid": …} or {"pod": …, "latency_ns": …}
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """type=evidence. What a second channel said about a fault's effect.

    A fault is proven when each of its claims was `seen`. Claims on channel `requests` are settled by the judge from
    the request records: the harness writes them with seen=None and the facts that the judge needs.
    """

    t_ns: int  # when it was seen, or given up
    fault_id: str
    # pod-gone | endpoint-withdrawn | pod-silent | node-unschedulable | node-empty | latency-added | version-served | …
    claim: str
    channel: str  # cluster | requests | proxy | process
    seen: bool | None
    detail: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoStep:
    """type=undo. The life of one undo entry: planned, begin, applied, verified, or failed (left behind)."""

    t_ns: int
    step: str  # planned | begin | applied | verified | failed
    entry_id: str
    fault_id: str
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """type=snapshot. The relevant objects before the run, after the undo: `differences` is empty when clean."""

    t_ns: int
    moment: str  # before | after
    differences: tuple[str, ...] = ()  # after only: "node/gpu-1 spec.unschedulable: absent -> true"
    objects: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadState:
    """type=load. ready (all users connected), start (schedule's zero), stop (no arrival after), done, lost."""

    t_ns: int
    state: str  # ready | start | stop | done | lost
    start_ns: int | None = None
    stop_ns: int | None = None
    arrivals: int | None = None  # scheduled between start and stop, by the load's own count (state=done)
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """type=stop. Why the run ended before its time; `killed` is written by recover."""

    t_ns: int
    reason: str  # interrupted | abort-condition | error | killed | skipped | invalid
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """type=note. A line of the log that reports show: warnings, measured costs (`facts`)."""

    t_ns: int
    text: str
    level: str = "info"  # info | warning
    facts: dict[str, Any] = field(default_factory=dict)  # e.g. {"proxy_cost_ns_p50": 210000}


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """type=watch, in cluster.jsonl. One watch event, received at t_ns; managedFields dropped."""

    t_ns: int
    kind: str  # Pod | Node | EndpointSlice | Deployment | ReplicaSet | Event | Lease ...
    # LISTED (the state when the watch began) | ADDED | MODIFIED | DELETED | LOST (gap: the watch broke) | RESUMED
    verb: str
    object: dict[str, Any]


Record = (
    ClockAnchor
    | ClockOffset
    | PhaseStart
    | Action
    | FaultStrike
    | Evidence
    | UndoStep
    | Snapshot
    | LoadState
    | Stop
    | Note
    | Watched
)

TYPES: dict[str, type[Record]] = {
    "anchor": ClockAnchor,
    "clock": ClockOffset,
    "phase": PhaseStart,
    "action": Action,
    "fault": FaultStrike,
    "evidence": Evidence,
    "undo": UndoStep,
    "snapshot": Snapshot,
    "load": LoadState,
    "stop": Stop,
    "note": Note,
    "watch": Watched,
}
TYPE_NAMES = {cls: name for name, cls in TYPES.items()}
