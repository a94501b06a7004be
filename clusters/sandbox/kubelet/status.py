"""What a pod's status says, from what its containers do: phase, conditions in their order, container states."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from clusters.sandbox.objects import Object, now, thaw

# As kubelets list them; the order in which they become true is another one.
_ORDER = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")


def stamp(at: float) -> str:
    """Seconds since the epoch as metav1.Time."""
    return datetime.datetime.fromtimestamp(at, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def waiting(reason: str, message: str = "") -> Object:
    """A waiting state."""
    return {"waiting": {"reason": reason} | ({"message": message} if message else {})}


@dataclass(slots=True)
class ContainerView:
    """One container, as its status will say it."""

    name: str
    image: str
    state: Object = field(default_factory=lambda: waiting("ContainerCreating"))
    last_state: Object = field(default_factory=dict)
    restarts: int = 0
    ready: bool = False
    started: bool = False
    container_id: str = ""
    image_id: str = ""
    init: bool = False
    sidecar: bool = False
    resources_health: list[Object] = field(default_factory=list)

    def status(self) -> Object:
        """An entry of containerStatuses."""
        status: Object = {
            "name": self.name,
            "state": thaw(self.state),
            "lastState": thaw(self.last_state),
            "ready": self.ready,
            "restartCount": self.restarts,
            "image": self.image,
            "imageID": self.image_id,
            "started": self.started,
        }
        if self.container_id:
            status["containerID"] = self.container_id
        if self.resources_health:
            status["allocatedResourcesStatus"] = thaw(self.resources_health)
        return status

    @property
    def exit_code(self) -> int | None:
        """The exit code, when it has ended and is not to run again as far as its state says."""
        ended = self.state.get("terminated")
        return None if ended is None else int(ended["exitCode"])

    @property
    def initialised(self) -> bool:
        """Whether the containers after this init container may start."""
        return self.started if self.sidecar else self.exit_code == 0


def phase_of(spec: Mapping[str, Any], views: Sequence[ContainerView], inits: Sequence[ContainerView]) -> str:
    """Pending, Running, Succeeded or Failed, by Kubernetes' rules (getPhase)."""
    policy = spec.get("restartPolicy", "Always")
    if any(not init.initialised for init in inits):
        failed = any(not init.sidecar and init.exit_code not in (None, 0) for init in inits)
        return "Failed" if failed and policy == "Never" else "Pending"
    running = sum(1 for view in views if "running" in view.state)
    stopped = [v for v in views if "terminated" in v.state or ("waiting" in v.state and v.last_state)]
    if len(stopped) + running < len(views):
        return "Pending"
    if running or policy == "Always" or any(init.sidecar and "running" in init.state for init in inits):
        return "Running"
    if any("terminated" not in view.state for view in stopped):
        return "Running"
    if all(view.exit_code == 0 for view in stopped):
        return "Succeeded"
    return "Failed" if policy == "Never" else "Running"


def status_of(
    pod: Mapping[str, Any],
    views: Sequence[ContainerView],
    *,
    pod_ip: str,
    host_ip: str,
    sandbox_ready: bool,
    started_at: str,
    over: bool,
    failure: tuple[str, str] | None,
) -> Object:
    """The whole status.

    `over`: nothing runs any more and nothing will (the phase becomes final). `failure`: (reason, message) of a pod that
    the kubelet refused or ended itself.
    """
    old: Mapping[str, Any] = pod.get("status") or {}
    inits = [view for view in views if view.init]
    mains = [view for view in views if not view.init]
    phase = phase_of(pod["spec"], mains, inits)
    if failure is not None:
        phase = "Failed"
    elif over and phase not in ("Succeeded", "Failed"):
        done = all(v.exit_code == 0 for v in mains) and all(i.initialised or i.sidecar for i in inits)
        phase = "Succeeded" if done else "Failed"
    status: Object = {k: thaw(v) for k, v in old.items() if k in ("qosClass", "nominatedNodeName", "resize")}
    status |= {"phase": phase, "startTime": started_at, "hostIP": host_ip, "hostIPs": [{"ip": host_ip}]}
    if pod_ip:
        status |= {"podIP": pod_ip, "podIPs": [{"ip": pod_ip}]}
    if failure is not None:
        status |= {"reason": failure[0], "message": failure[1]}
    status["observedGeneration"] = pod["metadata"].get("generation", 1)
    status["conditions"] = _conditions(pod, phase, mains, inits, sandbox_ready)
    if inits:
        status["initContainerStatuses"] = [view.status() for view in inits]
    if mains:
        status["containerStatuses"] = [view.status() for view in mains]
    return status


def _conditions(
    pod: Mapping[str, Any],
    phase: str,
    mains: Sequence[ContainerView],
    inits: Sequence[ContainerView],
    sandbox_ready: bool,
) -> list[Object]:
    old = {c["type"]: c for c in (pod.get("status") or {}).get("conditions") or ()}
    unready = [view.name for view in mains if not view.ready]
    sick = [view.name for view in inits if view.sidecar and not view.ready]
    incomplete = [view.name for view in inits if not view.initialised]
    found: dict[str, tuple[bool, str, str]] = {"PodReadyToStartContainers": (sandbox_ready, "", "")}
    over = {"Succeeded": "PodCompleted", "Failed": "PodFailed"}.get(phase)
    if incomplete and phase != "Succeeded":
        text = f"containers with incomplete status: [{' '.join(incomplete)}]"
        found["Initialized"] = (False, "ContainersNotInitialized", text)
    else:
        found["Initialized"] = (True, "PodCompleted" if phase == "Succeeded" else "", "")
    if over is not None:
        containers = (False, over, "")
    elif unready or sick:
        text = f"containers with unready status: [{' '.join([*sick, *unready])}]"
        containers = (False, "ContainersNotReady", text)
    else:
        containers = (True, "", "")
    found["ContainersReady"] = containers
    closed = [
        gate["conditionType"]
        for gate in pod["spec"].get("readinessGates") or ()
        if (old.get(gate["conditionType"]) or {}).get("status") != "True"
    ]
    if containers[0] and closed:
        missing = [
            f'corresponding condition of pod readiness gate "{g}" does not exist.' for g in closed if g not in old
        ]
        wrong = [
            f'the status of pod readiness gate "{g}" is not "True", but {old[g]["status"]}' for g in closed if g in old
        ]
        found["Ready"] = (False, "ReadinessGatesNotReady", ", ".join([*wrong, *missing]))
    else:
        found["Ready"] = containers
    conditions = []
    for type_ in _ORDER:
        if type_ in found:
            conditions.append(_condition(type_, *found[type_], old.get(type_)))
        elif type_ in old:
            conditions.append(thaw(old[type_]))
        else:  # bound without the scheduler
            conditions.append(_condition(type_, True, "", "", None))
    others = [thaw(c) for t, c in old.items() if t not in _ORDER]
    return conditions + others


def _condition(type_: str, holds: bool, reason: str, message: str, old: Mapping[str, Any] | None) -> Object:
    status = "True" if holds else "False"
    same = old is not None and old["status"] == status
    fresh: Object = {"type": type_, "status": status, "lastProbeTime": None}
    fresh["lastTransitionTime"] = old["lastTransitionTime"] if same and old else now()
    if reason:
        fresh["reason"] = reason
    if message:
        fresh["message"] = message
    return fresh
