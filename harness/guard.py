"""What a run may touch: asked before anything is touched, answered with a refusal for each rule that is broken.

Opt-in by namespace, never a namespace of Kubernetes itself; a context that looks like production only when it was named
in full; caps on pods, nodes and share; a floor of ready pods; and no run without a target.
"""

from __future__ import annotations

import inspect
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from clusters.provider import CHAOS_ALLOWED, CHAOS_LABEL, Access
from harness.errors import InvalidRun
from harness.experiment.model import BlastRadius, Experiment
from harness.experiment.wrong import nearest

NEVER = frozenset({"kube-system", "kube-public", "kube-node-lease"})
_PRODUCTION = re.compile(r"(^|[^a-z])(prod|production|prd|live)([^a-z]|$)", re.IGNORECASE)


class Reads(Protocol):
    """The part of `harness.kube.Cluster` that the guard uses: it only reads."""

    def get(self, kind: str, name: str, namespace: str | None = None) -> dict[str, Any] | None:
        """The object, or None."""
        ...

    def list(self, kind: str, namespace: str | None = None, selector: str | None = None) -> list[dict[str, Any]]:
        """All objects of a kind."""
        ...


class GuardError(InvalidRun):
    """The guard refuses the run. Nothing was touched."""

    def __init__(self, refusals: Sequence[Refusal]) -> None:
        first = refusals[0]
        others = "".join(f"\n{refusal.message}" for refusal in refusals[1:])
        super().__init__(first.message + others, hint=" ".join(refusal.hint for refusal in refusals if refusal.hint))
        self.refusals = tuple(refusals)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One rule that the run would break."""

    rule: str  # namespace | production | zero-targets | pods | nodes | share | floor | foreign-action
    message: str
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What one activity would strike."""

    activity: str
    kind: str  # Pod | Node | Deployment
    name: str
    namespace: str | None = None
    detail: str = ""  # e.g. "on node gpu-1, ready"
    undo: str = ""  # what puts it back, for people: "uncordon node gpu-1"


def check(experiment: Experiment, cluster: Reads, access: Access, targets: Sequence[Target]) -> None:
    """Raises GuardError with every rule that is broken; reads the cluster and changes nothing."""
    broken = refusals(experiment, cluster, access, targets)
    if broken:
        raise GuardError(broken)


def refusals(experiment: Experiment, cluster: Reads, access: Access, targets: Sequence[Target]) -> list[Refusal]:
    """Every rule that the run would break, the gravest first."""
    workload, radius = experiment.bulletproof.workload, experiment.bulletproof.blast_radius
    broken = list(production(access))
    namespaces = [workload.namespace, *(target.namespace for target in targets if target.namespace)]
    foreign = list(foreign_actions(experiment))
    for name in dict.fromkeys([*namespaces, *(namespace for _, namespace in foreign if namespace)]):
        broken += namespace_refusals(name, cluster)
    if any(refusal.rule == "namespace" for refusal in broken):
        return broken  # what is in there is nobody's business then
    broken += [refusal for refusal, _ in foreign if refusal is not None]
    pods = cluster.list("Pod", workload.namespace, workload.selector)
    if not pods:
        return [*broken, no_target(workload.selector, workload.namespace, cluster)]
    struck = {kind: {target.name for target in targets if target.kind == kind} for kind in ("Pod", "Node")}
    names = {pod["metadata"]["name"] for pod in pods}
    ready = {pod["metadata"]["name"] for pod in pods if is_ready(pod)}
    broken += exceeded(
        radius,
        pods=len(struck["Pod"]),
        nodes=len(struck["Node"]),
        total=len(names),
        left=len(ready - struck["Pod"]),
    )
    return broken


def exceeded(radius: BlastRadius, *, pods: int, nodes: int, total: int, left: int) -> Iterator[Refusal]:
    """The limits of a blast radius that striking `pods` of `total` pods and `nodes` nodes breaks; `left` stay ready."""
    if pods > radius.pods:
        yield Refusal(
            rule="pods",
            message=f"{pods} pods would be struck, and the blast radius allows {radius.pods}.",
            hint="Lower count, or raise blast_radius.pods.",
        )
    if nodes > radius.nodes:
        yield Refusal(
            rule="nodes",
            message=f"{nodes} nodes would be struck, and the blast radius allows {radius.nodes}.",
            hint="Lower count, or raise blast_radius.nodes.",
        )
    if total and pods / total > radius.share + 1e-9:
        yield Refusal(
            rule="share",
            message=f"{pods} of {total} pods would be struck, and the blast radius allows {radius.share:.0%}.",
            hint="Lower count, or raise blast_radius.share.",
        )
    if left < radius.floor:
        yield Refusal(
            rule="floor",
            message=f"{left} ready pods would be left, and the blast radius asks for {radius.floor}.",
            hint="Wait until more pods are ready, or lower blast_radius.floor.",
        )


