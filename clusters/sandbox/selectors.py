"""Which objects a label or field selector means."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from clusters.sandbox.errors import BadRequest

Matcher = Callable[[Mapping[str, str]], bool]

_SET = re.compile(r"^\s*(\S+)\s+(in|notin)\s+\(([^)]*)\)\s*$")
_PAIR = re.compile(r"^\s*([^\s=!]+)\s*(==|=|!=)\s*(\S*)\s*$")
_KEY = re.compile(r"^\s*(!?)\s*([A-Za-z0-9][\w./-]*)\s*$")


def label_matcher(selector: Mapping[str, Any] | str | None) -> Matcher | None:
    """A test of labels; None when everything matches.

    Takes the text of a query (`a=b,c in (d,e),!f`), a plain mapping (Service.spec.selector), or a
    LabelSelector (matchLabels, matchExpressions). An unreadable text is a BadRequest.
    """
    if not selector:
        return None
    if isinstance(selector, str):
        tests = [_term(term) for term in _split(selector)]
    elif "matchLabels" in selector or "matchExpressions" in selector:
        tests = [_equal(k, v) for k, v in (selector.get("matchLabels") or {}).items()]
        tests += [_expression(e) for e in selector.get("matchExpressions") or ()]
    else:
        tests = [_equal(k, v) for k, v in selector.items()]
    return lambda labels: all(test(labels) for test in tests)


def _split(text: str) -> list[str]:
    return [term for term in re.split(r",(?![^(]*\))", text) if term.strip()]


def _equal(key: str, value: str) -> Matcher:
    return lambda labels: labels.get(key) == value


def _expression(expression: Mapping[str, Any]) -> Matcher:
    key, operator, values = expression["key"], expression["operator"], set(expression.get("values") or ())
    if operator == "In":
        return lambda labels: labels.get(key) in values
    if operator == "NotIn":
        return lambda labels: labels.get(key) not in values
    if operator == "Exists":
        return lambda labels: key in labels
    if operator == "DoesNotExist":
        return lambda labels: key not in labels
    raise BadRequest(f'"{operator}" is not a valid label selector operator')


def _term(term: str) -> Matcher:
    if match := _SET.match(term):
        key, operator, values = match.groups()
        listed = [value.strip() for value in values.split(",")]
        return _expression({"key": key, "operator": "In" if operator == "in" else "NotIn", "values": listed})
    if match := _PAIR.match(term):
        key, operator, value = match.groups()
        return (lambda labels: labels.get(key) != value) if operator == "!=" else _equal(key, value)
    if match := _KEY.match(term):
        absent, key = match.groups()
        return (lambda labels: key not in labels) if absent else (lambda labels: key in labels)
    raise BadRequest(f"unable to parse requirement: found '{term.strip()}', expected: ',' or 'end of string'")


_FIELDS: dict[str, tuple[str, ...]] = {
    "pods": (
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "spec.hostNetwork",
        "status.phase",
        "status.podIP",
        "status.nominatedNodeName",
    ),
    "nodes": ("spec.unschedulable",),
    "namespaces": ("status.phase",),
    "secrets": ("type",),
    "services": ("spec.clusterIP", "spec.type"),
    "replicasets": ("status.replicas",),
    "events": (
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "involvedObject.apiVersion",
        "involvedObject.resourceVersion",
        "involvedObject.fieldPath",
        "reason",
        "reportingComponent",
        "source",
        "type",
    ),
}


def field_matcher(selector: str | None, plural: str) -> Callable[[Mapping[str, Any]], bool] | None:
    """A test of objects by the fields that Kubernetes lets one select this resource by; others are a BadRequest."""
    if not selector:
        return None
    tests: list[tuple[list[str], bool, str]] = []
    for term in _split(selector):
        match = _PAIR.match(term)
        if not match:
            raise BadRequest(f"invalid selector: '{selector}'; can't understand '{term}'")
        path, operator, value = match.groups()
        if path not in ("metadata.name", "metadata.namespace") and path not in _FIELDS.get(plural, ()):
            raise BadRequest(f"field label not supported: {path}")
        tests.append((path.split("."), operator != "!=", value))
    return lambda obj: all((_field(obj, path) == value) is wanted for path, wanted, value in tests)


def _field(obj: Any, path: list[str]) -> str:
    for step in path:
        obj = obj.get(step) if isinstance(obj, Mapping) else None
    if isinstance(obj, bool):
        return "true" if obj else "false"
    if obj is None:
        return "false" if path[-1] in ("unschedulable", "hostNetwork") else ""
    if isinstance(obj, Mapping):  # Event.source: selected by its component
        return str(obj.get("component", ""))
    return str(obj)
