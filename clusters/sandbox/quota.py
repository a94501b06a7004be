"""ResourceQuota: what objects use, what a namespace may use, and the 403 for what would go beyond it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from typing import Any

from clusters.sandbox.amounts import canonical, parse, pod_total, seconds
from clusters.sandbox.errors import ApiError
from clusters.sandbox.kinds import Kind
from clusters.sandbox.objects import Object
from clusters.sandbox.store import Store

Usage = dict[str, Fraction]

_LEGACY = {"services", "secrets", "configmaps", "resourcequotas"}  # counted under their plain names too
_PREFIXES = ("requests.", "limits.", "ephemeral-storage")  # of what pods are asked to account for
_COMPUTE = ("cpu", "memory", "ephemeral-storage")
# Who quotas one of these must find it set in every container.
_MUST_BE_SET = ("cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory")
_SCOPES: dict[str, Callable[[Mapping[str, Any]], bool]] = {
    "Terminating": lambda pod: pod["spec"].get("activeDeadlineSeconds") is not None,
    "NotTerminating": lambda pod: pod["spec"].get("activeDeadlineSeconds") is None,
    "BestEffort": lambda pod: pod["status"].get("qosClass") == "BestEffort",
    "NotBestEffort": lambda pod: pod["status"].get("qosClass") != "BestEffort",
    "PriorityClass": lambda pod: bool(pod["spec"].get("priorityClassName")),
}


def admit(store: Store, kind: Kind, obj: Object) -> None:
    """Refuses a new object that would go beyond a quota of its namespace."""
    namespace = obj["metadata"].get("namespace")
    quotas = store.list("resourcequotas", namespace) if namespace else []
    for quota in sorted(quotas, key=lambda q: str(q["metadata"]["name"])):
        name, hard = quota["metadata"]["name"], quota["spec"].get("hard") or {}
        if not _in_scope(quota, kind, obj):
            continue
        if kind.key == "pods" and (lacking := _unset(hard, obj)):
            raise _forbidden(kind, obj, f"failed quota: {name}: must specify {lacking}")
        wanted = {what: amount for what, amount in usage(kind, obj).items() if what in hard and amount}
        if not wanted:
            continue
        present = used(store, quota)
        beyond = sorted(w for w in wanted if present.get(w, Fraction(0)) + wanted[w] > parse(hard[w]))
        if beyond:
            limited = ",".join(f"{what}={hard[what]}" for what in beyond)
            said = f"requested: {_said(beyond, wanted)}, used: {_said(beyond, present)}, limited: {limited}"
            raise _forbidden(kind, obj, f"exceeded quota: {name}, {said}")


def used(store: Store, quota: Mapping[str, Any]) -> Usage:
    """What the objects in the quota's namespace use of the things it limits."""
    namespace, hard = quota["metadata"]["namespace"], quota["spec"].get("hard") or {}
    total: Usage = {}
    for kind in tuple(store.kinds.values()):
        counted = _names(kind) & set(hard)
        if kind.key == "pods":
            counted |= {what for what in hard if what in ("pods", *_MUST_BE_SET) or what.startswith(_PREFIXES)}
        if not counted:
            continue
        total |= dict.fromkeys((c for c in counted if c not in total), Fraction(0))
        for obj in store.list(kind.key, namespace):
            if _in_scope(quota, kind, obj):
                for what, amount in usage(kind, obj).items():
                    if what in counted:
                        total[what] += amount
    return total


def usage(kind: Kind, obj: Mapping[str, Any]) -> Usage:
    """What one object counts for."""
    found: Usage = dict.fromkeys(_names(kind), Fraction(1))
    if kind.key != "pods" or _has_ended(obj):
        return found
    found["pods"] = Fraction(1)
    for name, amount in pod_total(obj["spec"], "requests").items():
        if name in _COMPUTE:
            found[name] = found[f"requests.{name}"] = amount
        elif "/" in name:
            found[f"requests.{name}"] = amount
    for name, amount in pod_total(obj["spec"], "limits").items():
        if name in _COMPUTE:
            found[f"limits.{name}"] = amount
    return found


def _names(kind: Kind) -> set[str]:
    if not kind.namespaced:
        return set()
    return {f"count/{kind.qualified}"} | ({kind.plural} if kind.key in _LEGACY else set())


def _has_ended(pod: Mapping[str, Any]) -> bool:
    if (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
        return True
    gone_at = pod["metadata"].get("deletionTimestamp")  # the grace is in it
    return bool(gone_at) and seconds(gone_at) < time.time()


def _in_scope(quota: Mapping[str, Any], kind: Kind, obj: Mapping[str, Any]) -> bool:
    """Whether the quota is about such objects: one with scopes is about pods, those that are in all of them."""
    spec = quota["spec"]
    terms: list[Any] = [{"scopeName": scope, "operator": "Exists"} for scope in spec.get("scopes") or ()]
    terms += (spec.get("scopeSelector") or {}).get("matchExpressions") or []
    return not terms or (kind.key == "pods" and all(_matches(term, obj) for term in terms))


def _matches(term: Mapping[str, Any], pod: Mapping[str, Any]) -> bool:
    operator, name = term["operator"], pod["spec"].get("priorityClassName")
    if term["scopeName"] == "PriorityClass" and operator in ("In", "NotIn"):
        return bool((name in (term.get("values") or ())) == (operator == "In"))
    holds = _SCOPES[term["scopeName"]](pod) if term["scopeName"] in _SCOPES else False
    return bool(holds == (operator != "DoesNotExist"))


def _unset(hard: Iterable[str], pod: Object) -> str:
    lacking: dict[str, list[str]] = {}
    for container in [*(pod["spec"].get("containers") or ()), *(pod["spec"].get("initContainers") or ())]:
        resources = container.get("resources") or {}
        for what in _MUST_BE_SET:
            if what in hard:
                part, _, name = what.rpartition(".")
                if name not in (resources.get(part or "requests") or {}):
                    lacking.setdefault(what, []).append(container["name"])
    return "; ".join(f"{what} for: {','.join(sorted(names))}" for what, names in sorted(lacking.items()))


def written(amounts: Usage) -> dict[str, str]:
    """As in status.used."""
    return {what: text(what, amount) for what, amount in sorted(amounts.items())}


def text(what: str, amount: Fraction) -> str:
    """`2Gi` for memory that is whole in binary units, `500m`, `3`."""
    binary = "memory" in what or "storage" in what
    if binary and amount % 1024 == 0:
        return canonical(f"{int(amount) // 1024}Ki")
    return canonical(f"{int(amount)}" if amount.denominator == 1 else f"{-(-amount * 1000 // 1)}m")


def _said(names: Iterable[str], amounts: Usage) -> str:
    return ",".join(f"{what}={text(what, amounts.get(what, Fraction(0)))}" for what in names)


def _forbidden(kind: Kind, obj: Object, why: str) -> ApiError:
    name = obj["metadata"]["name"]
    details = {"name": name, "kind": kind.plural} | ({"group": kind.group} if kind.group else {})
    return ApiError(403, "Forbidden", f'{kind.qualified} "{name}" is forbidden: {why}', details)
