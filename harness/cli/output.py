"""What the commands print, in the two forms there are: for people, and JSON for programs."""

from __future__ import annotations

import json
import sys
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


def verdict_json(verdict: Verdict, run_dir: Path) -> dict[str, Any]:
    """The verdict as in verdict.json, and the run's folder."""
    from reports.verdict_json import to_dict

    return {"run_dir": str(run_dir), **to_dict(verdict)}


def print_verdict(verdict: Verdict, run_dir: Path) -> None:
    """The verdict, the table of its checks, and where the report is."""
    from rich.console import Console

    from reports.text import plain, render

    report = run_dir / "report.html"
    shown = short(report) if report.is_file() else None
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

    Not the manifest when what was recorded no longer matches it: new hashes would vouch for an altered history.
    """
    from harness.history.manifest import check_manifest, write_manifest
    from harness.history.reader import History
    from reports import write_all

    altered = [problem for problem in check_manifest(run_dir) if not problem.startswith(_REPORTS)]
    written = write_all(run_dir, verdict, History.read(run_dir))
    if altered:
        click.echo(f"The manifest is left as it was: {'; '.join(altered)}.", err=True)
    else:
        write_manifest(run_dir)
    return written
