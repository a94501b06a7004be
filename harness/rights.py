"""May we? Asked by SelfSubjectAccessReview before anything is touched, for exactly what a run would do.

What every run does stands here; what a fault does stands in its own file (`RIGHTS`). The manifests in
`clusters/rbac/` grant it all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from harness.errors import UsageError

if TYPE_CHECKING:
    from clusters.provider import Access
    from harness.experiment.model import Experiment
    from harness.kube import Cluster

_AT_ONCE = 8
_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


@dataclass(frozen=True, slots=True, kw_only=True)
class Right:
    """One verb on one resource, somewhere."""

    verb: str
    resource: str  # pods, pods/eviction
    group: str = ""
    namespace: str | None = None  # "": in every namespace, or outside of all; None: the workload's, not filled in yet
    name: str = ""
    why: str = field(default="", compare=False)  # what needs it, for people

    def __str__(self) -> str:
        what = f"{self.resource}.{self.group}" if self.group else self.resource
        name = f" {self.name}" if self.name else ""
        return f"{self.verb} {what}{name}" + (f" in namespace {self.namespace}" if self.namespace else "")


def rights(verbs: str, resources: str, group: str = "", namespace: str | None = None, name: str = "") -> list[Right]:
    """`rights("get list", "pods services")`: each verb on each resource, in the workload's namespace."""
    return [
        Right(verb=verb, resource=resource, group=group, namespace=namespace, name=name)
        for resource in resources.split()
        for verb in verbs.split()
    ]


GUARD = [*rights("get", "namespaces"), *rights("list", "pods")]
WATCHES = [
    *rights("list watch", "pods events"),
    *rights("list watch", "endpointslices", "discovery.k8s.io"),
    *rights("list watch", "deployments replicasets", "apps"),
]
PICTURE = [
    *rights("list", "services configmaps resourcequotas"),
    *rights("list", "deployments statefulsets daemonsets", "apps"),
    *rights("list", "poddisruptionbudgets", "policy"),
    *rights("list", "horizontalpodautoscalers", "autoscaling"),
]
JOURNAL = rights("list create patch delete", "configmaps")
LOCK = [
    *rights("get patch delete", "leases", "coordination.k8s.io", "default", "bulletproof"),
    *rights("create", "leases", "coordination.k8s.io", "default"),
]
LOAD = rights("get", "services")
LOAD_INSIDE = [*rights("get create delete", "pods"), *rights("get update", "pods/proxy")]
NODES = [
    *rights("list watch", "nodes", namespace=""),
    *rights("list watch", "leases", "coordination.k8s.io", "kube-node-lease"),
]
EVERY_RUN = {"the guard": GUARD, "the record of the run": WATCHES, "the picture before and after": PICTURE}
EVERY_RUN |= {"the undo journal": JOURNAL, "the lock": LOCK, "the load": LOAD}

# word of `requires` -> what its users do beside what every run does
REQUIRED = {
    "gpu": rights("list", "nodes", namespace=""),
    "nodes": rights("get list", "nodes", namespace=""),
    "node-stop": rights("get list", "nodes", namespace=""),
    "eviction": rights("create", "pods/eviction"),
    "deployments": rights("get", "deployments", "apps"),
    "pod-proxy": rights("get update", "pods/proxy"),
}


class MissingRights(UsageError):  # noqa: N818 - a fact
    """The credentials do not allow what the run would do. Nothing was touched."""

    def __init__(self, message: str, missing: Sequence[Right]) -> None:
        super().__init__(message)
        self.missing = tuple(missing)


def needed(experiment: Experiment) -> list[Right]:
    """Every right that a run of the experiment takes, each once, with the first reason for it."""
    workload = experiment.bulletproof.workload.namespace
    found: dict[Right, None] = {}
    for right in _needed(experiment):
        found.setdefault(replace(right, namespace=workload) if right.namespace is None else right)
    for right in tuple(found):
        if right.namespace and replace(right, namespace="") in found:
            del found[right]  # asked for everywhere anyway
    if any(right.resource == "nodes" for right in found):
        for right in NODES:
            found.setdefault(replace(right, why="the record of the nodes"))
    return list(found)


