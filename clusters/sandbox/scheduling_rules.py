"""Which nodes a pod may go to, and why not to the others: the scheduler's filters, in their order and their words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from clusters.sandbox.amounts import amounts
from clusters.sandbox.objects import Object
from clusters.sandbox.selectors import label_matcher

Pod = Mapping[str, Any]


@dataclass(slots=True)
class NodeView:
    """A node and what stands on it."""

    node: Object
    pods: dict[str, Object] = field(default_factory=dict)  # by uid; those that have not ended
    used: dict[str, Fraction] = field(default_factory=dict)
    free_of: dict[str, Fraction] = field(default_factory=dict)  # allocatable as numbers

    @property
    def name(self) -> str:
        return str(self.node["metadata"]["name"])

    @property
    def labels(self) -> Mapping[str, str]:
        return self.node["metadata"].get("labels") or {}

    @property
    def taints(self) -> Sequence[Mapping[str, Any]]:
        return self.node["spec"].get("taints") or ()

    def renew(self, node: Object) -> None:
        """The Node object changed."""
        self.node = node
        self.free_of = amounts((node.get("status") or {}).get("allocatable"))


def tolerates(pod: Pod, taint: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The toleration that lets the pod bear a taint."""
    for toleration in pod["spec"].get("tolerations") or ():
        if toleration.get("effect") not in (None, "", taint["effect"]):
            continue
        if toleration.get("key") not in (None, "", taint["key"]):
            continue
        operator = toleration.get("operator") or "Equal"
        if operator == "Exists" or toleration.get("value", "") == taint.get("value", ""):
            return toleration  # type: ignore[no-any-return]
    return None


def reasons_against(pod: Pod, requests: Mapping[str, Fraction], view: NodeView) -> list[str]:
    """Why the pod cannot go to this node, looking at this node alone; empty when it can."""
    spec = pod["spec"]
    if view.node["spec"].get("unschedulable"):
        cordon = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
        if tolerates(pod, cordon) is None:
            return ["node(s) were unschedulable"]
    for taint in view.taints:
        # A cordoned node also carries this taint; the reason above has already been given for it.
        if taint["effect"] in ("NoSchedule", "NoExecute") and tolerates(pod, taint) is None:
            return [f"node(s) had untolerated taint {{{taint['key']}: {taint.get('value', '')}}}"]
    if not affine_to_node(pod, view):
        return ["node(s) didn't match Pod's node affinity/selector"]
    taken = {port for other in view.pods.values() for port in _host_ports(other)}
    if taken & _host_ports(pod):
        return ["node(s) didn't have free ports for the requested pod ports"]
    short: list[str] = []
    if len(view.pods) + 1 > view.free_of.get("pods", 110):
        short.append("Too many pods")
    for name, amount in requests.items():
        if amount and amount + view.used.get(name, 0) > view.free_of.get(name, 0):
            short.append(f"Insufficient {name}")
    if spec.get("nodeName") not in (None, "", view.name):
        short.append("node(s) didn't match the requested node name")
    return short


