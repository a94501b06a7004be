"""How many replicas a HorizontalPodAutoscaler asks for: Kubernetes' formulas, as pure functions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

TOLERANCE = 0.1
_READY_DELAY_S = 30.0  # how long a pod that was never ready is not asked (delayOfInitialReadinessStatus)


@dataclass(frozen=True, slots=True)
class Sample:
    """What one pod used of a resource, on average over the `window_s` seconds before `at_s`."""

    amount: float  # cores or bytes
    at_s: float
    window_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PodState:
    """What counts of a pod."""

    name: str
    phase: str
    terminating: bool
    ready: bool | None  # None: no such condition yet
    ready_since_s: float
    started_s: float
    request: float | None


@dataclass(frozen=True, slots=True)
class Proposal:
    """The replicas that a metric asks for, and what was seen."""

    replicas: int
    average: float  # cores or bytes a pod
    utilization: int | None


class MetricError(Exception):
    """The metric says nothing."""


def propose(
    pods: Sequence[PodState],
    samples: Mapping[str, Sample],
    current: int,
    *,
    resource: str,
    utilization: int | None,
    average: float | None,
    now_s: float,
    initialization_s: float,
) -> Proposal:
    """From the use of the pods to a number of replicas. `utilization` is in percent of what pods request."""
    if not samples:
        raise MetricError(
            f"unable to get metrics for resource {resource}: no metrics returned from resource metrics API"
        )
    ready, unready, missing, ignored = _group(pods, samples, resource, now_s, initialization_s)
    used = {name: one.amount for name, one in samples.items() if name not in unready | ignored}
    if not used:
        raise MetricError("did not receive metrics for targeted pods (pods might be unready)")
    requests = {pod.name: pod.request for pod in pods}
    if utilization is not None and None in requests.values():
        lacking = next(pod.name for pod in pods if pod.request is None)
        raise MetricError(f"missing request for {resource} in a container of Pod {lacking}")

    def target(name: str) -> float:
        return (requests.get(name) or 0.0) * utilization / 100 if utilization is not None else average or 0.0

    def ratio() -> float:
        if utilization is None:
            return sum(used.values()) / len(used) / (average or math.inf)
        wanted = sum(requests.get(name) or 0.0 for name in used)
        return int(sum(used.values()) * 100 / wanted + 1e-9) / utilization if wanted else 0.0

    first = ratio()
    seen = int(first * utilization + 0.5) if utilization is not None else None
    mean = sum(used.values()) / len(used)

    def answer(replicas: int) -> Proposal:
        return Proposal(replicas, mean, seen)

    counts_unready = bool(unready) and first > 1
    if not counts_unready and not missing:
        return answer(current if abs(1 - first) <= TOLERANCE else math.ceil(first * ready - 1e-9))
    for name in missing:
        if first < 1:  # a missing pod is taken for one that uses all that it may
            used[name] = max(target(name), requests.get(name) or 0.0) if utilization is not None else target(name)
        elif first > 1:
            used[name] = 0.0
    if counts_unready:
        used |= dict.fromkeys(unready, 0.0)
    second = ratio()
    if abs(1 - second) <= TOLERANCE or (first - 1) * (second - 1) < 0:
        return answer(current)
    replicas = math.ceil(second * len(used) - 1e-9)
    turns = (second < 1 and replicas > current) or (second > 1 and replicas < current)
    return answer(current if turns else replicas)


def _group(
    pods: Iterable[PodState], samples: Mapping[str, Sample], resource: str, now_s: float, initialization_s: float
) -> tuple[int, set[str], set[str], set[str]]:
    ready, unready, missing, ignored = 0, set[str](), set[str](), set[str]()
    for pod in pods:
        sample = samples.get(pod.name)
        if pod.terminating or pod.phase == "Failed":
            ignored.add(pod.name)
        elif pod.phase == "Pending":
            unready.add(pod.name)
        elif sample is None:
            missing.add(pod.name)
        elif resource == "cpu" and _is_unready(pod, sample, now_s, initialization_s):
            unready.add(pod.name)
        else:
            ready += 1
    return ready, unready, missing, ignored


def _is_unready(pod: PodState, sample: Sample, now_s: float, initialization_s: float) -> bool:
    """A pod that starts uses more than it will: its first samples do not count."""
    if pod.ready is None or not pod.started_s:
        return True
    if pod.started_s + initialization_s > now_s:
        return not pod.ready or sample.at_s < pod.ready_since_s + sample.window_s
    return not pod.ready and pod.started_s + _READY_DELAY_S > pod.ready_since_s


Limited = tuple[int, str, str]  # replicas, reason and message of ScalingLimited


@dataclass(slots=True)
class Past:
    """What an autoscaler remembers: what it would have liked, and what it did, each with its time."""

    wishes: list[tuple[float, int]] = field(default_factory=list)
    changes: list[tuple[float, int]] = field(default_factory=list)


def stabilized(past: Past, wish: int, current: int, rules: Mapping[str, Any], now_s: float) -> int:
    """The wish between the lowest of the scale-up window and the highest of the scale-down window."""
    up_s, down_s = rules["scaleUp"]["stabilizationWindowSeconds"], rules["scaleDown"]["stabilizationWindowSeconds"]
    low = min([wish, *(one for at, one in past.wishes if at > now_s - up_s)])
    high = max([wish, *(one for at, one in past.wishes if at > now_s - down_s)])
    past.wishes = [(at, one) for at, one in past.wishes if at > now_s - max(up_s, down_s)] + [(now_s, wish)]
    return min(max(current, low), high)


def limited(
    past: Past, wish: int, current: int, least: int, most: int, rules: Mapping[str, Any], now_s: float
) -> Limited:
    """The wish within the bounds, and no faster than the policies allow."""
    if wish > current:
        bound = max(_bound(past, current, rules["scaleUp"], now_s, up=True), current)
        if most > bound:
            told = "ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate"
        else:
            bound = most
            told = "TooManyReplicas", "the desired replica count is more than the maximum replica count"
        if wish > bound:
            return bound, *told
    if wish < current or wish < least:
        bound = min(_bound(past, current, rules["scaleDown"], now_s, up=False), current)
        if least < bound:
            told = "ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate"
        else:
            bound = least
            told = "TooFewReplicas", "the desired replica count is less than the minimum replica count"
        if wish < bound:
            return bound, *told
    return wish, "DesiredWithinRange", "the desired count is within the acceptable range"


def _bound(past: Past, current: int, rule: Mapping[str, Any], now_s: float, *, up: bool) -> int:
    if rule.get("selectPolicy") == "Disabled":
        return current
    found = []
    for policy in rule["policies"]:
        began = current - sum(change for at, change in past.changes if at > now_s - policy["periodSeconds"])
        share = policy["value"] / 100 if policy["type"] == "Percent" else 0.0
        step = policy["value"] if policy["type"] == "Pods" else 0
        if up:
            found.append(math.ceil(began * (1 + share)) + step)
        else:
            found.append(int(began * (1 - share)) - step)
    widest = max if up else min
    return (min if up else max)(found) if rule.get("selectPolicy") == "Min" else widest(found)
