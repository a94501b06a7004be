"""The faults: plain Chaos Toolkit actions. Import is light; what an action needs is imported when it runs.

Durations carry their unit (`8s`, `60ms`). `namespace` may be left out inside `bulletproof run`, where it is the
workload's; `selector` then is too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from harness.faults._strike import FaultContext as FaultContext
from harness.faults._strike import FaultError as FaultError
from harness.faults._strike import use as use

if TYPE_CHECKING:
    from harness.experiment.model import Experiment
    from harness.guard import Target
    from harness.kube import Cluster
    from harness.rights import Right

__all__ = ["bad_release", "no_op", "node_drain", "node_stop", "pod_kill", "pod_latency", "undo"]

Settings = dict[str, Any]


def pod_kill(
    selector: str = "",
    count: int | str = 1,
    namespace: str = "",
    configuration: Settings | None = None,
    secrets: Settings | None = None,
) -> dict[str, Any]:
    """Ready pods die as in a crash: deleted without grace. `count` may be "all"."""
    from harness.faults import _strike, kill_pod

    context = _strike.current(namespace, selector, configuration=configuration, secrets=secrets)
    return {"faults": kill_pod.act(context, selector or context.selector, count)}


def node_drain(
    selector: str = "",
    count: int = 1,
    namespace: str = "",
    deadline: str = "60s",
    nodes: str = "",
    force: bool = False,
    delete_emptydir_data: bool = False,
    configuration: Settings | None = None,
    secrets: Settings | None = None,
) -> dict[str, Any]:
    """Nodes that hold pods of `selector` are cordoned and drained as `kubectl drain` does it.

    `nodes` (a label selector) narrows the choice. Evictions honour disruption budgets and are tried again until
    `deadline`. `force` and `delete_emptydir_data` mean what they mean to kubectl.
    """
    from harness.faults import _strike, drain_node

    context = _strike.current(namespace, selector, configuration=configuration, secrets=secrets)
    rules = drain_node.Rules(
        deadline_ns=_strike.duration_ns("deadline", deadline), force=force, delete_emptydir_data=delete_emptydir_data
    )
    return {"faults": drain_node.act(context, selector or context.selector, count, nodes, rules)}


def node_stop(
    selector: str = "",
    count: int = 1,
    namespace: str = "",
    nodes: str = "",
    noticed_within: str = "90s",
    configuration: Settings | None = None,
    secrets: Settings | None = None,
) -> dict[str, Any]:
    """The machines of nodes that hold pods of `selector` are switched off, and nobody tells the cluster.

    By the commands `node_stop` and `node_start` of the cluster's configuration file (docs/clusters.md). `nodes` (a
    label selector) narrows the choice. The cluster must notice within `noticed_within`: 50 s by Kubernetes' default.
    """
    from harness.faults import _strike, stop_node

    context = _strike.current(namespace, selector, configuration=configuration, secrets=secrets)
    noticed_within_ns = _strike.duration_ns("noticed_within", noticed_within)
    return {"faults": stop_node.act(context, selector or context.selector, count, nodes, noticed_within_ns)}


def pod_latency(
    latency: str,
    duration: str,
    jitter: str = "0s",
    selector: str = "",
    count: int | str = 1,
    namespace: str = "",
    configuration: Settings | None = None,
    secrets: Settings | None = None,
) -> dict[str, Any]:
    """The way to ready pods takes `latency` longer, give or take `jitter`, for `duration`. `count` may be "all".

    By proxies in the Service's path, which stand there from before the baseline until the undo.
    """
    from harness.faults import _strike, delay_pod

    context = _strike.current(namespace, selector, configuration=configuration, secrets=secrets)
    delay = delay_pod.Delay(
        latency_ns=_strike.duration_ns("latency", latency),
        jitter_ns=_strike.duration_ns("jitter", jitter),
        duration_ns=_strike.duration_ns("duration", duration),
    )
    return {"faults": delay_pod.act(context, selector or context.selector, count, delay)}


def bad_release(
    version: str,
    deployment: str = "",
    command: list[str] | None = None,
    deadline: str = "110s",
    serves: bool = False,
    selector: str = "",
    namespace: str = "",
    configuration: Settings | None = None,
    secrets: Settings | None = None,
) -> dict[str, Any]:
    """The team's own release command ships `version`, and is expected to notice that it is bad.

    `command` is a list, with {namespace}, {deployment}, {version}, {kubeconfig} and {context} filled in; by default the
    reference platform's release step. `serves: true` asks for an answer of the version among the requests as proof.
    """
    from harness.faults import _strike, ship_release

    context = _strike.current(namespace, selector, configuration=configuration, secrets=secrets)
    release = ship_release.Release(
        version=str(version),
        command=tuple(command or ship_release.REFERENCE_COMMAND),
        deadline_ns=_strike.duration_ns("deadline", deadline),
        serves=serves,
    )
    return ship_release.act(context, deployment, release)


def no_op(
    selector: str = "",
    count: int | str = 1,
    namespace: str = "",
    within: str = "2s",
    configuration: Settings | None = None,
    secrets: Settings | None = None,
) -> dict[str, Any]:
    """Nothing happens, and the proof of a pod kill is looked for: the run must end INVALID."""
    from harness.faults import _strike, do_nothing

    context = _strike.current(namespace, selector, configuration=configuration, secrets=secrets)
    within_s = _strike.duration_ns("within", within) / 1e9
    return {"faults": do_nothing.act(context, selector or context.selector, count, within_s)}


def undo(namespace: str = "", configuration: Settings | None = None, secrets: Settings | None = None) -> dict[str, Any]:
    """Everything that the faults of this run changed is as it was, and verified. For rollbacks."""
    from harness.faults import _standalone, _strike
    from harness.history.records import LOAD_UNDO

    context = _strike.in_run()
    residues = _standalone.finish() if context is None else context.journal.undo_all(context.record, but=LOAD_UNDO)
    _strike.raise_residue(residues)
    return {"left": 0}


def prepare(experiment: Experiment, context: FaultContext) -> None:
    """What must be in place before the baseline is: pod_latency's proxies. Does nothing where none is needed."""
    from harness.faults import _plan

    _plan.prepare(experiment, context)


def rights_of(activity: Mapping[str, Any]) -> tuple[str, list[Right]]:
    """The fault's name and the rights that it takes; ("", []) for an activity that is not ours."""
    from harness.faults import _plan

    return _plan.rights_of(activity)


def planned_targets(activity: Mapping[str, Any], cluster: Cluster, experiment: Experiment) -> list[Target]:
    """What one activity would strike now. Reads the cluster, changes nothing; [] for an activity that is not ours.

    Raises FaultError when it would find no target.
    """
    from harness.faults import _plan

    return _plan.targets(activity, cluster, experiment)
