"""The courses, from seeds: what goes wrong, when, for how long, under which load.

A batch is one run of the load with many courses one after the other, each in a slot of its own with good times around.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from tests.truth.courses import acts
from tests.truth.courses.acts import Act

S = 1_000_000_000
MS = 1_000_000
HOLD_NS = 800 * MS  # service must stay good so long to count as recovered
QUIET_NS = 1_250 * MS  # good time before and after each outage: longer than the hold time and every deadline


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """One slot of a batch. Moments are ns after the schedule's zero."""

    name: str
    family: str
    acts: tuple[Act, ...]
    begin_ns: int  # of the slot
    end_ns: int
    strike_ns: int  # what the history calls the strike; the misbehaviour begins then or somewhat later

    @property
    def first_ns(self) -> int:
        """The first act begins."""
        return self.acts[0].begin_ns

    @property
    def last_ns(self) -> int:
        """The last act ends."""
        return max(act.end_ns for act in self.acts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What is offered in a batch."""

    rate: float
    arrivals: str
    user: str
    timeout_ns: int
    within_ns: int
    kept_share: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One load run."""

    name: str
    seed: int
    load: Load
    courses: tuple[Course, ...]

    @property
    def end_ns(self) -> int:
        """The load stops."""
        return self.courses[-1].end_ns + 200 * MS


@dataclass(frozen=True, slots=True)
class _Draw:
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


Family = Callable[[_Draw], list[Act]]


def _one(kind: str, whom: str = acts.ALL, share: float = 1.0, every: int = 1) -> Family:
    def family(draw: _Draw) -> list[Act]:
        delay_ns = draw.hold_up() if kind == acts.SLOW else 0
        length = draw.length(share)
        return [Act(kind=kind, begin_ns=0, end_ns=length, whom=whom, every=every, delay_ns=delay_ns)]

    return family


def _every(kind: str) -> Family:
    def family(draw: _Draw) -> list[Act]:
        every = draw.random.choice((2, 3, 5, 10))
        return [Act(kind=kind, begin_ns=0, end_ns=draw.length(1 / every), every=every)]

    return family


def _pause(draw: _Draw) -> list[Act]:
    # Held requests are answered at once at the end: those that waited less than the limit are good.
    return [Act(kind=acts.PAUSE, begin_ns=0, end_ns=min(draw.length(), 700 * MS) + draw.load.within_ns)]


def _flap(up_ns: int) -> Family:
    def family(draw: _Draw) -> list[Act]:
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

    def family(draw: _Draw) -> list[Act]:
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
    "paused": _pause,
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


def _batch(
    name: str, seed: int, load: Load, families: list[str], low_ns: int, high_ns: int, lengths: tuple[int, ...] = ()
) -> Batch:
    """The families one after the other. `lengths` gives single acts these lengths instead of drawn ones."""
    rng = random.Random(seed)
    courses = []
    at = 300 * MS
    for number, family in enumerate(families):
        draw = _Draw(rng, load, *((lengths[number],) * 2 if lengths else (low_ns, high_ns)))
        lead_ns = rng.choice((0, 0, rng.randrange(300 * MS)))
        first = at + QUIET_NS + lead_ns + rng.randrange(20 * MS)
        made = tuple(act.moved(first) for act in FAMILIES[family](draw))
        end = max(act.end_ns for act in made) + QUIET_NS
        if family.startswith("flapping"):
            end += HOLD_NS
        strike = first - lead_ns
        label = f"{name}.{number:02d}"
        courses.append(Course(name=label, family=family, acts=made, begin_ns=at, end_ns=end, strike_ns=strike))
        at = end
    return Batch(name=name, seed=seed, load=load, courses=tuple(courses))


def _aftershocks(name: str, seed: int) -> Batch:
    """New connections hang for 0.4 s; their source ports stay black-holed when they come round again."""
    load = Load(rate=1000.0, arrivals="poisson", user="raw", timeout_ns=300 * MS, within_ns=150 * MS, kept_share=0.2)
    first = 4 * S
    act = Act(kind=acts.SWALLOW, begin_ns=first, end_ns=first + 400 * MS, whom=acts.NEW, memory_ns=120 * S)
    course = Course(
        name=f"{name}.00",
        family="source ports black-holed afterwards",
        acts=(act,),
        begin_ns=300 * MS,
        end_ns=first + 70 * S,
        strike_ns=first,
    )
    return Batch(name=name, seed=seed, load=load, courses=(course,))


FAST = Load(rate=1000.0, arrivals="poisson", user="raw", timeout_ns=300 * MS, within_ns=150 * MS)
EVEN = Load(rate=500.0, arrivals="constant", user="raw", timeout_ns=500 * MS, within_ns=250 * MS)
TRITON = Load(rate=300.0, arrivals="poisson", user="tritonclient", timeout_ns=600 * MS, within_ns=250 * MS)
PLAIN = Load(rate=200.0, arrivals="poisson", user="raw", timeout_ns=900 * MS, within_ns=250 * MS)

QUICK = (
    "dead, connections reset",
    "hanging",
    "wrong numbers",
    "one gray of three, 503",
    "hangs for kept connections only",
    "control: slow within the limit",
)
LONG = (
    ("hanging", 30 * S),
    ("dead, connections reset", 12 * S),
    ("one gray of three, hanging", 6 * S),
    ("503", 3 * S),
)
LONG_TOO = (
    ("dead, connections ended", 30 * S),
    ("hangs for new connections only", 12 * S),
    ("slow", 6 * S),
    ("every n-th reset", 3 * S),
)


def quick() -> Batch:
    """The selection of `make test`: 20 to 300 ms at 500/s."""
    return _batch("quick", 11, EVEN, list(QUICK), 20 * MS, 300 * MS)


def batches() -> list[Batch]:
    """All of them, always the same."""
    every = list(FAMILIES)
    made = []
    for number, (label, load, low, high) in enumerate(
        [
            ("fast-1", FAST, 20 * MS, 60 * MS),
            ("fast-2", FAST, 20 * MS, 200 * MS),
            ("fast-3", FAST, 40 * MS, 1 * S),
            ("even-1", EVEN, 20 * MS, 200 * MS),
            ("even-2", EVEN, 20 * MS, 1 * S),
            ("triton-1", TRITON, 60 * MS, 500 * MS),
            ("triton-2", TRITON, 60 * MS, 2 * S),
        ]
    ):
        made.append(_batch(label, 100 + number, load, every, low, high))
    for number, some in enumerate((LONG, LONG_TOO)):
        names, lengths = zip(*some, strict=True)
        made.append(_batch(f"long-{number + 1}", 200 + number, PLAIN, list(names), 0, 0, lengths))
    made.append(_aftershocks("aftershock", 300))
    return made
