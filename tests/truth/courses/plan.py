"""The courses, from seeds: what goes wrong, when, for how long, under which load.

A batch is one run of the load with many courses one after the other, each in a slot of its own with good times around.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from loadtests.config import GRPC
from tests.truth.courses import acts
from tests.truth.courses.acts import Act
from tests.truth.courses.families import BY_PROTOCOL, FAMILIES, GRPC_FAMILIES, HOLD_NS, MS, Draw, Load, S

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


def _batch(
    name: str, seed: int, load: Load, families: list[str], low_ns: int, high_ns: int, lengths: tuple[int, ...] = ()
) -> Batch:
    """The families one after the other. `lengths` gives single acts these lengths instead of drawn ones."""
    rng = random.Random(seed)
    courses = []
    at = 300 * MS
    for number, family in enumerate(families):
        draw = Draw(rng, load, *((lengths[number],) * 2 if lengths else (low_ns, high_ns)))
        lead_ns = rng.choice((0, 0, rng.randrange(300 * MS)))
        first = at + QUIET_NS + lead_ns + rng.randrange(20 * MS)
        made = tuple(act.moved(first) for act in BY_PROTOCOL[load.protocol][family](draw))
        end = max(act.end_ns for act in made) + QUIET_NS
        if family.startswith("flapping"):
            end += HOLD_NS
        strike = first - lead_ns
        label = f"{name}.{number:02d}"
        courses.append(Course(name=label, family=family, acts=made, begin_ns=at, end_ns=end, strike_ns=strike))
        at = end
    return Batch(name=name, seed=seed, load=load, courses=tuple(courses))


def _long(name: str, seed: int, load: Load, some: tuple[tuple[str, int], ...]) -> Batch:
    families, lengths = zip(*some, strict=True)
    return _batch(name, seed, load, list(families), 0, 0, lengths)


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
CALLS = Load(
    rate=200.0, arrivals="poisson", user="tritonclient", timeout_ns=500 * MS, within_ns=250 * MS, protocol=GRPC
)

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

# Where a gRPC channel is most unlike an HTTP connection: it lives on when a request is given up.
CALLS_AGAIN = (
    "dead, connections reset",
    "dead, connections ended",
    "hanging",
    "paused",
    "frozen",
    "slow",
    "wrong numbers",
    "every n-th hangs",
    "every n-th UNAVAILABLE",
    "flapping, up for longer",
    "one gray of three, hanging",
    "one gray of three, UNAVAILABLE",
    "hangs for kept connections only",
    "hangs for new connections only",
    "control: idle connections ended",
)
LONG_CALLS = (
    ("dead, connections reset", 12 * S),
    ("refusing new ones at 100 %", 6 * S),
    ("one gray of three, hanging", 6 * S),
    ("UNAVAILABLE", 3 * S),
)


def quick() -> Batch:
    """The selection of `make test`: 20 to 300 ms at 500/s."""
    return _batch("quick", 11, EVEN, list(QUICK), 20 * MS, 300 * MS)


def quick_calls() -> Batch:
    """The same for gRPC: one course, in which kept connections are well."""
    return _batch("quick-grpc", 13, CALLS, ["hangs for new connections only"], 0, 0)


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
        made.append(_long(f"long-{number + 1}", 200 + number, PLAIN, some))
    made.append(_aftershocks("aftershock", 300))
    made.append(_batch("grpc-1", 400, CALLS, list(GRPC_FAMILIES), 60 * MS, 500 * MS))
    made.append(_batch("grpc-2", 401, CALLS, list(CALLS_AGAIN), 60 * MS, 2 * S))
    made.append(_long("grpc-long", 402, CALLS, LONG_CALLS))
    return made
