"""How the arrival rate changes over a run: `load.shape` as text, and as a curve that load and judge both work from.

Times count from the schedule's zero, which is the begin of the baseline; `load.rate` is the rate there.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from harness import units

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# A wave is drawn in straight pieces; the curve with its corners is what is offered, and what is judged.
SINE_PIECES = 32
SHORTEST_WAVE_NS = 5 * units.NS_PER_S
MOST_STEPS = 100

_NUMBER = r"\d+(?:\.\d+)?"
_RATE, _DURATION, _SHARE = rf"{_NUMBER}/(?:s|m)", rf"{_NUMBER}(?:ms|s|m|h)", rf"{_NUMBER}%"
FORMS = (
    "ramp to RATE at TIME over DURATION",
    "spike to RATE at TIME for DURATION",
    "steps to RATE RATE ... every DURATION",
    "sine by SHARE every DURATION",
)
_PATTERNS = {
    "ramp": rf"ramp to ({_RATE}) at ({_DURATION}) over ({_DURATION})",
    "spike": rf"spike to ({_RATE}) at ({_DURATION}) for ({_DURATION})",
    "steps": rf"steps to ({_RATE}(?: {_RATE})*) every ({_DURATION})",
    "sine": rf"sine by ({_SHARE}) every ({_DURATION})",
}
SHAPE_PATTERN = "^(" + "|".join(_PATTERNS.values()) + ")$"


@dataclass(frozen=True, slots=True)
class Curve:
    """Arrivals per second over time: straight between the points, level after the last. Never 0."""

    points: tuple[tuple[int, float], ...]  # (ns since zero, arrivals per second); the first at 0

    @property
    def peak_per_s(self) -> float:
        """The highest rate."""
        return max(rate for _, rate in self.points)

    def expected(self, since_ns: NDArray[np.int64] | int) -> NDArray[np.float64]:
        """How many arrivals are expected from zero until each of these moments: the integral of the rate."""
        import numpy as np

        if len(self.points) == 1:
            level = np.array(since_ns, dtype=np.float64)
            level *= self.points[0][1] / units.NS_PER_S  # in place: a history may have millions of moments
            return level
        times = np.array([at for at, _ in self.points], dtype=np.float64) / units.NS_PER_S
        rates = np.array([rate for _, rate in self.points])
        widths = np.diff(times)
        before = np.concatenate(([0.0], np.cumsum(widths * (rates[1:] + rates[:-1]) / 2)))
        slopes = np.append(np.divide(np.diff(rates), widths, out=np.zeros_like(widths), where=widths > 0), 0.0)
        moments = np.asarray(since_ns, dtype=np.float64) / units.NS_PER_S
        piece = np.maximum(np.searchsorted(times, moments, side="right") - 1, 0)
        into = moments - times[piece]
        found: NDArray[np.float64] = before[piece] + into * (rates[piece] + into * slopes[piece] / 2)
        return found


def check_shape(text: str) -> str:
    """The text itself. Raises ValueError that says what is wrong with it and how to write it."""
    _parse(text)
    return text


def curve(rate_per_s: float, shape: str | None, until_ns: int) -> Curve:
    """The curve of a load from zero to `until_ns`. Without a shape it is level."""
    if shape is None:
        return Curve(((0, rate_per_s),))
    kind, given = _parse(shape)
    if kind == "ramp":
        to, at_ns, over_ns = given
        return Curve(((0, rate_per_s), (at_ns, rate_per_s), (at_ns + over_ns, to)))
    if kind == "spike":
        to, at_ns, for_ns = given
        end_ns = at_ns + for_ns
        return Curve(((0, rate_per_s), (at_ns, rate_per_s), (at_ns, to), (end_ns, to), (end_ns, rate_per_s)))
    if kind == "steps":
        rates, every_ns = given
        levels = (rate_per_s, *rates)
        points = [(0, rate_per_s)]
        for number, (one, other) in enumerate(pairwise(levels), start=1):
            points += [(number * every_ns, one), (number * every_ns, other)]
        return Curve(tuple(points))
    share, every_ns = given
    pieces = math.ceil(until_ns / every_ns) * SINE_PIECES
    return Curve(
        tuple(
            (
                round(number * every_ns / SINE_PIECES),
                rate_per_s * (1 + share * math.sin(2 * math.pi * (number % SINE_PIECES) / SINE_PIECES)),
            )
            for number in range(max(1, pieces) + 1)
        )
    )


def _parse(text: str) -> tuple[str, tuple[Any, ...]]:
    for kind, pattern in _PATTERNS.items():
        match = re.fullmatch(pattern, text)
        if match is not None:
            return kind, _values(kind, text, match.groups())
    raise ValueError(
        f'"{text}" is not understood. Write one of: {"; ".join(FORMS)}. As in: spike to 400/s at 20s for 5s.'
    )


def _values(kind: str, text: str, given: tuple[str, ...]) -> tuple[Any, ...]:
    every_ns = units.parse_duration_ns(given[-1])
    if every_ns <= 0:
        raise ValueError(f'"{text}" has a duration of 0.')
    if kind == "sine":
        share = units.parse_share(given[0])
        if share >= 1:
            raise ValueError(f'"{text}" stops the load: a wave is by less than 100%.')
        if every_ns < SHORTEST_WAVE_NS:
            raise ValueError(f'"{text}" is too fast: a wave takes at least 5s.')
        return share, every_ns
    rates = tuple(units.parse_rate_per_s(rate) for rate in given[0].split(" "))
    if min(rates) <= 0:
        raise ValueError(f'"{text}" stops the load: recovery is not seen without arrivals.')
    if kind == "steps":
        if len(rates) > MOST_STEPS:
            raise ValueError(f'"{text[:40]}..." has more than {MOST_STEPS} steps.')
        return rates, every_ns
    return rates[0], units.parse_duration_ns(given[1]), every_ns
