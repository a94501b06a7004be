"""HorizontalPodAutoscalers: cpu and memory as the pods' real processes use them, and the scale that follows."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from clusters.sandbox.amounts import canonical, parse, pod_requests, seconds
from clusters.sandbox.controllers import replica_count
from clusters.sandbox.controllers.loop import Informers, Reconciler
from clusters.sandbox.controllers.pods import condition, is_terminating, set_condition
from clusters.sandbox.controllers.replica_count import MetricError, Past, PodState, Proposal, Sample
from clusters.sandbox.objects import Object, now
from clusters.sandbox.settings import Settings
from clusters.sandbox.store import Change, Store

_KEY = "horizontalpodautoscalers"
_COMPONENT = "horizontal-pod-autoscaler"
_UP = {"stabilizationWindowSeconds": 0, "selectPolicy": "Max", "policies": [
    {"type": "Pods", "value": 4, "periodSeconds": 15}, {"type": "Percent", "value": 100, "periodSeconds": 15},
]}  # fmt: skip
_DOWN = {"selectPolicy": "Max", "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}]}

# A running pod's cores (as seconds used since its containers began) and bytes; None when its node does not say.
Meter = Callable[[Mapping[str, Any]], tuple[float, float] | None]


class Autoscalers:
    """Looks at each autoscaler every sync period."""

    def __init__(self, informers: Informers, settings: Settings, meter: Meter) -> None:
        self._store: Store = informers.store
        self._settings, self._meter = settings, meter
        self._queue = Reconciler("horizontal-pod-autoscaler", self._sync)
        self._past: dict[tuple[str, str], Past] = {}
        # of each autoscaler's pods, by uid: when they were looked at last, and the seconds they had used by then
        self._read: dict[tuple[str, str], dict[str, tuple[float, float]]] = {}
        informers.on(_KEY, self._changed)

    def close(self) -> None:
        """Stops working."""
        self._queue.close()

    def _changed(self, change: Change) -> None:
        meta = change.obj["metadata"]
        key = (meta["namespace"], meta["name"])
        if change.verb == "DELETED":
            self._past.pop(key, None)
            self._read.pop(key, None)
        elif change.verb == "ADDED":
            self._queue.add(key)

    def _sync(self, key: tuple[str, str]) -> None:
        namespace, name = key
        autoscaler = self._store.find(_KEY, name, namespace)
        if autoscaler is None:
            return
        self._queue.add_after(key, self._settings.hpa_sync_s)
        told: list[tuple[str, str, str, str]] = []  # conditions
        status = self._decide(key, autoscaler, told)

        def write(fresh: Object) -> None:
            for type_, state, reason, message in told:
                set_condition(fresh, type_, state, reason, message)
            fresh["status"] |= status | {"observedGeneration": fresh["metadata"].get("generation", 1)}

        self._store.mutate(_KEY, name, namespace, write, status=True)

    def _decide(self, key: tuple[str, str], autoscaler: Object, told: list[tuple[str, str, str, str]]) -> Object:
        """Scales where it is to be scaled; gives the status, and appends the conditions to `told`."""
        spec, before = autoscaler["spec"], autoscaler.get("status") or {}
        status = {
            "currentReplicas": before.get("currentReplicas", 0),
            "desiredReplicas": before.get("desiredReplicas", 0),
        }
        plural, target = self._target(key[0], spec["scaleTargetRef"])
        if target is None:
            why = f'the HPA controller was unable to get the target\'s current scale: {plural} "{{}}" not found'
            why = why.format(spec["scaleTargetRef"]["name"])
            told.append(("AbleToScale", "False", "FailedGetScale", why))
            self._store.events.record(autoscaler, "Warning", "FailedGetScale", why.partition(": ")[2], _COMPONENT)
            return status
        told.append(
            (
                "AbleToScale",
                "True",
                "SucceededGetScale",
                "the HPA controller was able to get the target's current scale",
            )
        )
        current, least, most = target["spec"].get("replicas", 1), spec.get("minReplicas", 1), spec["maxReplicas"]
        past, now_s = self._past.setdefault(key, Past()), time.time()
        if not past.wishes:
            past.wishes.append((now_s, current))
        status["currentReplicas"] = current
        wish, reason = current, ""
        if current == 0:
            why = "scaling is disabled since the replica count of the target is zero"
            told.append(("ScalingActive", "False", "ScalingDisabled", why))
        elif current > most:
            wish, reason = most, "Current number of replicas above Spec.MaxReplicas"
        elif current < least:
            wish, reason = least, "Current number of replicas below Spec.MinReplicas"
        else:
            asked, metric, status["currentMetrics"] = self._measure(autoscaler, target, current, told)
            if asked is None:
                return status
            reason = f"{metric} above target" if asked > current else "All metrics below target"
            wish = self._normal(spec, past, asked, current, now_s, told)
        if wish != current:
            self._scale(plural.partition(".")[0], target, wish)
            past.changes = [(at, change) for at, change in past.changes if at > now_s - 1800] + [
                (now_s, wish - current)
            ]
            said = f"the HPA controller was able to update the target scale to {wish}"
            told.append(("AbleToScale", "True", "SucceededRescale", said))
            text = f"New size: {wish}; reason: {reason}"
            self._store.events.record(autoscaler, "Normal", "SuccessfulRescale", text, _COMPONENT)
            status["lastScaleTime"] = now()
        return status | {"desiredReplicas": wish}

    def _normal(
        self, spec: Object, past: Past, asked: int, current: int, now_s: float, told: list[tuple[str, str, str, str]]
    ) -> int:
        rules = self._rules(spec.get("behavior"), current)
        wish = replica_count.stabilized(past, asked, current, rules, now_s)
        ready = ("ReadyForNewScale", "recommended size matches current size")
        if wish != asked:
            way, other, one = ("Up", "lower", "lowest") if asked >= current else ("Down", "higher", "highest")
            said = f"recent recommendations were {other} than current one, applying the {one} recent recommendation"
            ready = (f"Scale{way}Stabilized", said)
        told.append(("AbleToScale", "True", *ready))
        bounds = (spec.get("minReplicas", 1), spec["maxReplicas"])
        replicas, reason, message = replica_count.limited(past, wish, current, *bounds, rules, now_s)
        told.append(("ScalingLimited", "False" if replicas == wish else "True", reason, message))
        return replicas

    def _rules(self, behavior: Mapping[str, Any] | None, current: int) -> dict[str, Any]:
        down = _DOWN | {"stabilizationWindowSeconds": self._settings.hpa_downscale_s}
        if behavior is None:  # twice as many at once, or four; down to any number
            step = {"type": "Pods", "value": max(current, 4 - current), "periodSeconds": 0}
            return {"scaleUp": _UP | {"policies": [step]}, "scaleDown": down}
        return {"scaleUp": _UP | (behavior.get("scaleUp") or {}), "scaleDown": down | (behavior.get("scaleDown") or {})}

    def _target(self, namespace: str, reference: Mapping[str, str]) -> tuple[str, Object | None]:
        group = reference.get("apiVersion", "").rpartition("/")[0]
        for kind in self._store.kinds.values():
            if (kind.group, kind.kind) == (group, reference["kind"]) and "scale" in kind.subresources:
                return kind.qualified, self._store.find(kind.key, reference["name"], namespace)
        return f"{reference['kind'].lower()}s.{group}", None

    def _scale(self, plural: str, target: Object, replicas: int) -> None:
        def write(fresh: Object) -> None:
            fresh["spec"]["replicas"] = replicas

        self._store.mutate(plural, target["metadata"]["name"], target["metadata"]["namespace"], write)

    # Metrics

    def _measure(
        self, autoscaler: Object, target: Object, current: int, told: list[tuple[str, str, str, str]]
    ) -> tuple[int | None, str, list[Object]]:
        """The highest wish of all metrics, which one it is, and what was seen; None when nothing may be concluded."""
        pods = self._store.list("pods", target["metadata"]["namespace"], target["spec"].get("selector"))
        usage = {pod["metadata"]["uid"]: self._meter(pod) for pod in pods}
        meta = autoscaler["metadata"]
        cores = self._cores((meta["namespace"], meta["name"]), pods, usage)
        best, name, seen, failures = None, "", [], []
        for metric in autoscaler["spec"].get("metrics") or ():
            try:
                proposal, said, state = self._metric(metric, pods, usage, cores, current)
            except MetricError as error:
                failures.append((metric["type"], str(error)))
                continue
            seen.append(state)
            if best is None or proposal.replicas > best:
                best, name = proposal.replicas, said
        if failures and (best is None or best < current):
            kind, why = failures[0]
            reason = f"FailedGet{kind}Metric"
            message = f"the HPA was unable to compute the replica count: {why}"
            told.append(("ScalingActive", "False", reason, message))
            self._store.events.record(autoscaler, "Warning", reason, why, _COMPONENT)
            count = len(autoscaler["spec"].get("metrics") or ())
            text = f"invalid metrics ({len(failures)} invalid out of {count}), first error is: {why}"
            self._store.events.record(autoscaler, "Warning", "FailedComputeMetricsReplicas", text, _COMPONENT)
            return None, "", seen
        said = f"the HPA was able to successfully calculate a replica count from {name}"
        told.append(("ScalingActive", "True", "ValidMetricFound", said))
        return best, name, seen

    def _metric(
        self, metric: Object, pods: list[Any], usage: dict[str, Any], cores: dict[str, Sample], current: int
    ) -> tuple[Proposal, str, Object]:
        if metric["type"] != "Resource" or metric["resource"]["name"] not in ("cpu", "memory"):
            what = "the sandbox measures Resource metrics cpu and memory alone; see docs/sandbox.md"
            raise MetricError(f"unable to get metric of type {metric['type']}: {what}")
        resource, target, now_s = metric["resource"]["name"], metric["resource"]["target"], time.time()
        samples = cores
        if resource == "memory":
            held = {pod["metadata"]["name"]: usage[pod["metadata"]["uid"]] for pod in pods}
            samples = {name: Sample(one[1], now_s, 0.0) for name, one in held.items() if one is not None}
        average = target.get("averageValue")
        try:
            proposal = replica_count.propose(
                [_state(pod, resource) for pod in pods],
                samples,
                current,
                resource=resource,
                utilization=target.get("averageUtilization"),
                average=float(parse(average)) if average else None,
                now_s=now_s,
                initialization_s=self._settings.hpa_cpu_initialization_s,
            )
        except MetricError as error:
            by = "utilization" if target.get("averageUtilization") is not None else "usage"
            raise MetricError(f"failed to get {resource} {by}: {error}") from error
        shown = {"averageValue": canonical(f"{int(proposal.average * 1000)}m")}
        if resource == "memory":
            shown = {"averageValue": canonical(int(proposal.average))}
        said = f"{resource} resource"
        if proposal.utilization is not None:
            shown |= {"averageUtilization": proposal.utilization}  # type: ignore[dict-item]
            said += " utilization (percentage of request)"
        return proposal, said, {"type": "Resource", "resource": {"name": resource, "current": shown}}

    def _cores(
        self, key: tuple[str, str], pods: list[Any], usage: Mapping[str, tuple[float, float] | None]
    ) -> dict[str, Sample]:
        """Cores used since the last look; nothing for a pod that is seen for the first time, or has restarted."""
        past, found, now_s = self._read.pop(key, {}), {}, time.time()
        fresh = self._read[key] = {}
        for pod in pods:
            uid = pod["metadata"]["uid"]
            used, before = usage[uid], past.get(uid)
            if used is None:
                continue
            if before is not None and now_s > before[0] and used[0] >= before[1]:
                window_s = now_s - before[0]
                found[pod["metadata"]["name"]] = Sample((used[0] - before[1]) / window_s, now_s, window_s)
            fresh[uid] = (now_s, used[0])
        return found


def _state(pod: Mapping[str, Any], resource: str) -> PodState:
    status, ready = pod.get("status") or {}, condition(pod, "Ready")
    set_everywhere = all(
        resource in ((c.get("resources") or {}).get("requests") or {}) for c in pod["spec"]["containers"]
    )
    return PodState(
        name=pod["metadata"]["name"],
        phase=status.get("phase", "Pending"),
        terminating=is_terminating(pod),
        ready=None if ready is None else ready["status"] == "True",
        ready_since_s=seconds(ready["lastTransitionTime"]) if ready else 0.0,
        started_s=seconds(status.get("startTime")),
        request=float(pod_requests(pod["spec"])[resource]) if set_everywhere else None,
    )
