"""Fields as plain numbers: quantities (`500m`, `2Gi`, `1e3`), percentages, times, and what pods ask for."""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

_FORM = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(Ki|Mi|Gi|Ti|Pi|Ei|n|u|m|k|M|G|T|P|E|[eE][+-]?\d+)?")
_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_DECIMAL = {"n": -3, "u": -2, "m": -1, "": 0, "k": 1, "M": 2, "G": 3, "T": 4, "P": 5, "E": 6}


def parse(value: Any) -> Fraction:
    """The exact number; ValueError when it is none."""
    return _read(value)[0]


def canonical(value: Any) -> str:
    """As the API server gives it back: `0.5` is `500m`, `1024Mi` is `1Gi`, the number 1 is `"1"`."""
    number, suffix = _read(value)
    if number == 0:
        return "0"
    if suffix in _BINARY and number.denominator == 1:
        power = max((p for p in _BINARY.values() if number % 1024**p == 0), default=0)
        name = next((n for n, p in _BINARY.items() if p == power), "")
        return f"{number / 1024**power}{name}"
    if suffix[:1] in ("e", "E") and suffix[1:]:
        exponent = max((p for p in range(0, 19, 3) if number % 10**p == 0), default=0)
        return f"{number / 10**exponent}e{exponent}" if exponent else f"{number}"
    for name, power in sorted(_DECIMAL.items(), key=lambda item: -item[1]):
        counted = number / Fraction(1000) ** power
        if counted.denominator == 1:
            return f"{counted}{name}"
    return f"{-(-number * 10**9 // 1)}n"  # finer than a nano is rounded up


def _read(value: Any) -> tuple[Fraction, str]:
    match = _FORM.fullmatch(str(value)) if isinstance(value, str | int | float) else None
    if match is None or isinstance(value, bool):
        raise ValueError("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")
    digits, suffix = match.group(1), match.group(2) or ""
    if suffix in _BINARY:
        return Fraction(digits) * 1024 ** _BINARY[suffix], suffix
    if suffix in _DECIMAL:
        return Fraction(digits) * Fraction(1000) ** _DECIMAL[suffix], suffix
    return Fraction(digits + suffix), suffix


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
