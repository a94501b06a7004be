"""What a run would touch, and how each of it would be put back. Reads the cluster and changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import guard, units
from harness.errors import EXIT_INVALID, EXIT_PASSED, BulletproofError, InvalidRun, UsageError
from harness.experiment.model import Experiment
from harness.guard import GuardError, Refusal, Target

if TYPE_CHECKING:
    from clusters.provider import Access
    from harness.kube import Cluster

FORMAT = 1  # of plan.json


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One activity of the method, and what it would strike now."""

    activity: str
    type: str  # action | probe
    calls: str  # harness.faults.pod_kill, or a program or URL
    arguments: dict[str, Any]
    ours: bool  # False: not guarded, no proof and no undo of ours
    targets: tuple[Target, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What would happen, in order, and why it may not."""

    experiment: str
    title: str
    file: str
    cluster: dict[str, str]  # name, provider, context
    namespace: str
    service: str
    load: dict[str, Any]
    phases_ns: dict[str, int]
    steps: tuple[Step, ...]
    missing: tuple[str, ...]  # capabilities that the cluster does not offer: the run would end SKIPPED
    refusals: tuple[Refusal, ...]

    @property
    def exit_code(self) -> int:
        """0 when the run would begin, 2 when the guard refuses it."""
        return EXIT_INVALID if self.refusals else EXIT_PASSED

    def to_json(self) -> dict[str, Any]:
        """As in plan.json."""
        return {"format": FORMAT, **asdict(self)}

    def text(self) -> str:
        """For people: the promise, the load, each target with its undo, and what is refused."""
        lines = [self.title, f"  {self.file} on {self.cluster['name']} (context {self.cluster['context']})", ""]
        lines += [f"Load     {self._load()}", f"Phases   {self._phases()}", "Method"]
        for step in self.steps:
            lines.append(f"  {step.activity}: {step.calls}")
            lines += [
                f"    strikes {_place(target)}" + (f" ({target.detail})" if target.detail else "")
                for target in step.targets
            ]
            lines += [f"    undo    {undo}" for undo in dict.fromkeys(target.undo for target in step.targets) if undo]
            if not step.ours and step.type == "action":
                lines.append("    not one of ours: it is taken on trust, and not undone by Bulletproof")
        if self.missing:
            lines += ["", f"The cluster does not offer {', '.join(self.missing)}: the run would end SKIPPED."]
        for refusal in self.refusals:
            lines += ["", f"Refused: {refusal.message}"]
            lines += [f"  Hint: {refusal.hint}"] if refusal.hint else []
        return "\n".join([*lines, "", "Nothing was touched."])

    def _load(self) -> str:
        how = self.load["arrivals"]
        if self.load["shape"] is not None:
            how = f"{self.load['shape']}, {how}"
        if (trace := self.load["trace"]) is not None:
            lasts = units.format_duration(trace["lasts_ns"])
            how = f"as in {trace['file']} at {trace['speed']:g} x its speed, which begins again after {lasts}"
        return (
            f"{self.load['rate_per_s']:.4g}/s, {how}, about {self.load['requests']:,} requests "
            f"to Service {self.service} in namespace {self.namespace}"
        )

    def _phases(self) -> str:
        limit = {"fault": "at most "}
        shown = (f"{name} {limit.get(name, '')}{units.format_duration(ns)}" for name, ns in self.phases_ns.items())
        return ", ".join(shown)


def make_plan(experiment: Experiment, cluster: Cluster, access: Access, *, refuse: bool = True) -> Plan:
    """What the run would do now. Raises GuardError when it may not, unless `refuse` is False: then the plan says so."""
    block = experiment.bulletproof
    steps, refusals = _steps(experiment, cluster)
    targets = [target for step in steps for target in step.targets]
    refusals = [*guard.refusals(experiment, cluster, access, targets), *refusals]
    refusals = list({refusal.message: refusal for refusal in refusals}.values())
    if refusals and refuse:
        raise GuardError(refusals)
    phases = block.phases
    duration_ns = phases.baseline_ns + phases.recover_ns + phases.settle_ns
    return Plan(
        experiment=Path(experiment.file).stem,
        title=experiment.title,
        file=experiment.file,
        cluster={"name": access.name, "provider": access.provider, "context": access.context},
        namespace=block.workload.namespace,
        service=block.workload.service,
        load={
            "rate_per_s": block.load.rate_per_s,
            "arrivals": block.load.arrivals,
            "shape": block.load.shape,
            "trace": _trace(experiment),
            "requests": round(float(experiment.offered(duration_ns).expected(duration_ns))),
            "protocol": block.workload.protocol,
            "seed": block.load.seed,
        },
        phases_ns={
            "baseline": phases.baseline_ns,
            "fault": phases.fault_limit_ns,
            "recover": phases.recover_ns,
            "settle": phases.settle_ns,
        },
        steps=tuple(steps),
        missing=tuple(word for word in block.requires if word not in access.offers),
        refusals=tuple(refusals),
    )


def _trace(experiment: Experiment) -> dict[str, Any] | None:
    replay, load = experiment.replay, experiment.bulletproof.load
    if replay is None:
        return None
    return {"file": load.trace, "speed": load.trace_speed, "lasts_ns": replay.lasts_ns}


def look(experiment: Experiment, cluster: str, platform: str | None, config: Path | None = None) -> Plan:
    """The plan for a cluster by its name. One that ends with a run is brought up with its platform, and ends again.

    Any other cluster is only read: one that does not run is not started, and nothing is deployed.
    """
    from clusters.provider import provider_for
    from harness import rights
    from harness.kube import Cluster

    provider = provider_for(cluster, config)
    fresh = provider.ephemeral
    if not fresh and platform is not None:
        raise UsageError("A plan changes nothing, so it deploys nothing.", hint="Leave --platform out.")
    if not fresh and not provider.status().get("running"):
        raise InvalidRun(f"{cluster} cannot be reached.", hint=f"Is it running? bulletproof cluster status {cluster}")
    with ExitStack() as stack:
        access = provider.up()
        if fresh:
            stack.callback(provider.down, access)
            named = platform or experiment.bulletproof.platform or access.default_platform
            if named is not None:
                provider.deploy(access, named, lambda _: None)
        found = Cluster.connect(access.kubeconfig, access.context, node_commands=access.node_commands)
        rights.check(experiment, found, access)
        return make_plan(experiment, found, access, refuse=False)


def _steps(experiment: Experiment, cluster: Cluster) -> tuple[list[Step], list[Refusal]]:
    from harness import faults

    steps: list[Step] = []
    refusals: list[Refusal] = []
    allowed = not any(guard.namespace_refusals(experiment.bulletproof.workload.namespace, cluster))
    for activity in experiment.chaos["method"]:
        provider = activity["provider"]
        ours = provider["type"] == "python" and provider["module"] == "harness.faults"
        targets: Sequence[Target] = ()
        arguments = guard.arguments_of(activity, experiment)
        if ours and allowed:  # what is in a namespace that has not opted in is nobody's business
            filled = {**activity, "provider": {**provider, "arguments": arguments}}
            try:
                targets = faults.planned_targets(filled, cluster, experiment)
            except BulletproofError as error:
                refusals.append(Refusal(rule="zero-targets", message=error.message, hint=error.hint))
        steps.append(
            Step(
                activity=activity["name"],
                type=activity["type"],
                calls=_calls(provider),
                arguments=arguments,
                ours=ours,
                targets=tuple(targets),
            )
        )
    return steps, refusals


def _calls(provider: dict[str, Any]) -> str:
    if provider["type"] == "python":
        return f"{provider['module']}.{provider['func']}"
    return str(provider.get("path") or provider.get("url"))


def _place(target: Target) -> str:
    return f"{target.kind.lower()} {target.name}" + (f" in {target.namespace}" if target.namespace else "")
