"""How every fault strikes: undo first, then the act, then the proof; and what it is given to do so.

`strike` orders the calls and writes the records. A fault says what it touches (`undo`), does it (`inject`) and names
what a second channel must show (`claims`); it knows nothing of journals, threads or deadlines.
"""

from __future__ import annotations

import contextlib
import contextvars
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

from clusters.provider import IMAGE
from harness import guard, units
from harness.errors import Interrupted, InvalidRun
from harness.experiment.model import BlastRadius
from harness.faults._prove import Claim, Prover
from harness.history.records import Evidence, FaultStrike, Record
from harness.kube import Cluster
from harness.undo.entry import Entry, Residue
from harness.undo.journal import Journal

PROOF_WITHIN_S = 10.0


class FaultError(InvalidRun):
    """A fault could not be injected; what it had planned is undone at the run's end."""


@dataclass(slots=True, kw_only=True)
class Aim:
    """What choosing a target takes."""

    cluster: Cluster
    namespace: str
    selector: str  # of the workload's pods
    service: str
    rng: random.Random
    blast_radius: BlastRadius
    load_host: str = ""  # where the load enters the cluster; empty before the load is connected

    def refuse_excess(self, *, pods: int, nodes: int, total: int, left: int) -> None:
        """Raises FaultError when striking so much breaks the blast radius. The plan's check may be minutes old."""
        broken = list(guard.exceeded(self.blast_radius, pods=pods, nodes=nodes, total=total, left=left))
        if broken:
            raise FaultError("\n".join(refusal.message for refusal in broken), hint=broken[0].hint)


@dataclass(slots=True, kw_only=True)
class FaultContext(Aim):
    """What a fault may use, and where. One for each run; the run replaces `deadline_ns` and `interrupted` by phase."""

    journal: Journal
    record: Callable[[Record], None]
    deadline_ns: int  # monotonic; faults end by then. 0: none is set
    run_dir: Path
    interrupted: threading.Event
    image: str = IMAGE  # what pods of ours run; the platform's own image has the proxies too
    must_prove: bool = False  # nobody judges later: a proof that does not come is an error at once
    prepared: dict[str, Any] = field(default_factory=dict)  # by fault: what `prepare` put in place
    counts: dict[str, int] = field(default_factory=dict)

    def next_id(self, fault: str) -> str:
        """pod-kill-1, pod-kill-2, …"""
        self.counts[fault] = self.counts.get(fault, 0) + 1
        return f"{fault}-{self.counts[fault]}"

    def check(self) -> None:
        """Raises Interrupted when the run is to stop."""
        if self.interrupted.is_set():
            raise Interrupted("the fault was stopped")

    def wait(self, seconds: float) -> None:
        """Let time pass. Raises Interrupted at once when the run is to stop."""
        if self.interrupted.wait(max(0.0, seconds)):
            raise Interrupted("the fault was stopped")

    def ends(self, within_ns: int) -> float:
        """The monotonic second by which an act that may take `within_ns` must have ended."""
        end_ns = time.monotonic_ns() + within_ns
        return (min(end_ns, self.deadline_ns) if self.deadline_ns else end_ns) / 1e9


class Fault(Protocol):
    """One fault on one target."""

    name: ClassVar[str]  # pod-kill

    @property
    def target(self) -> str:
        """For people: pod/NAME, node/NAME."""
        ...

    @property
    def facts(self) -> dict[str, Any]:
        """What the judge must know of the target."""
        ...

    def undo(self, cluster: Cluster, fault_id: str, run_id: str) -> list[Entry]:
        """What puts it back, in the order of the acts."""
        ...

    def inject(self, context: FaultContext, undo: Sequence[Entry]) -> dict[str, Any]:
        """Do it. Returns facts that are known only now."""
        ...

    def claims(self, cluster: Cluster) -> list[Claim]:
        """What must be seen through another channel for the fault to count."""
        ...


