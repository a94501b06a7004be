"""What an experiment may say of the load that it offers."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator

from harness.experiment.fields import DurationNs, Named, RatePerS, Share
from harness.experiment.shape import SHAPE_PATTERN, check_shape

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


class Load(Named):
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
    trace_speed: float = Field(
        1.0, gt=0, allow_inf_nan=False, description="The trace is replayed so many times as fast as it was recorded."
    )
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
    lag_limit_ns: DurationNs | None = Field(
        None,
        alias="lag_limit",
        description="A request sent later than this after its schedule is late. Default: a twentieth of the shortest "
        "time limit that decides whether an answer is good (SLO, expect.latency, load.timeout), from 5ms to 25ms.",
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
