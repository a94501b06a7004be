"""The types of an experiment: the `bulletproof` block of its file, and what the run and the judge work from."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field

from harness import units
from harness.experiment.fields import BurnRate, DurationNs, Named, Quantile, RatePerS, Share
from harness.experiment.offered_load import Load
from harness.experiment.shape import Curve, curve

if TYPE_CHECKING:
    from harness.history.trace import Replay

# See docs/decisions/0013-how-late-is-late.md.
LAG_PART = 20
LAG_LIMITS_NS = (5_000_000, 25_000_000)


class Workload(Named):
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


class Phases(Named):
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


class Expect(Named):
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


class BlastRadius(Named):
    """What the guard allows the method to touch."""

    pods: int = Field(1, ge=0, description="Pods struck at the same time, at most.")
    nodes: int = Field(1, ge=0, description="Nodes struck at the same time, at most.")
    share: Share = Field(1.0, description="Share of the workload's pods struck at the same time, at most.")
    floor: int = Field(0, ge=0, description="Ready pods that must be left when the fault strikes.")


def _check_abort(text: str) -> str:
    if re.fullmatch(r"below \d+(\.\d+)?% for \d+(\.\d+)?(ms|s|m)", text) is None:
        raise ValueError(f'"{text}" is not understood. Write: below 50% for 20s.')
    return text


class AbortWhen(Named):
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


class Extension(Named):
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
    trust: tuple[str, ...] = Field(
        (),
        description="Actions of the method, by name, that are of other tools: nothing proves what they did, and the "
        "verdict says so. One that is not named here is refused.",
    )
    platform: str | None = Field(
        None, description="Overlay of the reference platform that a run deploys, unless --platform names another."
    )


class Slo(Named):
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


class Experiment(Named):
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
    def lag_limit_ns(self) -> int:
        """How much later than scheduled a request may be sent and still be on time.

        Where the experiment does not say: `LAG_PART` of the shortest limit that decides whether an answer is good, for
        that is how much of a judged latency may be the load generator's, within `LAG_LIMITS_NS`.
        """
        load = self.bulletproof.load
        if load.lag_limit_ns is not None:
            return load.lag_limit_ns
        judged = [slo.within_ns for slo in self.slos if slo.within_ns is not None]
        shortest = min([*judged, *self.bulletproof.expect.latency_ns.values(), load.timeout_ns])
        least, most = LAG_LIMITS_NS
        return min(max(shortest // LAG_PART, least), most)

    @property
    def foreign_actions(self) -> list[str]:
        """Names of the method's actions that are no faults of ours: their own word is all that speaks for them."""
        return [
            activity["name"]
            for activity in self.chaos["method"]
            if activity["type"] == "action" and activity["provider"].get("module") != "harness.faults"
        ]

    @property
    def rate_changes(self) -> bool:
        """Whether arrivals have more than one rate."""
        return self.trace is not None or self.bulletproof.load.shape is not None
