"""What `500m`, `2Gi` and `1e3` mean, and how Kubernetes writes them."""

from __future__ import annotations

import re
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
        scaled = number / Fraction(1000) ** power
        if scaled.denominator == 1:
            return f"{scaled}{name}"
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
