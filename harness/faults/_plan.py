"""What the activities of an experiment would strike, and what they need in place beforehand."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from harness.faults._strike import Aim, Fault, FaultContext, duration_ns
from harness.guard import Target
from harness.kube import Cluster, Object
from harness.rights import Right

if TYPE_CHECKING:
    from harness.experiment.model import Experiment

MODULE = "harness.faults"


def prepare(experiment: Experiment, context: FaultContext) -> None:
    """Proxies stand before the pods of every pod_latency activity."""
    for activity in experiment.chaos.get("method") or []:
        if _function(activity) == "pod_latency":
            from harness.faults import _proxies

            _proxies.ensure(context, _arguments(activity).get("selector") or context.selector)


def rights_of(activity: Mapping[str, Any]) -> tuple[str, list[Right]]:
    """The activity's function and what it takes; nothing for one that is not ours."""
    name = _function(activity)
    match name:
        case "pod_kill":
            from harness.faults import kill_pod

            return name, kill_pod.RIGHTS
        case "no_op":
            from harness.faults import do_nothing

            return name, do_nothing.RIGHTS
        case "pod_latency":
            from harness.faults import delay_pod

            return name, delay_pod.RIGHTS
        case "node_drain":
            from harness.faults import drain_node

            return name, drain_node.RIGHTS
        case "node_stop":
            from harness.faults import stop_node

            return name, stop_node.RIGHTS
        case "bad_release":
            from harness.faults import ship_release

            own = _arguments(activity).get("command")
            return name, [*ship_release.RIGHTS, *(() if own else ship_release.REFERENCE_RIGHTS)]
        case _:
            return name, []


def targets(activity: Mapping[str, Any], cluster: Cluster, experiment: Experiment) -> list[Target]:
    """The targets of one activity as the cluster is now. Raises FaultError when there are too few."""
    workload = experiment.bulletproof.workload
    arguments = _arguments(activity)
    aim = Aim(
        cluster=cluster,
        namespace=arguments.get("namespace") or workload.namespace,
        selector=workload.selector,
        service=workload.service,
        rng=random.Random(experiment.bulletproof.load.seed),
        blast_radius=_unlimited(),
    )
    selector = arguments.get("selector") or workload.selector
    count = arguments.get("count", 1)
    name = str(activity["name"])
    match _function(activity):
        case "pod_kill":
            from harness.faults import kill_pod

            return [_pod_target(name, kill.pod, _undo(kill, cluster)) for kill in kill_pod.select(aim, selector, count)]
        case "no_op" | "pod_latency":
            from harness.faults import _pods

            undo = "the proxy before it adds nothing, and is taken out" if _function(activity) == "pod_latency" else ""
            return [_pod_target(name, pod, undo) for pod in _pods.choose(aim, selector, count)]
        case "node_drain":
            return _drained(name, aim, selector, count, arguments)
        case "node_stop":
            return _stopped(name, aim, selector, count, arguments)
        case "bad_release":
            from harness.faults import ship_release

            release = ship_release.Release(version=str(arguments.get("version", "")), command=(), deadline_ns=0)
            found = ship_release.select(aim, arguments.get("deployment") or "", release)
            detail = f"ships version {release.version}"
            return [
                Target(
                    activity=name,
                    kind="Deployment",
                    name=found.facts["deployment"],
                    namespace=aim.namespace,
                    detail=detail,
                    undo=_undo(found, cluster),
                )
            ]
        case _:
            return []


def _drained(name: str, aim: Aim, selector: str, count: int, arguments: Mapping[str, Any]) -> list[Target]:
    from harness.faults import drain_node

    rules = drain_node.Rules(
        deadline_ns=duration_ns("deadline", arguments.get("deadline", "60s")),
        force=bool(arguments.get("force", False)),
        delete_emptydir_data=bool(arguments.get("delete_emptydir_data", False)),
    )
    found = []
    for drain in drain_node.select(aim, selector, count, arguments.get("nodes") or "", rules):
        node = drain.facts["node"]
        undo = _undo(drain, aim.cluster)
        found.append(Target(activity=name, kind="Node", name=node, detail="cordoned and drained", undo=undo))
        found += [_pod_target(name, pod) for pod in drain.pods]
    return found


def _stopped(name: str, aim: Aim, selector: str, count: int, arguments: Mapping[str, Any]) -> list[Target]:
    from harness.faults import stop_node

    found = []
    for stop in stop_node.select(aim, selector, count, arguments.get("nodes") or ""):
        undo = _undo(stop, aim.cluster)
        found.append(Target(activity=name, kind="Node", name=stop.facts["node"], detail="switched off", undo=undo))
        found += [_pod_target(name, pod) for pod in stop.pods]
    return found


def _pod_target(activity: str, pod: Object, undo: str = "") -> Target:
    metadata = pod["metadata"]
    return Target(
        activity=activity,
        kind="Pod",
        name=metadata["name"],
        namespace=metadata["namespace"],
        detail=f"on node {pod['spec'].get('nodeName')}, ready",
        undo=undo,
    )


def _undo(fault: Fault, cluster: Cluster) -> str:
    """What would be written down before the act, in words."""
    return "; ".join(entry.what for entry in fault.undo(cluster, "plan", "plan"))


def _unlimited() -> Any:
    """The guard weighs the targets of all activities together; here nothing is refused for being too much."""
    from harness.experiment.model import BlastRadius

    return BlastRadius.model_validate({"pods": 10_000, "nodes": 10_000})


def _function(activity: Mapping[str, Any]) -> str:
    provider = activity.get("provider") or {}
    return str(provider.get("func")) if provider.get("module") == MODULE else ""


def _arguments(activity: Mapping[str, Any]) -> Mapping[str, Any]:
    return (activity.get("provider") or {}).get("arguments") or {}