def production(access: Access) -> Iterator[Refusal]:
    """A context that looks like production must have been typed in full: it is never anybody's default."""
    if access.disposable or not _PRODUCTION.search(access.context):
        return
    if access.name != f"context:{access.context}":
        yield Refusal(
            rule="production",
            message=f'The context "{access.context}" looks like production and was not named in full.',
            hint=f"If it is meant: --cluster context:{access.context}.",
        )


def namespace_refusals(name: str, cluster: Reads) -> Iterator[Refusal]:
    """Whether a namespace is there, is nobody else's, and has opted in."""
    if name in NEVER:
        yield Refusal(rule="namespace", message=f"The namespace {name} belongs to Kubernetes and is never touched.")
        return
    found = cluster.get("Namespace", name)
    if found is None:
        known = [space["metadata"]["name"] for space in cluster.list("Namespace")]
        near = nearest(name, [space for space in known if space not in NEVER])
        hint = f"Did you mean {near}?" if near else f"There are: {', '.join(known)}."
        yield Refusal(rule="namespace", message=f"There is no namespace {name}. Nothing was touched.", hint=hint)
    elif (found["metadata"].get("labels") or {}).get(CHAOS_LABEL) != CHAOS_ALLOWED:
        yield Refusal(
            rule="namespace",
            message=f"The namespace {name} has not opted in to chaos. Nothing was touched.",
            hint=f"Its owner does so with: kubectl label namespace {name} {CHAOS_LABEL}={CHAOS_ALLOWED}",
        )


def no_target(selector: str, namespace: str, cluster: Reads) -> Refusal:
    """No pod matches: what labels are in use there, and which was probably meant."""
    counts: Counter[str] = Counter()
    for pod in cluster.list("Pod", namespace):
        for key, value in (pod["metadata"].get("labels") or {}).items():
            if key != "pod-template-hash":
                counts[f"{key}={value}"] += 1
    message = f"No pod matches {selector} in namespace {namespace}. Nothing was touched."
    if not counts:
        return Refusal(rule="zero-targets", message=f"{message}\n  There is no pod at all.")
    used = [f"{label} ({count} pods)" if count > 1 else f"{label} (1 pod)" for label, count in counts.most_common(8)]
    near = nearest(selector, counts)
    return Refusal(
        rule="zero-targets",
        message=f"{message}\n  Labels in use there: {', '.join(used)}.",
        hint=f"Set workload.selector to {near}." if near else "",
    )


def foreign_actions(experiment: Experiment) -> Iterator[tuple[Refusal | None, str | None]]:
    """Actions that are not ours, each with the namespace it works on. They have no undo and no evidence of ours.

    Their namespace must have opted in like ours. chaostoolkit-kubernetes strikes `default` when none is named, and
    everything that matches when told `all`: both are refused.
    """
    for activity in (*experiment.chaos.get("method", ()), *(experiment.chaos.get("rollbacks") or ())):
        provider = activity["provider"]
        if activity["type"] != "action" or provider["type"] != "python" or provider["module"] == "harness.faults":
            continue
        arguments = arguments_of(activity, experiment)
        namespace = arguments.get("ns", arguments.get("namespace"))
        refusal = None
        if namespace is None and _takes_namespace(provider["module"], provider["func"]):
            refusal = Refusal(
                rule="foreign-action",
                message=f'The action "{activity["name"]}" names no namespace, and would strike "default".',
                hint="Give it the argument ns.",
            )
        elif arguments.get("all") is True:
            refusal = Refusal(
                rule="foreign-action",
                message=f'The action "{activity["name"]}" would strike everything that matches.',
                hint="Give it a number: qty.",
            )
        yield refusal, namespace


def arguments_of(activity: dict[str, Any], experiment: Experiment) -> dict[str, Any]:
    """The activity's arguments with ${name} replaced from the configuration; secrets stay names, as plans are shown."""
    from chaoslib import substitute
    from chaoslib.configuration import load_configuration

    arguments = activity["provider"].get("arguments") or {}
    if not isinstance(arguments, dict):
        return {}
    filled = substitute(arguments, load_configuration(experiment.chaos.get("configuration") or {}), {})
    return dict(filled or {})


def is_ready(pod: dict[str, Any]) -> bool:
    """Whether the pod's Ready condition is True and it is not being deleted."""
    if pod["metadata"].get("deletionTimestamp"):
        return False
    conditions: Iterable[dict[str, Any]] = pod.get("status", {}).get("conditions") or ()
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def _takes_namespace(module: str, func: str) -> bool:
    import importlib

    parameters = inspect.signature(getattr(importlib.import_module(module), func)).parameters
    return "ns" in parameters or "namespace" in parameters
