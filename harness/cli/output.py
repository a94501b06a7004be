"""What the commands print, in the two forms there are: for people, and JSON for programs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

_REPORTS = ("verdict.json ", "report.html ", "junit.xml ", "summary.md ")

if TYPE_CHECKING:
    from harness.run.progress import Progress
    from harness.verdict import Verdict


def print_json(data: Any) -> None:
    """One JSON document on stdout, and nothing else there."""
    click.echo(json.dumps(data, indent=2, ensure_ascii=False, default=str))


def to_dict(verdict: Verdict) -> dict[str, Any]:
    """The verdict as in verdict.json."""
    from reports import verdict_json

    return verdict_json.to_dict(verdict)


def verdict_json(verdict: Verdict, run_dir: Path) -> dict[str, Any]:
    """The verdict as in verdict.json, and the run's folder."""
    return {"run_dir": str(run_dir), **to_dict(verdict)}


def print_verdict(verdict: Verdict, run_dir: Path | None = None) -> None:
    """The verdict, the table of its checks, and where the report is when it is that of one run."""
    from rich.console import Console

    from reports.text import plain, render

    report = None if run_dir is None else run_dir / "report.html"
    shown = short(report) if report is not None and report.is_file() else None
    if sys.stdout.isatty():
        Console(highlight=False).print(render(verdict, shown))
    else:
        # A log has no width: lines that a table broke at 80 columns can be neither read nor searched.
        click.echo(plain(verdict, shown), nl=False)


def write_reports(run_dir: Path, verdict: Verdict) -> None:
    """Every report of a run, and last the manifest over all its files."""
    from harness.history.manifest import write_manifest
    from harness.history.reader import History
    from reports import write_all

    write_all(run_dir, verdict, History.read(run_dir))
    write_manifest(run_dir)


def write_overview(folder: Path, verdicts: Sequence[Verdict]) -> Path:
    """The page over several runs, whose folders lie in `folder`, with JUnit and summary beside it. Returns its path."""
    from reports import write_suite

    return write_suite(folder, verdicts)["index.html"]


def markdown(verdict: Verdict) -> str:
    """The verdict for a step summary."""
    from reports.markdown import render

    return render(verdict)


def tell_github(verdicts: Sequence[Verdict], summaries: Sequence[str]) -> None:
    """In GitHub Actions: an annotation for what did not hold, and the step summary. Elsewhere nothing."""
    from reports import github

    if os.environ.get("GITHUB_ACTIONS"):
        for verdict in verdicts:
            file = verdict.environment.get("file")
            # An annotation stands in the file's diff only where the path is the repository's own.
            for line in github.error_lines(verdict, str(short(Path(file))) if isinstance(file, str) else None):
                # GitHub reads both streams, and stdout may be JSON.
                click.echo(line, err=True)
    step_summary = os.environ.get("GITHUB_STEP_SUMMARY")
    for summary in summaries if step_summary else ():
        github.append_step_summary(Path(str(step_summary)), summary)


def progress_for(as_json: bool) -> Progress:
    """A live line in a terminal, plain lines elsewhere; always on stderr, so that stdout holds results only."""
    from harness.run.progress import PlainLines, Silent, TerminalLive

    if sys.stderr.isatty():
        return TerminalLive()
    return Silent() if as_json else PlainLines(sys.stderr)


def short(path: Path) -> Path:
    """Relative to the current folder where it lies inside."""
    try:
        return path.resolve().relative_to(Path.cwd())
    except ValueError:
        return path


def rewrite_reports(run_dir: Path, verdict: Verdict) -> dict[str, Path]:
    """Every report of a run again, and the manifest with them.

    Not the manifest when what was recorded no longer matches it: new hashes would vouch for an altered history. That is
    said on stderr, and no manifest is among the paths.
    """
    from harness.history.manifest import check_manifest, write_manifest
    from harness.history.reader import History
    from reports import write_all

    altered = [problem for problem in check_manifest(run_dir) if not problem.startswith(_REPORTS)]
    written = write_all(run_dir, verdict, History.read(run_dir))
    if altered:
        click.echo(f"The manifest is left as it was: {'; '.join(altered)}.", err=True)
    else:
        written["manifest.json"] = write_manifest(run_dir)
    return written