def strikes_or_reads_nodes(experiment: Experiment) -> bool:
    """Whether the run looks at nodes at all; who runs nothing of the kind needs no right on them."""
    return any(right.resource == "nodes" for right in needed(experiment))


def missing(cluster: Cluster, wanted: Iterable[Right]) -> list[Right]:
    """Those of the rights that the cluster says we do not have. Asks, and changes nothing."""
    from concurrent.futures import ThreadPoolExecutor

    asked = list(wanted)
    with ThreadPoolExecutor(_AT_ONCE) as pool:  # some forty questions, to a cluster that may be far away
        return [
            right
            for right, may in zip(asked, pool.map(lambda each: _may(cluster, each), asked), strict=True)
            if not may
        ]


def check(experiment: Experiment, cluster: Cluster, access: Access) -> None:
    """Raises MissingRights with every right that the run would lack, and the manifest that grants it."""
    lacking = missing(cluster, needed(experiment))
    if not lacking:
        return
    workload = experiment.bulletproof.workload.namespace
    count = "a right" if len(lacking) == 1 else f"{len(lacking)} rights"
    lines = [f"The user of context {access.context} lacks {count} that this run needs. Nothing was touched."]
    for right in lacking:
        lines += [f"  {right} (for {right.why})", f"    {_remedy(right, workload)}"]
    raise MissingRights("\n".join(lines), lacking)


def _needed(experiment: Experiment) -> Iterator[Right]:
    from harness import faults, guard

    for why, listed in EVERY_RUN.items():
        yield from (replace(right, why=why) for right in listed)
    if experiment.bulletproof.load.place == "inside":
        yield from (replace(right, why="the load's pods") for right in LOAD_INSIDE)
    for word in experiment.bulletproof.requires:
        yield from (replace(right, why=f"requires: {word}") for right in REQUIRED.get(word, ()))
    for _, namespace in guard.foreign_actions(experiment):
        if namespace:
            yield Right(verb="get", resource="namespaces", namespace=namespace, why="the guard")
    for activity in experiment.chaos["method"]:
        name, listed = faults.rights_of(activity)
        place = guard.arguments_of(activity, experiment).get("namespace") if listed else None
        for right in listed:
            yield replace(right, why=name, namespace=place or None if right.namespace is None else right.namespace)


def _may(cluster: Cluster, right: Right) -> bool:
    resource, _, subresource = right.resource.partition("/")
    attributes = {"verb": right.verb, "group": right.group, "resource": resource, "subresource": subresource}
    attributes |= {"namespace": right.namespace or "", "name": right.name}
    if right.resource == "namespaces" and right.namespace:
        attributes["name"] = right.namespace  # a request for a namespace counts as one in it
    review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview"}
    answer = cluster.request("POST", _REVIEWS, body=review | {"spec": {"resourceAttributes": attributes}})
    return bool((answer.get("status") or {}).get("allowed"))


def _remedy(right: Right, workload: str) -> str:
    from clusters.provider import WORKLOAD_OF_MANIFESTS, manifest_granting

    resource, _, subresource = right.resource.partition("/")
    folder = manifest_granting(
        verb=right.verb,
        group=right.group,
        resource=resource,
        subresource=subresource,
        name=right.name,
        namespace=right.namespace or "",
        workload=workload,
    )
    if folder is None:
        return "none of the manifests in clusters/rbac grants it: ask the cluster's administrator"
    elsewhere = workload != WORKLOAD_OF_MANIFESTS and right.namespace == workload
    return f"kubectl apply -k {folder}" + (f" (from a kustomization with namespace: {workload})" if elsewhere else "")
