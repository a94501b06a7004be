"""What may go wrong in a course, by name: each family draws its acts from a seed and the load that they meet."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from loadtests.config import GRPC, HTTP
from tests.truth.courses import acts
from tests.truth.courses.acts import Act

S = 1_000_000_000
MS = 1_000_000
HOLD_NS = 800 * MS  # service must stay good so long to count as recovered


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What is offered in a batch."""

    rate: float
    arrivals: str
    user: str
    timeout_ns: int
    within_ns: int
    kept_share: float = 0.5
    protocol: str = HTTP


@dataclass(frozen=True, slots=True)
class Draw:
    """What a family is drawn from."""

    random: random.Random
    load: Load
    low_ns: int
    high_ns: int

    def length(self, share: float = 1.0) -> int:
        """ns, log-uniform; long enough for 20 requests of those that it harms, so that it can be seen at all."""
        low = max(self.low_ns, int(20 / (share * self.load.rate) * S))
        return round(low * (max(self.high_ns, low) / low) ** self.random.random())

    def hold_up(self) -> int:
        """How late a slow answer is, ns: within the client's deadline or beyond it."""
        low = round(self.load.within_ns * 1.3)
        return self.random.choice((low, self.load.timeout_ns + 100 * MS))


Family = Callable[[Draw], list[Act]]


def _one(kind: str, whom: str = acts.ALL, share: float = 1.0, every: int = 1) -> Family:
    def family(draw: Draw) -> list[Act]:
        delay_ns = draw.hold_up() if kind == acts.SLOW else 0
        length = draw.length(share)
        return [Act(kind=kind, begin_ns=0, end_ns=length, whom=whom, every=every, delay_ns=delay_ns)]

    return family


def _every(kind: str) -> Family:
    def family(draw: Draw) -> list[Act]:
        every = draw.random.choice((2, 3, 5, 10))
        return [Act(kind=kind, begin_ns=0, end_ns=draw.length(1 / every), every=every)]

    return family


def _still(kind: str) -> Family:
    def family(draw: Draw) -> list[Act]:
        # Held requests are answered at once at the end: those that waited less than the limit are good.
        return [Act(kind=kind, begin_ns=0, end_ns=min(draw.length(), 700 * MS) + draw.load.within_ns)]

    return family


def _flap(up_ns: int) -> Family:
    def family(draw: Draw) -> list[Act]:
        made, at = [], 0
        for _ in range(draw.random.randint(2, 4)):
            length = min(draw.length(), 500 * MS)
            kind = draw.random.choice((acts.DEAD, acts.RESET, acts.STATUS))
            made.append(Act(kind=kind, begin_ns=at, end_ns=at + length))
            at += length + round(up_ns * draw.random.uniform(0.4, 1.0))
        return made

    return family


def _under(kind: str) -> Family:
    """Not an outage: within what the SLO allows."""

    def family(draw: Draw) -> list[Act]:
        allowed = round(draw.load.within_ns * 0.6)
        length = allowed if kind == acts.PAUSE else draw.length()
        return [Act(kind=kind, begin_ns=0, end_ns=length, delay_ns=allowed if kind == acts.SLOW else 0)]

    return family


CONTROLS: dict[str, Family] = {
    "control: slow within the limit": _under(acts.SLOW),
    "control: a pause within the limit": _under(acts.PAUSE),
    "control: idle connections ended": lambda draw: [Act(kind=acts.IDLE_CLOSE, begin_ns=0, end_ns=MS)],
}
FAMILIES: dict[str, Family] = {
    "dead, connections reset": _one(acts.DEAD),
    "dead, connections ended": _one(acts.GONE),
    "refusing new ones at 100 %": _one(acts.DEAF, share=0.4),
    "hanging": _one(acts.SWALLOW),
    "paused": _still(acts.PAUSE),
    "slow": _one(acts.SLOW),
    "resetting": _one(acts.RESET),
    "closing unanswered": _one(acts.CLOSE),
    "wrong numbers": _one(acts.WRONG),
    "wrong shape": _one(acts.SHAPE),
    "503": _one(acts.STATUS),
    "dying mid-stream (RST)": _one(acts.MID_RESET),
    "dying mid-stream (FIN)": _one(acts.MID_CLOSE),
    "dripping": _one(acts.DRIP),
    "every n-th reset": _every(acts.RESET),
    "every n-th 503": _every(acts.STATUS),
    "every n-th wrong": _every(acts.WRONG),
    "every n-th hangs": _every(acts.SWALLOW),
    "flapping, up for less than the hold": _flap(round(HOLD_NS * 0.8)),
    "flapping, up for longer": _flap(HOLD_NS * 4),
    "one gray of three, hanging": _one(acts.SWALLOW, acts.GRAY, share=0.2),
    "one gray of three, slow": _one(acts.SLOW, acts.GRAY, share=0.3),
    "one gray of three, wrong": _one(acts.WRONG, acts.GRAY, share=0.3),
    "one gray of three, 503": _one(acts.STATUS, acts.GRAY, share=0.3),
    "hangs for kept connections only": _one(acts.SWALLOW, acts.KEPT, share=0.4),
    "hangs for new connections only": _one(acts.SWALLOW, acts.NEW, share=0.4),
    "resets kept connections only": _one(acts.RESET, acts.KEPT, share=0.3),
    **CONTROLS,
}
# Of these gRPC has its own; the others are the same.
_HTTP_ONLY = ("503", "every n-th 503", "one gray of three, 503")
GRPC_FAMILIES: dict[str, Family] = {
    **{name: family for name, family in FAMILIES.items() if name not in _HTTP_ONLY},
    "UNAVAILABLE": _one(acts.STATUS),
    "every n-th UNAVAILABLE": _every(acts.STATUS),
    "one gray of three, UNAVAILABLE": _one(acts.STATUS, acts.GRAY, share=0.3),
    "frozen": _still(acts.FREEZE),
}


BY_PROTOCOL = {HTTP: FAMILIES, GRPC: GRPC_FAMILIES}
