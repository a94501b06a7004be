"""What the cluster told of the workload's pods: where they were, when they were ready, when they were endpoints.

Everything is as the watches received it, at the moment of receiving. Where a watch was broken (`LOST` to `RESUMED`)
nothing is known, and whoever asks about such a time is told so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.history.records import Watched
from harness.measure.selectors import matches
from harness.measure.timeline import Strike

FOREVER_NS = 2**63 - 1
Interval = tuple[int, int | None]  # [from, to); None: until the end


@dataclass(slots=True, kw_only=True)
class Pod:
    """One pod, by uid. Times are None where they were not seen."""

    name: str
    uid: str
    listed: bool  # it was there when the watch began
    seen_ns: int
    node: str | None = None
    scheduled_ns: int | None = None
    gone_ns: int | None = None
    environment: frozenset[tuple[str, str]] = frozenset()  # of its containers, literal values only
    ready: list[Interval] = field(default_factory=list)
    endpoint: list[Interval] = field(default_factory=list)

    def ready_throughout(self, begin_ns: int, end_ns: int) -> bool:
        """Whether it was ready from one moment to the other without a break."""
        return any(since <= begin_ns and (until is None or until >= end_ns) for since, until in self.ready)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadyCount:
    """How many pods were ready: `counts[i]` from `times_ns[i]` until the next one."""

    times_ns: tuple[int, ...]
    counts: tuple[int, ...]
    gaps: tuple[tuple[int, int], ...]  # when the watch was broken

    def at(self, t_ns: int) -> int | None:
        """The number at a moment; None where it is not known."""
        if any(begin <= t_ns < end for begin, end in self.gaps):
            return None
        count = None
        for time_ns, value in zip(self.times_ns, self.counts, strict=True):
            if time_ns > t_ns:
                break
            count = value
        return count

    def between(self, begin_ns: int, end_ns: int) -> list[tuple[int, int]]:
        """(since, count) for every number that held at some time in [begin, end)."""
        steps = [
            (time_ns, count) for time_ns, count in zip(self.times_ns, self.counts, strict=True) if time_ns < end_ns
        ]
        before = [step for step in steps if step[0] <= begin_ns][-1:]
        return [*((begin_ns, count) for _, count in before), *(step for step in steps if step[0] > begin_ns)]

    def gap_between(self, begin_ns: int, end_ns: int) -> bool:
        """Whether the watch was broken at some time in [begin, end)."""
        return any(begin < end_ns and end > begin_ns for begin, end in self.gaps)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pods:
    """The workload's pods over the run."""

    pods: tuple[Pod, ...]
    watched: bool  # a Pod event was received at all
    ready: ReadyCount


def still_ready(pods: Pods, strikes: Sequence[Strike], begin_ns: int, end_ns: int) -> str | None:
    """A pod that is proven gone or withdrawn, and that the watch shows as ready all the time: it was not listening."""
    for strike in strikes:
        shown = [claim for claim in strike.claims if claim.claim in ("pod-gone", "endpoint-withdrawn") and claim.seen]
        uids = {str(claim.facts.get("uid", strike.facts.get("uid"))) for claim in shown}
        for pod in pods.pods:
            if pod.uid in uids and pod.ready_throughout(begin_ns, end_ns):
                return pod.name
    return None


def read_pods(watched: Sequence[Watched], *, namespace: str, selector: str, service: str) -> Pods:
    """The workload's pods from the watches. Raises ValueError for a selector that is not understood."""
    pods = _pods([one for one in watched if one.kind == "Pod"], namespace, selector)
    slices = [one for one in watched if one.kind == "EndpointSlice"]
    _endpoints(slices, namespace, service, pods)
    gaps = _gaps(watched, "Pod")
    ordered = tuple(sorted(pods.values(), key=lambda pod: (pod.seen_ns, pod.name)))
    return Pods(
        pods=ordered,
        watched=any(one.kind == "Pod" and one.object for one in watched),
        ready=_count(ordered, gaps),
    )


