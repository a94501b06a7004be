"""What the terminal ends with: the verdict, the table of checks, where the report lies."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from harness.verdict import CheckResult, Verdict, VerdictName
from reports import story

if TYPE_CHECKING:
    from rich.console import RenderableType

MARK = {
    VerdictName.PASSED: "✓",
    VerdictName.FAILED: "✗",
    VerdictName.INVALID: "?",
    VerdictName.ABORTED: "■",
    VerdictName.RESIDUE: "!",
    VerdictName.SKIPPED: "–",
}
STYLE = {
    VerdictName.PASSED: "green",
    VerdictName.FAILED: "bold red",
    VerdictName.INVALID: "bold yellow",
    VerdictName.ABORTED: "bold magenta",
    VerdictName.RESIDUE: "bold white on red",
    VerdictName.SKIPPED: "cyan",
}


def render(verdict: Verdict, report: Path | None = None) -> RenderableType:
    """For a terminal: the verdict line, why, the checks, the report's path. Colour is the console's."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    style = STYLE[verdict.verdict]
    parts: list[RenderableType] = [
        Text.assemble(
            (f" {MARK[verdict.verdict]} {verdict.verdict.value} ", f"{style} reverse"),
            " ",
            (_line(verdict.title), "bold"),
        ),
        Padding(Text(_line(verdict.why)), (0, 0, 1, 1)),
    ]
    if verdict.checks:
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
        table.add_column("")
        table.add_column("check", overflow="fold")
        table.add_column("expected", overflow="fold", ratio=2)
        table.add_column("seen", overflow="fold", ratio=3)
        for check in story.checks_worst_first(verdict):
            seen = Text(_line(check.seen))
            for note in _notes(check):
                seen.append(f"\n{note}", style="dim")
            mark = Text(f" {MARK[check.verdict]}", style=STYLE[check.verdict])
            table.add_row(mark, Text(check.name), Text(_line(check.expected)), seen)
        parts += [table, Text("")]
    if report is not None:
        # On a line of its own where it would not fit behind the word, and folded rather than cropped beyond that.
        parts.append(Text.assemble(("Report ", "dim"), str(report), overflow="fold"))
    return Group(*parts)


def plain(verdict: Verdict, report: Path | None = None, width: int = 80) -> str:
    """For a log: the same without colour, each check in lines of at most `width` characters."""
    lines = [f"{verdict.verdict.value}: {_line(verdict.title)}"]
    lines += _wrap(verdict.why, width, "  ", "  ")
    if verdict.checks:
        lines.append("")
    for check in story.checks_worst_first(verdict):
        lines.append(f"{check.verdict.value:<8} {check.name}")
        for label, text in (
            ("expected", check.expected),
            ("seen", check.seen),
            *(("", note) for note in _notes(check)),
        ):
            first = f"         {label:<9}"
            lines += _wrap(text, width, first, " " * len(first))
    if report is not None:
        lines += ["", f"Report: {report}"]
    return "\n".join(lines) + "\n"


def _wrap(text: str, width: int, first: str, others: str) -> list[str]:
    # Names stay whole (`detector-7d9f-abcde`): a log is searched for them.
    wrapper = textwrap.TextWrapper(
        width, initial_indent=first, subsequent_indent=others, break_on_hyphens=False, break_long_words=False
    )
    return wrapper.wrap(_line(text))


def _notes(check: CheckResult) -> list[str]:
    if check.verdict is VerdictName.PASSED:
        return []
    # `why` often says `seen` in a whole sentence; twice the same words help nobody.
    why = [] if not check.why or check.why == check.seen else [check.why]
    return [_line(note) for note in (*why, f"hint: {check.hint}" if check.hint else "") if note]


def _line(text: str) -> str:
    """One line without control characters: a pod's error message must not move the terminal's cursor."""
    return "".join(char if char.isprintable() else " " for char in " ".join(text.split()))
