"""The types of an experiment: text with units at the edge, numbers with units in their names inside.

A field's alias is its name in the YAML file (`baseline`), its Python name carries the unit (`baseline_ns`).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)

from harness import units
from harness.experiment.shape import SHAPE_PATTERN, Curve, check_shape, curve

if TYPE_CHECKING:
    from harness.history.trace import Replay

DurationNs = Annotated[
    int,
    BeforeValidator(units.parse_duration_ns),
    WithJsonSchema({"type": "string", "pattern": units.DURATION_PATTERN, "examples": ["500ms", "15s", "2m"]}),
]
RatePerS = Annotated[
    float,
    BeforeValidator(units.parse_rate_per_s),
    WithJsonSchema({"type": "string", "pattern": units.RATE_PATTERN, "examples": ["200/s"]}),
]
Share = Annotated[
    float,
    BeforeValidator(units.parse_share),
    WithJsonSchema({"type": "string", "pattern": units.SHARE_PATTERN, "examples": ["99.9%"]}),
]
BurnRate = Annotated[
    float,
    BeforeValidator(units.parse_burn_rate),
    WithJsonSchema({"type": "string", "pattern": units.BURN_PATTERN, "examples": ["14.4x"]}),
]
Quantile = Annotated[str, StringConstraints(pattern=r"^p[1-9]\d?(\.\d+)?$")]

Shape = Annotated[
    str,
    AfterValidator(check_shape),
    WithJsonSchema({"type": "string", "pattern": SHAPE_PATTERN, "examples": ["spike to 400/s at 20s for 5s"]}),
]

RETRY_PATTERN = r"^(timeout|refused|reset|truncated|unreachable|error|http_[1-5][0-9]{2}|grpc_[A-Z_]+)$"


def _check_retry(outcome: str) -> str:
    if outcome == "wrong_answer":
        raise ValueError('"wrong_answer" is nothing that a client sees: it does not know the golden answer.')
    if re.fullmatch(RETRY_PATTERN, outcome) is None:
        words = "timeout, refused, reset, truncated, unreachable, error, http_503, grpc_UNAVAILABLE"
        raise ValueError(f'"{outcome}" is no outcome to retry on. Write one of: {words}, or another code.')
    return outcome


RetryOutcome = Annotated[
    str, AfterValidator(_check_retry), WithJsonSchema({"type": "string", "pattern": RETRY_PATTERN})
]


LoadUrl = Annotated[
    str, Field(pattern=r"^(http|grpc)://[^\s/:]+(:[0-9]{1,5})?/?$", examples=["http://gateway.example:8000"])
]
Address = Annotated[str, Field(pattern=r"^[^\s/:]+:[0-9]{1,5}$", examples=["192.0.2.7:5557"])]


def _no_default(schema: dict[str, Any]) -> None:
    schema.pop("default", None)


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Workload(_Model):
    """The inference service under test."""

    namespace: str = Field(
        description="Namespace of the workload; it must carry the label bulletproof.dev/chaos=allowed."
    )
    service: str = Field(description="Service that clients use.")
    selector: str = Field(description="Label selector of the workload's pods, e.g. app=detector.")
    protocol: Literal["kserve-v2-http", "kserve-v2-grpc"] = Field(
        "kserve-v2-http", description="How the load speaks to it."
    )
    model: str = Field(description="Model name, as in v2/models/NAME/infer.")
    golden: str = Field(
        "golden/detector.json", description="File of inputs with known answers, beside the experiment file."
    )
    stable_version: str | None = Field(
        None, description="Model version that must serve before and after; needed by rollback checks."
    )
    http_port: int | str = Field("http", description="Port (name or number) of the Service for HTTP.")
    grpc_port: int | str = Field("grpc", description="Port (name or number) of the Service for gRPC.")


class Load(_Model):
    """What is offered: an open loop, sent on schedule whether or not earlier answers came."""

    rate_per_s: RatePerS = Field(
        0.0,
        alias="rate",
        description="Mean arrival rate; with a shape, the rate it starts from. Required, except with a trace.",
        json_schema_extra=_no_default,
    )
    arrivals: Literal["poisson", "constant", "trace"] = Field("poisson", description="Arrival process.")
    trace: str | None = Field(
        None,
        description="For arrivals: trace. File of recorded arrivals, beside the experiment file: CSV with the header "
        "TIMESTAMP,ContextTokens,GeneratedTokens or seconds[,size], or JSON lines. When it ends it begins again.",
    )
    trace_speed: float = Field(1.0, gt=0, description="The trace is replayed so many times as fast as it was recorded.")
    shape: Shape | None = Field(
        None,
        description="How the rate changes, in time from the begin of the baseline: ramp to RATE at TIME over DURATION; "
        "spike to RATE at TIME for DURATION; steps to RATE RATE ... every DURATION; sine by SHARE every DURATION. "
        "Default: it does not.",
    )
    timeout_ns: DurationNs = Field(
        1_500_000_000, alias="timeout", description="Deadline of a request, from when it was sent."
    )
    retries: int = Field(
        0,
        ge=0,
        le=20,
        description="How often a request is tried again, at most. It stays one request, with one deadline.",
    )
    retry_on: tuple[RetryOutcome, ...] = Field(
        ("refused", "reset", "http_503", "grpc_UNAVAILABLE"), min_length=1, description="Outcomes that are tried again."
    )
    retry_backoff_ns: DurationNs = Field(
        50_000_000,
        alias="retry_backoff",
        description="Wait before the first retry; twice as long before each further one, times 0.5 to 1.5 by the seed.",
    )
    retry_connection: Literal["same", "new"] = Field(
        "same", description="A retry uses the kind of connection that its request has, or always a new one."
    )
    attempt_timeout_ns: DurationNs | None = Field(
        None,
        gt=0,
        alias="attempt_timeout",
        description="Deadline of each attempt, which ends it as timeout. Default: the request's.",
    )
    hedge_after_ns: DurationNs | None = Field(
        None,
        gt=0,
        alias="hedge_after",
        description="A second copy goes out on a new connection when an attempt has not ended by then; the first "
        "answer counts, and the other attempt is cancelled. Default: never.",
    )
    seed: int = Field(7, description="Seed of the schedule and of the choice of targets.")
    kept_share: Share = Field(
        0.5, alias="kept", description="Share of requests on kept connections; the others open a new one each."
    )
    users: int | None = Field(
        None,
        ge=1,
        description="Locust users, which bound the requests in flight. Default: 1.25 x highest rate x timeout + 8.",
    )
    place: Literal["auto", "outside", "inside"] = Field(
        "auto",
        alias="from",
        description="Where the load runs: outside of the cluster (load balancer, cluster IP, node port or url; never a "
        "port-forward), inside as pods, or auto: outside where the Service answers from here. See docs/load.md.",
    )
    url: LoadUrl | None = Field(
        None,
        description="Where clients outside reach the workload, e.g. http://gateway.example:8000 or "
        "grpc://gateway.example:8001. Default: the Service, by what answers first.",
    )
    beside_target: bool = Field(
        False, description="With from: inside: the load's pods may be on a node that holds what the fault strikes."
    )
    workers: int = Field(
        1, ge=1, le=64, description="Load processes; users and arrivals are divided among them. See docs/load.md."
    )
    join: Address | None = Field(
        None,
        description="HOST:PORT of this machine at which workers on other machines join the load, each started there "
        "with: python -m loadtests --worker HOST:PORT. Default: the workers are processes of this machine.",
    )
    clock_limit_ns: DurationNs = Field(
        2_000_000,
        alias="clock_limit",
        description="How sure a worker's clock must be against the harness', else INVALID.",
    )
    lag_limit_ns: DurationNs = Field(
        5_000_000, alias="lag_limit", description="A request sent later than this after its schedule is late."
    )
    lag_share: Share = Field(
        0.999, alias="on_time", description="Share of requests that must be on time in the baseline, else INVALID."
    )
    user: Literal["tritonclient", "raw"] = Field(
        "tritonclient", description="Client: tritonclient, or the fast raw HTTP user."
    )

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        """A load inside goes to the Service, from pods of its own."""
        for name, given in (("url", self.url), ("join", self.join)):
            if self.place == "inside" and given is not None:
                raise ValueError(f"from: inside and {name} exclude each other")
        return self


class Phases(_Model):
    """How long each phase lasts. The fault phase ends when the method has."""

    baseline_ns: DurationNs = Field(
        15_000_000_000, alias="baseline", description="Load only; the steady state must hold."
    )
    fault_limit_ns: DurationNs = Field(60_000_000_000, alias="fault", description="The method must end within this.")
    recover_ns: DurationNs = Field(
        30_000_000_000, alias="recover", description="Observation after the fault, before the undo."
    )
    settle_ns: DurationNs = Field(
        10_000_000_000, alias="settle", description="Observation after the undo; must be steady again."
    )


class Expect(_Model):
    """What must hold. A field that is not given is not judged."""

    lost_ns: DurationNs | None = Field(
        None, alias="lost", description="Lost seconds (bad requests / arrival rate) from the fault on, at most."
    )
    lost_requests: int | None = Field(None, ge=0, description="Bad requests from the fault on, at most.")
    wrong_answers: int | None = Field(
        None, ge=0, description="Answers that differ from the golden ones, at most, over the whole run."
    )
    recovers_within_ns: DurationNs | None = Field(
        None, alias="recovers_within", description="From the fault's proven start until service stays good."
    )
    hold_ns: DurationNs = Field(
        2_000_000_000, alias="hold", description="How long service must stay good to count as recovered."
    )
    replicas_within_ns: DurationNs | None = Field(
        None, alias="replicas_within", description="Until as many pods are ready as before the fault."
    )
    undone_within_ns: DurationNs | None = Field(
        None, alias="undone_within", description="From the start of the undo until it is verified."
    )
    stable_within_ns: DurationNs | None = Field(
        None,
        alias="stable_within",
        description="After a bad release: until the stable version serves every answer again.",
    )
    exposed: Share | None = Field(
        None, description="After a bad release: share of requests that another version may have answered until then."
    )
    ready_floor: int | None = Field(None, ge=0, description="Fewest ready pods at any time of the run.")
    latency_ns: dict[Quantile, DurationNs] = Field(
        {},
        alias="latency",
        description="Latency quantiles, counted from schedule, at most: {p50: 50ms, p99: 400ms}. Of the whole run, and "
        "of the steady state at 95 %.",
    )
    uptime: Share | None = Field(
        None, description="Share of the run's seconds in which the strictest SLO was met, at least."
    )
    goodput_per_s: RatePerS | None = Field(
        None,
        alias="goodput",
        description="Good answers per second, at least, in every 5 s from the fault to the undo.",
    )
    budget_spent: Share | None = Field(
        None, description="Share of each SLO's error budget (of its whole period) that the run may spend."
    )
    burn_rate: BurnRate | None = Field(
        None, description="How fast the error budget may burn in 5 minutes and in 1 hour at once; 14.4x would page."
    )
    degraded_ns: DurationNs | None = Field(
        None, alias="degraded", description="All outages from the fault to the undo together, at most."
    )
    in_flight_lost: int | None = Field(
        None, ge=0, description="Requests under way when the fault struck that may end badly."
    )
    gray_pods: int | None = Field(
        None,
        ge=0,
        description="Pods that stay ready from the fault to the undo and serve worse than the others, at most.",
    )

    @property
    def latency_shares(self) -> dict[str, tuple[float, int]]:
        """`p99` -> (0.99, limit in ns), in the order of the file."""
        return {name: (round(float(name[1:]) / 100, 12), limit) for name, limit in self.latency_ns.items()}


class BlastRadius(_Model):
    """What the guard allows the method to touch."""

    pods: int = Field(1, ge=0, description="Pods struck at the same time, at most.")
    nodes: int = Field(1, ge=0, description="Nodes struck at the same time, at most.")
    share: Share = Field(1.0, description="Share of the workload's pods struck at the same time, at most.")
    floor: int = Field(0, ge=0, description="Ready pods that must be left when the fault strikes.")


def _check_abort(text: str) -> str:
    if re.fullmatch(r"below \d+(\.\d+)?% for \d+(\.\d+)?(ms|s|m)", text) is None:
        raise ValueError(f'"{text}" is not understood. Write: below 50% for 20s.')
    return text


class AbortWhen(_Model):
    """The live condition that ends the run early, with everything undone."""

    availability: Annotated[str, AfterValidator(_check_abort)] = Field(
        "below 50% for 20s", description="below SHARE% for DURATION"
    )

    @property
    def share(self) -> float:
        """Availability below which the clock runs."""
        return units.parse_share(self.availability.split()[1])

    @property
    def hold_ns(self) -> int:
        """How long it must stay below."""
        return units.parse_duration_ns(self.availability.split()[3])


class Extension(_Model):
    """The `bulletproof` block under `extensions` of a Chaos Toolkit experiment."""

    name: Literal["bulletproof"]
    workload: Workload
    load: Load
    phases: Phases = Phases()
    slos: tuple[str, ...] = Field(min_length=1, description="OpenSLO documents, by path beside the experiment file.")
    expect: Expect = Expect()
    blast_radius: BlastRadius = BlastRadius()
    abort_when: AbortWhen | None = None
    requires: tuple[
        Literal["pods", "services", "gpu", "nodes", "eviction", "deployments", "pod-proxy", "node-stop"], ...
    ] = Field(("pods", "services"), description="What the cluster must offer; without it the run ends SKIPPED.")
    platform: str | None = Field(
        None, description="Overlay of the reference platform that a run deploys, unless --platform names another."
    )


class Slo(_Model):
    """One objective of an OpenSLO v1 document, in the subset that Bulletproof judges.

    good = outcome is ok and, where within_ns is given, end - scheduled (or - sent) <= within_ns.
    """

    name: str
    service: str
    target: float = Field(gt=0, lt=1)
    window_days: float = 30
    within_ns: int | None = None
    measured_from: Literal["scheduled", "sent"] = "scheduled"
    file: str = ""

    @property
    def budget_s(self) -> float:
        """Seconds of service that the period allows to be lost: 2592 at 99.9 % over 30 days."""
        return self.window_days * 86_400 * (1 - self.target)


class Experiment(_Model):
    """A loaded, validated experiment: what the run and the judge work from."""

    file: str  # path as given
    title: str
    description: str
    tags: tuple[str, ...] = ()
    bulletproof: Extension
    slos: tuple[Slo, ...]
    trace: str | None = None  # path of the recorded arrivals, as it is from here
    chaos: dict[str, Any]  # the whole document, for chaoslib

    @property
    def replay(self) -> Replay | None:
        """The recorded arrivals that are offered. None: the load is drawn."""
        from harness.history import trace

        return None if self.trace is None else trace.replay(Path(self.trace), self.bulletproof.load.trace_speed)

    def offered(self, until_ns: int) -> Curve | Replay:
        """When arrivals are expected, from the schedule's zero until `until_ns` after it."""
        load = self.bulletproof.load
        return self.replay or curve(load.rate_per_s, load.shape, until_ns)

    @property
    def rate_changes(self) -> bool:
        """Whether arrivals have more than one rate."""
        return self.trace is not None or self.bulletproof.load.shape is not None