def affine_to_node(pod: Pod, view: NodeView) -> bool:
    """nodeSelector and the required node affinity."""
    for key, value in (pod["spec"].get("nodeSelector") or {}).items():
        if view.labels.get(key) != value:
            return False
    affinity = (pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if required is None:
        return True
    return any(matches_term(term, view) for term in required.get("nodeSelectorTerms") or ())


def matches_term(term: Mapping[str, Any], view: NodeView) -> bool:
    """One node selector term; one without any expression matches nothing."""
    expressions = term.get("matchExpressions") or ()
    fields = term.get("matchFields") or ()
    if not expressions and not fields:
        return False
    return all(_holds(e, view.labels.get(e["key"])) for e in expressions) and all(
        _holds(e, view.name if e["key"] == "metadata.name" else None) for e in fields
    )


def _holds(expression: Mapping[str, Any], value: str | None) -> bool:
    operator: str = expression["operator"]
    values: Sequence[str] = expression.get("values") or ()
    if operator == "In":
        return value in values
    if operator == "NotIn":
        return value not in values
    if operator == "Exists":
        return value is not None
    if operator == "DoesNotExist":
        return value is None
    if value is None or not value.lstrip("-").isdigit():
        return False
    return int(value) > int(values[0]) if operator == "Gt" else int(value) < int(values[0])


def _host_ports(pod: Pod) -> set[tuple[int, str]]:
    return {
        (port["hostPort"], port.get("protocol", "TCP"))
        for container in pod["spec"]["containers"]
        for port in container.get("ports") or ()
        if port.get("hostPort")
    }


# Rules that look at all nodes


def spread_filter(pod: Pod, views: Sequence[NodeView]) -> Callable[[NodeView], str | None]:
    """topologySpreadConstraints with DoNotSchedule: a reason against a node, or None."""
    constraints = [
        (constraint, spread_counts(pod, constraint, views))
        for constraint in pod["spec"].get("topologySpreadConstraints") or ()
        if constraint.get("whenUnsatisfiable", "DoNotSchedule") == "DoNotSchedule"
    ]

    def reason(view: NodeView) -> str | None:
        for constraint, counts in constraints:
            domain = view.labels.get(constraint["topologyKey"])
            if domain is None:
                return "node(s) didn't match pod topology spread constraints (missing required label)"
            least = min(counts.values(), default=0)
            if len(counts) < (constraint.get("minDomains") or 1):
                least = 0
            self_match = 1 if _selects(pod, constraint)(pod) else 0
            if counts.get(domain, 0) + self_match - least > constraint["maxSkew"]:
                return "node(s) didn't match pod topology spread constraints"
        return None

    return reason


def spread_counts(pod: Pod, constraint: Mapping[str, Any], views: Sequence[NodeView]) -> dict[str, int]:
    """Matching pods in each domain; domains of nodes that the pod cannot use do not count."""
    selects, namespace = _selects(pod, constraint), pod["metadata"]["namespace"]
    counts: dict[str, int] = {}
    for view in views:
        domain = view.labels.get(constraint["topologyKey"])
        if domain is None:
            continue
        if constraint.get("nodeAffinityPolicy", "Honor") == "Honor" and not affine_to_node(pod, view):
            continue
        if constraint.get("nodeTaintsPolicy", "Ignore") == "Honor" and any(
            taint["effect"] != "PreferNoSchedule" and tolerates(pod, taint) is None for taint in view.taints
        ):
            continue
        present = sum(
            1
            for other in view.pods.values()
            if other["metadata"]["namespace"] == namespace
            and "deletionTimestamp" not in other["metadata"]
            and selects(other)
        )
        counts[domain] = counts.get(domain, 0) + present
    return counts


def _selects(pod: Pod, constraint: Mapping[str, Any]) -> Callable[[Pod], bool]:
    """Whether a pod counts for a constraint of `pod`."""
    selector = constraint.get("labelSelector")
    matches = label_matcher(selector)
    own = pod["metadata"].get("labels") or {}
    extra = {key: own[key] for key in constraint.get("matchLabelKeys") or () if key in own}

    def selected(other: Pod) -> bool:
        labels = other["metadata"].get("labels") or {}
        if selector is None or any(labels.get(key) != value for key, value in extra.items()):
            return False
        return matches is None or matches(labels)

    return selected


def affinity_filter(pod: Pod, views: Sequence[NodeView]) -> Callable[[NodeView], str | None]:
    """Required pod affinity and anti-affinity, the pod's own and that of pods that are there."""
    own = pod["spec"].get("affinity") or {}
    near, far = _terms(own, "podAffinity"), _terms(own, "podAntiAffinity")
    shunned: set[tuple[str, str]] = set()  # (topology key, domain) where a pod that is there will not have this one
    for view in views:
        for other in view.pods.values():
            for term in _terms(other["spec"].get("affinity") or {}, "podAntiAffinity"):
                domain = view.labels.get(term["topologyKey"])
                if domain is not None and _meant(term, other, pod):
                    shunned.add((term["topologyKey"], domain))
    closed = [(term["topologyKey"], _domains(term, pod, views)) for term in far]
    open_ = [(term["topologyKey"], _domains(term, pod, views), _meant(term, pod, pod)) for term in near]
    # The first of a group that wants to be together may go anywhere.
    first = bool(open_) and not any(domains for _, domains, _ in open_) and all(own for _, _, own in open_)

    def reason(view: NodeView) -> str | None:
        if any(view.labels.get(key) == domain for key, domain in shunned):
            return "node(s) didn't satisfy existing pods anti-affinity rules"
        if any(view.labels.get(key) in domains for key, domains in closed):
            return "node(s) didn't match pod anti-affinity rules"
        for key, domains, _ in open_:
            if view.labels.get(key) is None or (not first and view.labels[key] not in domains):
                return "node(s) didn't match pod affinity rules"
        return None

    return reason


def _terms(affinity: Mapping[str, Any], kind: str) -> Sequence[Mapping[str, Any]]:
    return (affinity.get(kind) or {}).get("requiredDuringSchedulingIgnoredDuringExecution") or ()


def _domains(term: Mapping[str, Any], pod: Pod, views: Sequence[NodeView]) -> set[str]:
    return {
        view.labels[term["topologyKey"]]
        for view in views
        if term["topologyKey"] in view.labels and any(_meant(term, pod, other) for other in view.pods.values())
    }


def _meant(term: Mapping[str, Any], owner: Pod, other: Pod) -> bool:
    """Whether a term of `owner` selects `other`."""
    namespaces = term.get("namespaces") or [owner["metadata"]["namespace"]]
    if other["metadata"]["namespace"] not in namespaces and term.get("namespaceSelector") != {}:
        return False
    selector = term.get("labelSelector")
    matches = label_matcher(selector)
    return selector is not None and (matches is None or matches(other["metadata"].get("labels") or {}))
