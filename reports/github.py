"""Lines that GitHub Actions turns into annotations, and the step summary."""

from __future__ import annotations

from pathlib import Path

from harness.verdict import Verdict, VerdictName
from reports import story

STEP_SUMMARY_BYTES = 1024 * 1024  # GitHub drops the whole summary of a step above this


def error_lines(verdict: Verdict, file: str | None = None) -> list[str]:
    """One `::error` line for each check that did not hold (`::notice` for SKIPPED); none for PASSED.

    `file` is the experiment file, relative to the repository, where the annotation shall stand.
    """
    if verdict.verdict is VerdictName.PASSED:
        return []
    where = file or _experiment_file(verdict)
    broken = [check for check in story.checks_worst_first(verdict) if check.verdict is not VerdictName.PASSED]
    if not broken:
        return [_line(verdict.verdict, where, f"{verdict.verdict.value}: {verdict.title}", verdict.why)]
    lines = []
    for check in broken:
        sentence = check.why or f"expected {check.expected}, seen {check.seen}"
        message = "\n".join(part for part in (sentence, check.hint) if part)
        lines.append(_line(check.verdict, where, f"{check.verdict.value}: {check.name}", message))
    return lines


def append_step_summary(file: Path, text: str) -> bool:
    """Add `text` to the step summary (`$GITHUB_STEP_SUMMARY`). False: it no longer fits, nothing was added."""
    size = file.stat().st_size if file.exists() else 0
    data = text.encode()
    if size + len(data) > STEP_SUMMARY_BYTES:
        return False
    with file.open("ab") as stream:
        stream.write(data)
    return True


def _experiment_file(verdict: Verdict) -> str:
    file = verdict.environment.get("file")
    return file if isinstance(file, str) else ""


def _line(verdict: VerdictName, file: str, title: str, message: str) -> str:
    command = "notice" if verdict is VerdictName.SKIPPED else "error"
    properties = [f"file={_property(file)}"] if file else []
    properties.append(f"title={_property(title)}")
    return f"::{command} {','.join(properties)}::{_data(message)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
