"""Whether labels match a label selector, as the Kubernetes API reads it."""

from __future__ import annotations

import re
from collections.abc import Mapping

_SET = re.compile(r"^\s*([^\s!=,]+)\s+(in|notin)\s+\(([^)]*)\)\s*$")
_EQUALITY = re.compile(r"^\s*([^\s!=,]+)\s*(==|=|!=)\s*([^\s!=,]*)\s*$")
_EXISTS = re.compile(r"^\s*(!?)\s*([^\s!=,()]+)\s*$")


def matches(selector: str, labels: Mapping[str, str]) -> bool:
    """True when every requirement of the selector holds. Raises ValueError where it is not understood."""
    return all(_holds(part, labels) for part in re.split(r",(?![^(]*\))", selector) if part.strip())


def _holds(part: str, labels: Mapping[str, str]) -> bool:
    if found := _SET.match(part):
        key, operator, values = found.groups()
        inside = labels.get(key) in {value.strip() for value in values.split(",")}
        return inside if operator == "in" else not inside
    if found := _EQUALITY.match(part):
        key, operator, value = found.groups()
        return (labels.get(key) == value) != (operator == "!=")
    if found := _EXISTS.match(part):
        negated, key = found.groups()
        return (key in labels) != bool(negated)
    raise ValueError(f'the label selector "{part.strip()}" is not understood')
