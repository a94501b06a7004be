"""What pods ask for and what fields mean as plain numbers: requests, percentages, times."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from clusters.sandbox.quantity import parse


def amounts(resources: Mapping[str, Any] | None) -> dict[str, Fraction]:
    """A resource list as numbers: `{"cpu": "500m"}` -> `{"cpu": 1/2}`."""
    return {name: parse(value) for name, value in (resources or {}).items()}


def scaled(value: object, total: int, *, up: bool) -> int:
    """An int-or-percent field against `total`: `25%` of 3 is 1 rounded up, 0 rounded down."""
    if isinstance(value, int):
        return value
    text = str(value)
    if not text.endswith("%"):
        raise ValueError(f'invalid value for IntOrString: invalid type: string is not a percentage: "{text}"')
    share = Fraction(text[:-1]) * total / 100
    return math.ceil(share) if up else math.floor(share)


def pod_requests(spec: Mapping[str, Any]) -> dict[str, Fraction]:
    """What the scheduler sets aside for a pod."""
    return pod_total(spec, "requests")


def pod_total(spec: Mapping[str, Any], what: str) -> dict[str, Fraction]:
    """A pod's `requests` or `limits`: the sum of its containers, or its largest init container if more.

    A limit without a request counts as the request, as the API's defaulting does it; restartable init containers
    (sidecars) count with the containers.
    """
    total: dict[str, Fraction] = {}
    for container in spec.get("containers", ()):
        _add(total, _of(container, what))
    largest: dict[str, Fraction] = {}
    sidecars: dict[str, Fraction] = {}
    for container in spec.get("initContainers") or ():
        wanted = _of(container, what)
        if container.get("restartPolicy") == "Always":
            _add(total, wanted)
            _add(sidecars, wanted)
            continue
        for name, amount in wanted.items():
            largest[name] = max(largest.get(name, Fraction(0)), amount + sidecars.get(name, 0))
    for name, amount in largest.items():
        total[name] = max(total.get(name, Fraction(0)), amount)
    _add(total, amounts(spec.get("overhead")))
    return total


def _of(container: Mapping[str, Any], what: str) -> dict[str, Fraction]:
    resources = container.get("resources") or {}
    limits = amounts(resources.get("limits"))
    return {**limits, **amounts(resources.get("requests"))} if what == "requests" else limits


def _add(total: dict[str, Fraction], more: Mapping[str, Fraction]) -> None:
    for name, amount in more.items():
        total[name] = total.get(name, Fraction(0)) + amount


def seconds(timestamp: str | None) -> float:
    """A metav1.Time or MicroTime as seconds since the epoch; 0 for none."""
    if not timestamp:
        return 0.0
    return datetime.datetime.fromisoformat(timestamp.replace("Z", "+00:00")).timestamp()
