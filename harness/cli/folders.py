"""Folders that people name: a run's own, or one that holds several."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from harness.errors import UsageError


def run_folders(given: Iterable[Path]) -> list[Path]:
    """The runs' folders in those given, in order. Raises UsageError for one that is and holds none."""
    found: dict[Path, None] = {}
    for folder in given:
        inside = [folder] if (folder / "run.json").is_file() else sorted(one.parent for one in folder.rglob("run.json"))
        if not inside:
            raise UsageError(
                f"{folder} is no run's folder, and holds none: there is no run.json.",
                hint="Name the folder that `bulletproof run` wrote; `bulletproof list runs` shows them.",
            )
        for one in inside:
            found.setdefault(one)
    return list(found)


def recorded_runs(folder: Path) -> list[dict[str, str]]:
    """What is known of each run in a folder, the newest first. The verdict is the one written, not judged again."""
    rows = [_row(file.parent) for file in folder.rglob("run.json")]
    return sorted(rows, key=lambda row: (row["started"], row["name"]), reverse=True)


def _row(run_dir: Path) -> dict[str, str]:
    run = _read(run_dir / "run.json")
    started_ns = run.get("started_wall_ns")
    verdict = _read(run_dir / "verdict.json").get("verdict")
    started = age = ""
    if isinstance(started_ns, int):
        from harness.gate import age_text

        started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started_ns / 1e9))
        age = age_text(time.time_ns() - started_ns)
    return {
        "name": str(run.get("run_id", run_dir.name)),
        "verdict": str(verdict) if verdict else "none",
        "experiment": str(run.get("experiment", "")),
        "platform": str(run.get("platform") or ""),
        "started": started,
        "age": age,
        "run_dir": str(run_dir),
    }


def _read(file: Path) -> dict[str, Any]:
    """The JSON object of a file; empty for what is none: a list of runs must not end at a broken one."""
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}
