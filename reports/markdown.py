"""summary.md: the run on one page, made for GitHub's step summary and for merge requests."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from harness.experiment.model import Experiment
from harness.verdict import SEVERITY, CheckResult, Verdict, VerdictName
from reports import story

MARK = {
    VerdictName.PASSED: "✅",
    VerdictName.FAILED: "❌",
    VerdictName.INVALID: "❔",
    VerdictName.ABORTED: "⏹️",
    VerdictName.RESIDUE: "🚨",
    VerdictName.SKIPPED: "⏭️",
}
# GitHub drops a step summary above 1024 KiB as a whole; one run must leave room for the others of a job.
LONGEST_BYTES = 100_000
_MOST_ERRORS = 10


def render(verdict: Verdict, experiment: Experiment | None = None, run_dir: Path | None = None) -> str:
    """The summary: the verdict, why, the promise, what was done, what clients saw, the checks."""
    lines = [
        f"## {MARK[verdict.verdict]} {verdict.verdict.value}: {escape(verdict.title)}",
        "",
        escape(verdict.why),
        "",
    ]
    if experiment is not None and experiment.description:
        lines += [f"> {escape(experiment.description)}", ""]
    for name, sentences in (
        ("Promised", story.promised(experiment)),
        ("Done", story.done(verdict)),
        ("Clients saw", story.saw(verdict)),
    ):
        if sentences:
            lines += [f"- **{name}:** {escape('; '.join(sentences))}"]
    lines += ["", *_checks(verdict), *_errors(verdict)]
    if run_dir is not None:
        lines += ["", f"Report: `{run_dir.name}/report.html` · judge again: `bulletproof judge {run_dir.name}`"]
    text = "\n".join(lines).rstrip() + "\n"
    return text if len(text.encode()) <= LONGEST_BYTES else _cut(text)


def render_suite(verdicts: Sequence[Verdict]) -> str:
    """One line for each run."""
    lines = ["| | experiment | verdict | why |", "|---|---|---|---|"]
    for verdict in sorted(verdicts, key=lambda verdict: SEVERITY.index(verdict.verdict)):
        cells = (escape(story.experiment_name(verdict)), verdict.verdict.value, escape(verdict.why))
        lines.append(f"| {MARK[verdict.verdict]} | {' | '.join(cells)} |")
    passed = sum(verdict.verdict is VerdictName.PASSED for verdict in verdicts)
    text = f"## {passed} of {len(verdicts)} experiments passed\n\n" + "\n".join(lines) + "\n"
    return text if len(text.encode()) <= LONGEST_BYTES else _cut(text)


def _checks(verdict: Verdict) -> list[str]:
    if not verdict.checks:
        return ["No check was made."]
    lines = ["| | check | expected | seen | where |", "|---|---|---|---|---|"]
    return lines + [_check(verdict, check) for check in story.checks_worst_first(verdict)]


def _check(verdict: Verdict, check: CheckResult) -> str:
    seen = escape(check.seen)
    if check.verdict is not VerdictName.PASSED:
        seen += "".join(f"<br>{escape(part)}" for part in (check.why, check.hint) if part)
    cells = (f"{check.verdict.value} {escape(check.name)}", escape(check.expected), seen, story.where(verdict, check))
    return f"| {MARK[check.verdict]} | {' | '.join(cells)} |"


def _errors(verdict: Verdict) -> list[str]:
    errors = story.rows(verdict.measurements, "errors")
    if not errors:
        return []
    lines = [
        "",
        "<details><summary>Errors that clients met</summary>",
        "",
        "| count | outcome | error |",
        "|---:|---|---|",
    ]
    for error in errors[:_MOST_ERRORS]:
        count = story.number(error, "count") or 0
        lines.append(
            f"| {count:,.0f} | {escape(str(error.get('outcome', '')))} | {escape(str(error.get('error') or ''))} |"
        )
    if len(errors) > _MOST_ERRORS:
        lines.append(f"| … | {len(errors) - _MOST_ERRORS} more kinds | see the report |")
    return [*lines, "", "</details>"]


def escape(text: str) -> str:
    """Text of the cluster cannot become markup, a link, a mention or a new table row."""
    text = " ".join(text.split())
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = re.sub(r"([\\`*_\[\]|~#])", r"\\\1", text)
    # A zero-width space keeps GitHub from pinging people and from linking what a pod says.
    return re.sub(r"@(?=\w)", "@\u200b", text).replace("://", ":\u200b//")


def _cut(text: str) -> str:
    kept = text.encode()[:LONGEST_BYTES].decode(errors="ignore").rsplit("\n", 1)[0]
    return f"{kept}\n\nCut here; the report has the rest.\n"
