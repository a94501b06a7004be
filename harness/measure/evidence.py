"""Claims of a fault that only the requests can settle: did the pod fall silent, did it slow down, was the version met?

The harness writes such a claim with what is needed to settle it; here the request records answer. A claim that they
cannot answer (too few of them) is not seen, and says why.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.history import requests as outcomes
from harness.history.columns import Mask, Requests
from harness.history.records import Evidence, Phase
from harness.measure.pods import Pods
from harness.measure.timeline import Strike, Timeline, pod_names
from harness.units import NS_PER_S, format_duration

# kube-proxy follows endpoint changes within 1 to 2 s, and the kubelet gives even a pod that was deleted with grace 0 a
# second for its preStop hook and two more after SIGTERM (seen on 1.36.3: TERM at 1.0 s, the end at 3.1 s).
SILENT_AFTER_NS = 4 * NS_PER_S
CHANCE = 1e-6  # a silence that chance explains more often than this proves nothing
FEWEST_ANSWERS = 20  # for a median


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One claim, settled."""

    fault_id: str
    claim: str
    channel: str
    seen: bool
    t_ns: int
    why: str  # for people: what was seen, or why it was not


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What the claims are settled from."""

    requests: Requests
    timeline: Timeline
    pods: Pods
    baseline: Mask  # requests of the baseline


def settle(strike: Strike, evidence: Evidence, answers: Answers) -> Claim:
    """The claim with its answer."""
    if evidence.channel != "requests" or evidence.seen is False:
        seen, why = evidence.seen is True, evidence.detail
    elif evidence.claim == "pod-silent":
        seen, why = _silent(strike, evidence, answers)
    elif evidence.claim == "latency-added":
        seen, why = _slower(strike, evidence, answers)
    elif evidence.claim == "version-served":
        seen, why = _served(strike, evidence, answers)
    else:
        seen, why = False, f"this Bulletproof cannot settle the claim {evidence.claim} from the requests"
    return Claim(
        fault_id=strike.fault_id,
        claim=evidence.claim,
        channel=evidence.channel,
        seen=seen,
        t_ns=evidence.t_ns,
        why=why,
    )


def _silent(strike: Strike, evidence: Evidence, answers: Answers) -> tuple[bool, str]:
    """No answer, right or wrong, from the pod to what was scheduled later than SILENT_AFTER_NS after its withdrawal."""
    requests = answers.requests
    names = pod_names(evidence.facts, strike.target) or strike.names
    if not names:
        return False, "the evidence names no pod"
    begin = _withdrawn_ns(strike, evidence) + SILENT_AFTER_NS
    end = _end_of(strike, evidence, answers.timeline)
    answered = requests.outcome.is_(outcomes.OK) & requests.pod.known()
    own = requests.pod.is_(*names)
    before = answers.baseline & answered
    share = float((own & before).sum() / before.sum()) if before.any() else 0.0
    if not share:
        return False, f"{_listed(names)} answered nothing in the baseline either: silence proves nothing"
    window = (requests.scheduled_ns >= begin) & (requests.scheduled_ns < end)
    sent = int((window & (requests.sent_ns >= 0)).sum())
    spoke = int((window & own).sum())
    if spoke:
        at = int(requests.scheduled_ns[window & own][-1])
        since = format_duration(at - (begin - SILENT_AFTER_NS))
        return False, f"{_listed(names)} gave {spoke} answers, the last {since} after its endpoint was withdrawn"
    # Requests, not answers: a platform that answers nothing at all any more has lost this pod too.
    if (1 - share) ** sent > CHANCE:
        return False, f"only {sent} requests were sent after {_listed(names)} was withdrawn: its silence may be chance"
    return True, f"no answer from {_listed(names)} to {sent} requests ({share:.0%} of the answers were its own before)"


def _slower(strike: Strike, evidence: Evidence, answers: Answers) -> tuple[bool, str]:
    """The struck pods' median answer is slower by at least half of what was injected."""
    requests = answers.requests
    injected = evidence.facts.get("latency_ns", strike.facts.get("latency_ns"))
    if not isinstance(injected, int | float) or injected <= 0:
        return False, "the evidence names no latency"
    names = pod_names(evidence.facts, strike.target) or strike.names
    answered = (requests.first_byte_ns >= 0) & (requests.sent_ns >= 0)
    if names:
        answered &= requests.pod.is_(*names)
    before = answers.baseline & answered
    begin = _number(evidence, "from_ns", "begin_ns") or strike.injected_ns or strike.begin_ns or 0
    during = np.zeros(len(requests), dtype=np.bool_)
    for end in _ends_of_slowness(strike, evidence, answers.timeline):
        during = answered & (requests.sent_ns >= begin) & (requests.end_ns < end)
        if during.sum() >= FEWEST_ANSWERS:
            break
    who = _listed(names) or "the pods"
    if before.sum() < FEWEST_ANSWERS or during.sum() < FEWEST_ANSWERS:
        return False, f"{who} gave {int(before.sum())} answers before and {int(during.sum())} during it: too few"
    took = requests.end_ns - requests.sent_ns
    normal, slow = float(np.median(took[before])), float(np.median(took[during]))
    told = f"{who}: median {format_duration(slow)} instead of {format_duration(normal)}"
    return slow - normal >= injected / 2, f"{told}, with {format_duration(injected)} injected"