def strike(context: FaultContext, faults: Sequence[Fault], *, within_s: float = PROOF_WITHIN_S) -> list[str]:
    """Strike all targets, then wait for the proof of each. Returns the fault ids.

    Every undo is written before the first act. Raises FaultError when an act fails; a proof that does not come within
    `within_s` seconds of the act is recorded as not seen, and the judge says what that means.
    """
    context.check()
    struck = [(context.next_id(fault.name), fault) for fault in faults]
    entries = {id_: fault.undo(context.cluster, id_, context.journal.run_id) for id_, fault in struck}
    claims = {fault_id: fault.claims(context.cluster) for fault_id, fault in struck}
    _refuse_what_proves_nothing(claims)
    undo = {fault_id: _plan(context, fault_id, fault, entries[fault_id]) for fault_id, fault in struck}
    prover = Prover(context.record, claims)
    with prover:
        for fault_id, fault in struck:
            context.check()
            # By name: one whose record is lost must not be one that was never made.
            announced = [claim.name for claim in claims[fault_id]]
            _note(context, "begin", fault_id, fault, facts={"claims": announced})
            prover.begin(fault_id)
            try:
                facts = fault.inject(context, undo[fault_id])
            except InvalidRun as error:
                _note(context, "failed", fault_id, fault, detail=error.message)
                raise FaultError(f"{fault.name} on {fault.target}: {error.message}", hint=error.hint) from error
            except Interrupted as error:
                _note(context, "failed", fault_id, fault, detail=str(error))
                raise
            _note(context, "injected", fault_id, fault, facts=facts)
        prover.wait(within_s, context.interrupted)
    if context.must_prove and prover.not_seen:
        raise FaultError(f"not proven within {within_s:g} s: {', '.join(prover.not_seen)}")
    return [fault_id for fault_id, _ in struck]


def claim_of_requests(context: FaultContext, fault_id: str, claim: str, detail: str, **facts: Any) -> None:
    """A claim that the judge settles from the requests, with what it needs for that."""
    context.record(
        Evidence(
            t_ns=time.monotonic_ns(),
            fault_id=fault_id,
            claim=claim,
            channel="requests",
            seen=None,
            detail=detail,
            facts=facts,
        )
    )


def raise_residue(residues: Sequence[Residue]) -> None:
    """Raises errors.Residue that prints all of it; nothing when there is none."""
    from harness import errors

    if residues:
        raise errors.Residue("left behind:\n" + "\n".join(str(residue) for residue in residues))


# -- the context of the run --

_current: contextvars.ContextVar[FaultContext | None] = contextvars.ContextVar("bulletproof_faults", default=None)


@contextlib.contextmanager
def use(context: FaultContext) -> Iterator[FaultContext]:
    """Faults that are called while this is open belong to this run."""
    token = _current.set(context)
    try:
        yield context
    finally:
        _current.reset(token)


def current(
    namespace: str = "",
    selector: str = "",
    *,
    configuration: dict[str, Any] | None = None,
    secrets: dict[str, Any] | None = None,
) -> FaultContext:
    """The run's context; under plain `chaos run`, one of our own, with its own journal. Raises FaultError."""
    context = _current.get()
    if context is None:
        from harness.faults._standalone import standalone

        return standalone(namespace, selector, configuration or {}, secrets or {})
    if namespace and namespace != context.namespace:
        raise FaultError(
            f"the fault names the namespace {namespace}, the workload is in {context.namespace}",
            hint="a run strikes only where its guard and its journal are",
        )
    return context


def in_run() -> FaultContext | None:
    """The run's context; None under plain `chaos run`."""
    return _current.get()


def duration_ns(name: str, text: str) -> int:
    """An argument with its unit. Raises FaultError that says how to write it."""
    try:
        return units.parse_duration_ns(text)
    except ValueError as error:
        raise FaultError(f"{name}: {error}") from error


# -- inside --


def _plan(context: FaultContext, fault_id: str, fault: Fault, entries: Sequence[Entry]) -> list[Entry]:
    planned = [context.journal.plan(entry, context.record) for entry in entries]
    _note(context, "planned", fault_id, fault)
    return planned


def _note(
    context: FaultContext,
    step: str,
    fault_id: str,
    fault: Fault,
    *,
    detail: str = "",
    facts: dict[str, Any] | None = None,
) -> None:
    context.record(
        FaultStrike(
            t_ns=time.monotonic_ns(),
            step=step,
            fault_id=fault_id,
            fault=fault.name,
            target=fault.target,
            detail=detail,
            facts={**fault.facts, **(facts or {})},
        )
    )


def _refuse_what_proves_nothing(claims: dict[str, list[Claim]]) -> None:
    for each in (claim for several in claims.values() for claim in several):
        already = each.look()
        if already:
            raise FaultError(
                f"{each.name} holds before the fault ({already}): it could prove nothing",
                hint="the platform is not as the experiment expects it; nothing was touched",
            )
