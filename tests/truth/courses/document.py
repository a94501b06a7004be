"""docs/truth.md: its text is kept by hand, its tables are those of the last whole run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from loadtests.config import GRPC, HTTP
from tests.truth.courses import table
from tests.truth.courses.table import Line

PATH = Path(__file__).resolve().parents[3] / "docs" / "truth.md"


def write(lines: Sequence[Line]) -> None:
    """The tables between their marks are these. Raises ValueError when a mark is missing."""
    text = PATH.read_text(encoding="utf-8")
    for name, content in {"summary": _summary(lines), **tables(lines)}.items():
        marked = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        text, found = marked.subn(lambda match, content=content: f"{match[1]}{content}\n{match[2]}", text)
        if found != 1:
            raise ValueError(f"{PATH}: no place for {name}")
    PATH.write_text(text, encoding="utf-8")


def tables(lines: Sequence[Line]) -> dict[str, str]:
    """By the mark that each has in the document; without those that say nothing of these courses."""
    watched = [line for line in lines if line.poller is not None]
    return {
        **({"families": table.families(lines, HTTP)} if any(line.protocol == HTTP for line in lines) else {}),
        **({"grpc": table.families(lines, GRPC)} if any(line.protocol == GRPC for line in lines) else {}),
        **({"others": table.others(watched), "blind": table.blind(watched)} if watched else {}),
        "loads": table.loads(lines),
    }


def _summary(lines: Sequence[Line]) -> str:
    wrong = [line for line in lines if line.ours.faults]
    outages = sum(len(line.ours.truth.outages) for line in lines)
    invalid = sum(line.ours.verdict == "INVALID" for line in lines)
    matched = sum(line.ours.truth.matched for line in lines)
    text = (
        f"{len(lines)} courses with {outages} outages, {matched:,} requests compared one by one with what the server "
        f"did to them: {len(wrong)} judged wrongly; {invalid} INVALID because the load was not on time. "
        f"{table.where()}."
    )
    for line in wrong:
        text += f"\n- {line.ours.course.name}, {line.ours.course.family}: {'; '.join(line.ours.faults)}"
    return text