def _pods(events: Sequence[Watched], namespace: str, selector: str) -> dict[str, Pod]:
    pods: dict[str, Pod] = {}
    for event in events:
        metadata = event.object.get("metadata") or {}
        uid = metadata.get("uid")
        if uid is None or metadata.get("namespace") != namespace:
            continue
        pod = pods.get(uid)
        if not matches(selector, metadata.get("labels") or {}):
            if pod is not None:  # relabelled: it is no longer the workload's
                _set(pod.ready, event.t_ns, False)
            continue
        if pod is None:
            pod = Pod(name=str(metadata.get("name")), uid=uid, listed=event.verb == "LISTED", seen_ns=event.t_ns)
            pod.environment = _environment(event.object)
            pods[uid] = pod
        node = (event.object.get("spec") or {}).get("nodeName")
        if node and pod.scheduled_ns is None:
            pod.node, pod.scheduled_ns = str(node), event.t_ns
        gone = event.verb == "DELETED"
        if gone:
            pod.gone_ns = event.t_ns
        elif pod.gone_ns is not None:
            continue  # an event out of order cannot bring a uid back
        _set(pod.ready, event.t_ns, not gone and is_ready(event.object))
    return pods


def is_ready(pod: dict[str, Any]) -> bool:
    """The Ready condition holds, and the pod is not on its way out."""
    if (pod.get("metadata") or {}).get("deletionTimestamp"):
        return False
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions)


def _environment(pod: dict[str, Any]) -> frozenset[tuple[str, str]]:
    containers = (pod.get("spec") or {}).get("containers") or ()
    return frozenset(
        (str(one["name"]), str(one["value"]))
        for container in containers
        for one in container.get("env") or ()
        if "name" in one and "value" in one
    )


def _endpoints(slices: Sequence[Watched], namespace: str, service: str, pods: dict[str, Pod]) -> None:
    """Fill in when each pod was a ready endpoint of the Service."""
    current: dict[str, set[str]] = {}  # slice uid -> uids of pods
    for event in slices:
        metadata = event.object.get("metadata") or {}
        labels = metadata.get("labels") or {}
        if metadata.get("namespace") != namespace or labels.get("kubernetes.io/service-name") != service:
            continue
        before = set().union(*current.values())
        uid = str(metadata.get("uid"))
        current[uid] = set() if event.verb == "DELETED" else _ready_endpoints(event.object)
        now = set().union(*current.values())
        for pod_uid in before ^ now:
            if pod_uid in pods:
                _set(pods[pod_uid].endpoint, event.t_ns, pod_uid in now)


def _ready_endpoints(item: dict[str, Any]) -> set[str]:
    found = set()
    for endpoint in item.get("endpoints") or ():
        ready = (endpoint.get("conditions") or {}).get("ready")
        reference = endpoint.get("targetRef") or {}
        if ready is not False and reference.get("uid"):  # an absent condition means ready
            found.add(str(reference["uid"]))
    return found


def _set(intervals: list[Interval], t_ns: int, on: bool) -> None:
    """Open or close the last interval, where that changes something."""
    is_open = bool(intervals) and intervals[-1][1] is None
    if on and not is_open:
        intervals.append((t_ns, None))
    elif not on and is_open:
        intervals[-1] = (intervals[-1][0], t_ns)


def _gaps(watched: Sequence[Watched], kind: str) -> tuple[tuple[int, int], ...]:
    gaps: list[tuple[int, int]] = []
    lost: int | None = None
    for event in watched:
        if event.kind == kind and event.verb == "LOST" and lost is None:
            lost = event.t_ns
        elif event.kind == kind and event.verb == "RESUMED" and lost is not None:
            gaps.append((lost, event.t_ns))
            lost = None
    if lost is not None:
        gaps.append((lost, FOREVER_NS))
    return tuple(gaps)


def _count(pods: Sequence[Pod], gaps: tuple[tuple[int, int], ...]) -> ReadyCount:
    changes: dict[int, int] = {}
    for pod in pods:
        changes.setdefault(pod.seen_ns, 0)
        for begin, end in pod.ready:
            changes[begin] = changes.get(begin, 0) + 1
            if end is not None:
                changes[end] = changes.get(end, 0) - 1
    times = sorted(changes)
    counts: list[int] = []
    for time_ns in times:
        counts.append((counts[-1] if counts else 0) + changes[time_ns])
    return ReadyCount(times_ns=tuple(times), counts=tuple(counts), gaps=gaps)
