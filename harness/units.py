"""Text with a unit becomes a number once, at the edge: `15s` -> ns, `200/s` -> per second, `99.9%` -> share."""

from __future__ import annotations

import re

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000

_DURATION_NS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "ms": NS_PER_MS,
    "s": NS_PER_S,
    "m": 60 * NS_PER_S,
    "h": 3600 * NS_PER_S,
    "d": 86400 * NS_PER_S,
}
_NUMBER = r"(\d+(?:\.\d+)?)"
DURATION_PATTERN = rf"^{_NUMBER}(ns|us|µs|ms|s|m|h|d)$"
RATE_PATTERN = rf"^{_NUMBER}/(s|m)$"
BURN_PATTERN = rf"^{_NUMBER}x$"
SHARE_PATTERN = rf"^{_NUMBER}%$"


def parse_duration_ns(text: object) -> int:
    """`500ms`, `15s`, `2m` -> nanoseconds. Raises ValueError that says how to write it."""
    match = re.fullmatch(DURATION_PATTERN[1:-1], text) if isinstance(text, str) else None
    if match is None:
        raise ValueError(_no_unit(text, "Write 15s, 2m or 500ms."))
    return round(float(match[1]) * _DURATION_NS[match[2]])


def parse_rate_per_s(text: object) -> float:
    """`200/s`, `30/m` -> arrivals per second."""
    match = re.fullmatch(RATE_PATTERN[1:-1], text) if isinstance(text, str) else None
    if match is None:
        raise ValueError(_no_unit(text, "Write 200/s or 30/m."))
    return float(match[1]) / (60 if match[2] == "m" else 1)


def parse_share(text: object) -> float:
    """`99.9%` -> 0.999. Raises ValueError outside 0 % to 100 %."""
    match = re.fullmatch(SHARE_PATTERN[1:-1], text) if isinstance(text, str) else None
    if match is None:
        raise ValueError(_no_unit(text, "Write 99.9%."))
    share = float(match[1]) / 100
    if share > 1:
        raise ValueError(f'"{text}" is more than 100%.')
    return share


def parse_burn_rate(text: object) -> float:
    """`14.4x` -> 14.4 times the pace that spends the error budget evenly over its period."""
    match = re.fullmatch(BURN_PATTERN[1:-1], text) if isinstance(text, str) else None
    if match is None:
        raise ValueError(_no_unit(text, "Write 14.4x."))
    return float(match[1])


def _no_unit(text: object, how: str) -> str:
    if isinstance(text, int | float) or (isinstance(text, str) and re.fullmatch(_NUMBER, text)):
        return f'"{text}" has no unit. {how}'
    return f'"{text}" is not understood. {how}'


def format_duration(ns: int | float) -> str:
    """Three significant digits in the unit that reads best: `1.23 s`, `45.6 ms`, `2 min 5 s`."""
    sign = "-" if ns < 0 else ""
    ns = abs(ns)
    if ns >= 120 * NS_PER_S:
        minutes, seconds = divmod(round(ns / NS_PER_S), 60)
        return f"{sign}{minutes} min {seconds} s" if seconds else f"{sign}{minutes} min"
    for unit, size in (("s", NS_PER_S), ("ms", NS_PER_MS), ("µs", 1_000)):
        if ns >= size:
            value = ns / size
            digits = 0 if value >= 100 else 1 if value >= 10 else 2
            text = f"{value:.{digits}f}"
            return f"{sign}{text.rstrip('0').rstrip('.') if '.' in text else text} {unit}"
    return f"{sign}{ns:.0f} ns" if ns else "0 s"


def format_share(share: float) -> str:
    """`99.95 %`, with as many digits as it takes to tell it from 100 %."""
    if share >= 1:
        return "100 %"
    for digits in (1, 2, 3, 4, 5, 6):
        text = f"{share * 100:.{digits}f}"
        if float(text) < 100:
            if digits == 1 and float(f"{share * 100:.2f}") != float(text):
                continue
            break
    return f"{text.rstrip('0').rstrip('.')} %"
