"""The endings that a check has. The unknown has its own: `invalid` is "cannot say", never "fine"."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from harness.verdict import CheckKind, CheckResult, VerdictName


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a check found. `why` is one sentence; it is empty only where the check passed."""

    verdict: VerdictName
    seen: str
    why: str = ""
    hint: str = ""
    at_ns: int | None = None
    measured: dict[str, Any] = field(default_factory=dict)

    def result(self, name: str, kind: CheckKind, expected: str) -> CheckResult:
        """As the check of that name, for a verdict."""
        return CheckResult(
            name=name,
            kind=kind,
            verdict=self.verdict,
            expected=expected,
            seen=self.seen,
            why=self.why,
            hint=self.hint,
            at_ns=self.at_ns,
            measured=self.measured,
        )


def passed(seen: str, *, at_ns: int | None = None, **measured: Any) -> Answer:
    """It holds."""
    return Answer(verdict=VerdictName.PASSED, seen=seen, at_ns=at_ns, measured=measured)


def failed(seen: str, why: str, *, hint: str = "", at_ns: int | None = None, **measured: Any) -> Answer:
    """It does not hold, and that is certain."""
    return Answer(verdict=VerdictName.FAILED, seen=seen, why=why, hint=hint, at_ns=at_ns, measured=measured)


def invalid(why: str, *, seen: str = "", hint: str = "", at_ns: int | None = None, **measured: Any) -> Answer:
    """The history does not say."""
    return Answer(
        verdict=VerdictName.INVALID, seen=seen or "cannot say", why=why, hint=hint, at_ns=at_ns, measured=measured
    )


def count(number: int, one: str, many: str | None = None) -> str:
    """`1 request`, `12,345 requests`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
