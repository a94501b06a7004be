"""What a run ends with: a verdict, and the checks that led to it.

A check ends PASSED, FAILED or INVALID ("cannot say"); the check of the undo may end RESIDUE, that of the run's end
ABORTED. The verdict is the worst of them, with one distinction. *Instrument* checks (load delivered, baseline steady,
fault proven, history complete) say whether anything may be concluded; when one of them is INVALID the whole run is.
*Promise* checks judge the platform; among them a proven failure outranks a missing answer.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from harness import errors

FORMAT = 1  # of verdict.json; reports/schema/verdict.schema.json describes it


class VerdictName(StrEnum):
    """The six endings of the design, with the exit code of each in `EXIT_CODES`."""

    PASSED = "PASSED"
    FAILED = "FAILED"
    INVALID = "INVALID"
    ABORTED = "ABORTED"
    RESIDUE = "RESIDUE"
    SKIPPED = "SKIPPED"


EXIT_CODES = {
    VerdictName.PASSED: errors.EXIT_PASSED,
    VerdictName.FAILED: errors.EXIT_FAILED,
    VerdictName.INVALID: errors.EXIT_INVALID,
    VerdictName.ABORTED: errors.EXIT_ABORTED,
    VerdictName.RESIDUE: errors.EXIT_RESIDUE,
    VerdictName.SKIPPED: errors.EXIT_SKIPPED,
}


# Of several runs the first of these that is among them counts. A residue is live damage; a proven failure outranks
# what is only unknown; an experiment that was skipped is never hidden by those that passed.
SEVERITY = (
    VerdictName.RESIDUE,
    VerdictName.FAILED,
    VerdictName.ABORTED,
    VerdictName.INVALID,
    VerdictName.SKIPPED,
    VerdictName.PASSED,
)


class CheckKind(StrEnum):
    """Whether a check asks about the instrument or about the platform."""

    INSTRUMENT = "instrument"
    PROMISE = "promise"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """One check: what was expected, what was seen, and where in the history."""

    name: str  # snake_case, stable: `recovers_within`, `load_delivered`, `slo_detector_availability`
    kind: CheckKind
    verdict: VerdictName
    expected: str  # for people: "service back within 5 s"
    seen: str  # for people: "back after 0.31 s (between 0.30 s and 0.31 s)"
    why: str = ""  # one sentence; required unless PASSED
    hint: str = ""  # what to do about it
    at_ns: int | None = None  # monotonic time in the history where it shows
    measured: dict[str, Any] = field(default_factory=dict)  # the figures behind `seen`, with units in their names


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The run's ending. `measurements` holds what the reports draw (see `harness.judge`)."""

    run_id: str
    title: str
    verdict: VerdictName
    why: str  # the sentence that a person reads first
    checks: tuple[CheckResult, ...]
    measurements: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """The process exit code of the design's table."""
        return EXIT_CODES[self.verdict]


def conclude(checks: tuple[CheckResult, ...]) -> VerdictName:
    """The worst ending: RESIDUE, ABORTED, INVALID instrument, FAILED, INVALID promise, PASSED. No checks: INVALID."""
    seen = {check.verdict for check in checks}
    instrument = {check.verdict for check in checks if check.kind is CheckKind.INSTRUMENT}
    for name in (VerdictName.RESIDUE, VerdictName.ABORTED, VerdictName.SKIPPED):
        if name in seen:
            return name
    if not instrument or VerdictName.INVALID in instrument:
        return VerdictName.INVALID
    for name in (VerdictName.FAILED, VerdictName.INVALID):
        if name in seen:
            return name
    return VerdictName.PASSED
