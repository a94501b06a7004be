"""Did the fault really happen? Only what a second channel saw counts; without evidence the run is INVALID."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from harness.checks.answer import Answer, count, invalid, passed
from harness.history.records import Action
from harness.measure.evidence import Claim
from harness.measure.timeline import Strike
from harness.units import format_duration


def fault_proven(
    strikes: Sequence[Strike],
    claims: Mapping[str, Sequence[Claim]],
    activities: Sequence[Action],
    method: Sequence[Mapping[str, Any]],
    span: tuple[int, int] | None,
    *,
    foreign: Sequence[str] = (),
    trusted: Sequence[str] = (),
) -> Answer:
    """Every activity of the method ended well, every fault was injected, and each of its claims was seen.

    `claims` are the settled claims by fault, `method` the activities of the experiment file, `span` the [from, to) of
    the fault and recover phases, `foreign` the actions of other tools, which say themselves that they did something,
    `trusted` those whose word the experiment takes for it.
    """
    broken = _method(activities, method)
    if broken is not None:
        return broken
    for name in foreign:
        if name not in trusted:
            why = f'nothing proves what "{name}" did, another tool\'s action'
            return invalid(why, hint=f"use a fault of harness.faults, or take its word for it: trust: [{name}]")
    hint = "the run shows nothing about the promise: check the fault's selector and permissions, then run again"
    if not any(strike.begin_ns is not None for strike in strikes):
        return invalid("no fault struck anything", seen="no strike", hint=hint)
    for strike in strikes:
        at = strike.begin_ns
        name = f"{strike.fault} on {strike.target}"
        if strike.failed is not None:
            return invalid(f"{name} failed: {strike.failed}", hint=hint, at_ns=at)
        if at is None:
            return invalid(f"{name} was planned and never struck", hint=hint)
        if span is None or not span[0] <= at < span[1]:
            return invalid(f"{name} struck outside of the fault phase", at_ns=at)
        if strike.injected_ns is None:
            return invalid(f"{name} began and was never injected", hint=hint, at_ns=at)
        own = claims.get(strike.fault_id, ())
        if not own:
            return invalid(f"{name} was injected, and nothing was seen of its effect", hint=hint, at_ns=at)
        for claim in own:
            if not claim.seen:
                said = f": {claim.why}" if claim.why else ""
                why = f"{name} is not proven, {claim.claim} was not seen{said}"
                return invalid(why, seen=f"{claim.claim} not seen", hint=hint, at_ns=claim.t_ns)
            if claim.t_ns < at:
                early = format_duration(at - claim.t_ns)
                why = f"{name} is not proven, {claim.claim} was seen {early} before the fault struck"
                return invalid(why, hint=hint, at_ns=claim.t_ns)
        lost = Counter(strike.facts.get("claims", ())) - Counter(claim.claim for claim in own)
        if lost:
            return invalid(f"{name} is not proven, of its claim {min(lost)} nothing is on record", at_ns=at)
    return _proven(strikes, claims, foreign)


def _method(activities: Sequence[Action], method: Sequence[Mapping[str, Any]]) -> Answer | None:
    own = [action for action in activities if action.section == "method"]
    for action in own:
        if action.step == "failed":
            why = f'the activity "{action.name}" failed: {action.detail or "no reason given"}'
            return invalid(why, seen=f'"{action.name}" failed', at_ns=action.t_ns, hint="its error is in the history")
    ended = {action.name for action in own if action.step == "end"}
    for activity in method:
        if activity.get("name") not in ended:
            return invalid(f'the activity "{activity.get("name")}" of the method never ended')
    return None


def _proven(struck: Sequence[Strike], claims: Mapping[str, Sequence[Claim]], foreign: Sequence[str]) -> Answer:
    told = []
    first: int | None = None
    for strike in struck[:4]:
        own = claims[strike.fault_id]
        seen = [claim.t_ns for claim in own]
        first = min([*seen, *([first] if first is not None else [])])
        names = list(dict.fromkeys(claim.claim for claim in own))
        told.append(f"{strike.target}: {', '.join(names)} after {format_duration(max(seen) - (strike.begin_ns or 0))}")
    more = f"; {len(struck) - 4} more" if len(struck) > 4 else ""
    trust = f"; taken on trust: {', '.join(foreign)}" if foreign else ""
    return passed(f"{count(len(struck), 'strike')}; {'; '.join(told)}{more}{trust}", at_ns=first, strikes=len(struck))
