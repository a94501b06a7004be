"""verdict.json: the verdict for programs, as `schema/verdict.schema.json` describes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from harness.verdict import FORMAT, CheckKind, CheckResult, Verdict, VerdictName
from reports.jsonsafe import dumps, jsonable

SCHEMA_FILE = Path(__file__).parent / "schema" / "verdict.schema.json"


def to_dict(verdict: Verdict) -> dict[str, Any]:
    """The verdict as plain JSON data, the sentence that matters first."""
    return {
        "format": FORMAT,
        "run_id": verdict.run_id,
        "title": verdict.title,
        "verdict": verdict.verdict.value,
        "exit_code": verdict.exit_code,
        "why": verdict.why,
        "checks": [_check(check) for check in verdict.checks],
        "measurements": jsonable(verdict.measurements),
        "environment": jsonable(verdict.environment),
    }


def render(verdict: Verdict) -> str:
    """The text of verdict.json."""
    return dumps(to_dict(verdict), indent=2) + "\n"


def from_dict(data: dict[str, Any]) -> Verdict:
    """A verdict as it was written. Raises KeyError or ValueError when `data` is not one, or of another format."""
    if data["format"] != FORMAT:
        raise ValueError(f"verdict.json has format {data['format']}; this version reads format {FORMAT}")
    return Verdict(
        run_id=data["run_id"],
        title=data["title"],
        verdict=VerdictName(data["verdict"]),
        why=data["why"],
        checks=tuple(
            CheckResult(
                name=check["name"],
                kind=CheckKind(check["kind"]),
                verdict=VerdictName(check["verdict"]),
                expected=check["expected"],
                seen=check["seen"],
                why=check["why"],
                hint=check["hint"],
                at_ns=check["at_ns"],
                measured=check["measured"],
            )
            for check in data["checks"]
        ),
        measurements=data["measurements"],
        environment=data["environment"],
    )


def read(file: Path) -> Verdict:
    """The verdict that `file` holds. Raises OSError, KeyError or ValueError."""
    return from_dict(json.loads(file.read_text(encoding="utf-8")))


def _check(check: CheckResult) -> dict[str, Any]:
    return {
        "name": check.name,
        "kind": check.kind.value,
        "verdict": check.verdict.value,
        "expected": check.expected,
        "seen": check.seen,
        "why": check.why,
        "hint": check.hint,
        "at_ns": jsonable(check.at_ns),
        "measured": jsonable(check.measured),
    }
