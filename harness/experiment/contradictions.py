"""Which fields of an experiment are right alone and wrong, or probably a disappointment, together."""

from __future__ import annotations

import math
from collections.abc import Iterator

from harness import units
from harness.errors import FileError
from harness.experiment import positions
from harness.experiment.model import Experiment, Extension
from harness.experiment.offered_load import Load
from harness.experiment.positions import Document
from harness.experiment.wrong import error_at


def contradictions(extension: Extension, document: Document, at: positions.Path) -> Iterator[FileError]:
    """Fields that are right alone and wrong together."""
    expect, phases = extension.expect, extension.phases

    def error(path: tuple[str, ...], message: str, hint: str) -> FileError:
        return error_at(document, (*at, *path), message, hint, shown=f"bulletproof.{'.'.join(path)}")

    for name, value in (("baseline", phases.baseline_ns), ("recover", phases.recover_ns), ("settle", phases.settle_ns)):
        if value <= 0:
            yield error(("phases", name), "must be longer than 0.", "Write 15s.")
    load = extension.load
    yield from (error(("load", name), message, hint) for name, message, hint in _arrival_errors(load))
    for name, given in (("hedge_after", load.hedge_after_ns), ("attempt_timeout", load.attempt_timeout_ns)):
        if given is not None and given >= load.timeout_ns:
            yield error(("load", name), "is no earlier than load.timeout.", "Shorten it, or leave it out.")
    for name in ("shape", "trace"):
        if getattr(load, name) is not None and expect.lost_ns is not None:
            message = f"is seconds at one arrival rate, and load.{name} changes it."
            yield error(("expect", "lost"), message, "Use lost_requests.")
    if extension.workload.stable_version is None and (
        expect.stable_within_ns is not None or expect.exposed is not None
    ):
        field = "stable_within" if expect.stable_within_ns is not None else "exposed"
        yield error(("expect", field), "needs to know the stable version.", "Set workload.stable_version.")
    limits = (
        ("recovers_within", expect.recovers_within_ns),
        ("replicas_within", expect.replicas_within_ns),
        ("stable_within", expect.stable_within_ns),
    )
    # Recovery counts from the fault's proven start; the recover phase begins when the method has ended, after that.
    longest = phases.recover_ns + phases.fault_limit_ns
    for name, limit in limits:
        if limit is not None and limit > longest:
            yield error(("expect", name), "is longer than the run would watch.", "Lengthen phases.recover.")
    if expect.hold_ns <= 0:
        yield error(("expect", "hold"), "must be longer than 0.", "Write 2s.")
    if expect.hold_ns > phases.recover_ns:
        yield error(("expect", "hold"), "is longer than the recover phase.", "Lengthen phases.recover.")


def _arrival_errors(load: Load) -> Iterator[tuple[str, str, str]]:
    """(field, what is wrong, what to do): a load is drawn at a rate, or replays a trace."""
    given = load.model_fields_set
    if load.arrivals != "trace":
        if "rate_per_s" not in given:
            yield "rate", "is missing.", ""
        elif load.rate_per_s <= 0:
            yield "rate", "must be more than 0.", "Write 200/s."
        for name in ("trace", "trace_speed"):
            if name in given:
                yield name, "is for arrivals: trace alone.", "Set load.arrivals, or leave it out."
        return
    if load.trace is None:
        yield "arrivals", "needs a file of recorded arrivals.", "Set load.trace."
    for name, field in (("rate_per_s", "rate"), ("shape", "shape")):
        if name in given:
            yield field, "is what the trace says.", "Leave it out; load.trace_speed makes a trace faster."


def warnings(experiment: Experiment) -> list[str]:
    """What may be meant and will probably disappoint: told by `validate` and `plan`, refused by nobody."""
    block = experiment.bulletproof
    told_of: list[str] = []
    phases, replay = block.phases, experiment.replay
    offered = float(experiment.offered(phases.baseline_ns).expected(phases.baseline_ns))
    for slo in experiment.slos:
        needed = math.ceil(math.log(0.05) / math.log(slo.target))
        if offered < needed:
            target = units.format_share(slo.target)
            told_of.append(
                f"the baseline offers about {offered:.0f} requests; to claim {target} of SLO {slo.name} at 95 % takes "
                f"{needed} without a failure: the run will end INVALID. Raise load.rate or lengthen phases.baseline."
            )
    longest_ns = phases.baseline_ns + phases.fault_limit_ns + phases.recover_ns + phases.settle_ns
    if replay is not None and replay.lasts_ns < longest_ns:
        lasts, longest = units.format_duration(replay.lasts_ns), units.format_duration(longest_ns)
        told_of.append(
            f"the trace lasts {lasts} at this speed, the run up to {longest}: it will begin again. A longer trace or a "
            "smaller load.trace_speed avoids that."
        )
    if block.abort_when is None:
        told_of.append("no abort_when: nothing ends the run early when the platform goes down for good.")
    return told_of
