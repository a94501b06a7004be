"""Reports: what turns a verdict and a history into HTML, JUnit XML, Markdown, JSON and text. They decide nothing.

- `write_all(run_dir, verdict, history)`: report.html, junit.xml, verdict.json, summary.md of one run
- `write_suite(out_dir, verdicts)`: index.html, junit.xml, summary.md of several
- `text.render(verdict)`, `text.plain(verdict)`: what the terminal ends with
- `github.error_lines(verdict)`: `::error` lines
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.verdict import Verdict

if TYPE_CHECKING:
    from harness.history.reader import History


def write_all(run_dir: Path, verdict: Verdict, history: History | None) -> dict[str, Path]:
    """Write the four reports into `run_dir`; the paths by file name.

    `history` may be None when there is none to read: the reports then say what the verdict says.
    """
    from reports import html, junit, markdown, verdict_json

    # What programs wait for comes first: should drawing fail, CI still has the verdict.
    written = {
        "verdict.json": _write(run_dir / "verdict.json", verdict_json.render(verdict)),
        "junit.xml": _write(run_dir / "junit.xml", junit.render(verdict)),
    }
    experiment = history.experiment if history is not None else None
    written["summary.md"] = _write(run_dir / "summary.md", markdown.render(verdict, experiment, run_dir))
    written["report.html"] = _write(run_dir / "report.html", html.render(run_dir, verdict, history))
    return written


def write_suite(out_dir: Path, verdicts: Sequence[Verdict]) -> dict[str, Path]:
    """Write the overview of several runs into `out_dir`, in which earlier runs' folders may lie; paths by file name."""
    from reports import junit, markdown, suite

    return {
        "junit.xml": _write(out_dir / "junit.xml", junit.render_suite(verdicts)),
        "summary.md": _write(out_dir / "summary.md", markdown.render_suite(verdicts)),
        "index.html": _write(out_dir / "index.html", suite.render(out_dir, verdicts)),
    }


def _write(file: Path, text: str) -> Path:
    """Replaced in one step: whoever opens the report sees the old one or the new one, never half of one."""
    temporary = file.with_name(f".{file.name}.new")
    # surrogateescape'd bytes of a log become a replacement mark instead of an exception at the very end of a run
    temporary.write_bytes(text.encode("utf-8", errors="replace"))
    temporary.replace(file)
    return file