def _served(strike: Strike, evidence: Evidence, answers: Answers) -> tuple[bool, str]:
    """An answer of the version came after the strike, or a pod of it did."""
    version = evidence.facts.get("version", strike.facts.get("version"))
    if version is None:
        return False, "the evidence names no version"
    struck = strike.begin_ns or 0
    requests = answers.requests
    met = int((requests.version.is_(str(version)) & (requests.end_ns >= struck)).sum())
    if met:
        return True, f"version {version} gave {met} answers"
    pods = [
        pod.name
        for pod in answers.pods.pods
        if pod.seen_ns >= struck and str(version) in {value for _, value in pod.environment}
    ]
    if pods:
        return True, f"version {version} gave no answer, but its pods were there: {', '.join(pods[:3])}"
    return False, f"no answer and no pod of version {version} was seen"


def _withdrawn_ns(strike: Strike, evidence: Evidence) -> int:
    named = _number(evidence, "withdrawn_ns", "from_ns")
    if named is not None:
        return named
    seen = [one.t_ns for one in strike.claims if one.claim == "endpoint-withdrawn" and one.seen]
    return max(seen) if seen else max(evidence.t_ns, strike.injected_ns or strike.begin_ns or 0)


def _end_of(strike: Strike, evidence: Evidence, timeline: Timeline) -> int:
    """When the fault's effect may end: named, or its undo, or the rollback phase, or the end of the load."""
    named = _number(evidence, "until_ns", "end_ns")
    undo = [entry.begin_ns for entry in timeline.undo if entry.fault_id == strike.fault_id and entry.begin_ns]
    others = [*undo, timeline.start_of(Phase.ROLLBACK), timeline.stop_ns, named]
    return min((end for end in others if end is not None), default=0)


def _ends_of_slowness(strike: Strike, evidence: Evidence, timeline: Timeline) -> list[int]:
    """A fault with a duration ends with its activity; one without lasts until it is undone."""
    end = _end_of(strike, evidence, timeline)
    if _number(evidence, "until_ns", "end_ns") is not None:
        return [end]
    begin = strike.injected_ns or strike.begin_ns or 0
    ends = [one.t_ns for one in timeline.activities if one.section == "method" and one.step == "end"]
    return [min(end, *(one for one in ends if one > begin)), end] if any(one > begin for one in ends) else [end]


def _number(evidence: Evidence, *names: str) -> int | None:
    for name in names:
        value = evidence.facts.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    return None


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names)
