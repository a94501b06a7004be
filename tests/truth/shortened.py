"""The shipped experiments with shorter phases, run through the command line as a user would.

`python -m tests.truth.shortened NAME FOLDER LOAD` writes one there, with the fields of LOAD (JSON) in its load, and
prints its path.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.truth.busy import too_busy

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"
RUN_LIMIT_S = 170


@dataclass(frozen=True)
class Ended:
    """A finished command: its exit code, its verdict where it wrote one, and what it said."""

    exit_code: int
    verdict: dict[str, Any]
    output: str
    run_dir: Path

    def check(self, name: str) -> dict[str, Any]:
        """The check of that name."""
        return next(check for check in self.verdict["checks"] if check["name"] == name)

    def not_passed(self) -> dict[str, str]:
        """Name -> verdict of every check that did not pass."""
        return {check["name"]: check["verdict"] for check in self.verdict["checks"] if check["verdict"] != "PASSED"}


def shortened(name: str, folder: Path, *, phases: dict[str, str] | None = None, **changes: Any) -> Path:
    """A copy of experiments/NAME.yaml in `folder`, with its SLO and golden files and short phases.

    `changes` replaces keys of the bulletproof block (merged one level deep); `method` and `rollbacks` replace those of
    the document.
    """
    document = yaml.safe_load((EXPERIMENTS / f"{name}.yaml").read_text(encoding="utf-8"))
    block = next(extension for extension in document["extensions"] if extension["name"] == "bulletproof")
    block["phases"] = {**block.get("phases", {}), **(phases or {"baseline": "5s", "recover": "12s", "settle": "4s"})}
    for key, value in changes.items():
        if key in ("method", "rollbacks", "configuration"):
            document[key] = value
        else:
            block[key] = {**block.get(key, {}), **value} if isinstance(value, dict) else value
    folder.mkdir(parents=True, exist_ok=True)
    for sub in ("slos", "golden"):
        shutil.copytree(EXPERIMENTS / sub, folder / sub, dirs_exist_ok=True)
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    return path


def command(*arguments: str) -> list[str]:
    """The `bulletproof` of this environment."""
    return [str(Path(sys.executable).parent / "bulletproof"), *arguments]


def run(path: Path, out: Path, *arguments: str, env: dict[str, str] | None = None) -> Ended:
    """`bulletproof run PATH --out OUT …` to its end."""
    done = subprocess.run(
        command("run", str(path), "--out", str(out), *arguments),
        capture_output=True,
        text=True,
        timeout=RUN_LIMIT_S,
        env={**os.environ, **(env or {})},
        check=False,
    )
    return ended(done.returncode, out, done.stdout + done.stderr)


def run_until_measured(path: Path, out: Path, *arguments: str) -> Ended:
    """`run`, again where the machine was too busy for the load generator: such a run says nothing about the platform.

    Twice more at most, and only when the load's lateness made it INVALID; any other ending is the result.
    """
    for attempt in range(3):
        result = run(path, out.with_name(f"{out.name}-{attempt}"), *arguments)
        if not too_busy(result.verdict):
            break
    return result


def ended(exit_code: int, run_dir: Path, output: str) -> Ended:
    """What a command left behind in its run folder."""
    path = run_dir / "verdict.json"
    verdict = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return Ended(exit_code=exit_code, verdict=verdict, output=output, run_dir=run_dir)


if __name__ == "__main__":
    sys.stdout.write(f"{shortened(sys.argv[1], Path(sys.argv[2]), load=json.loads(sys.argv[3]))}\n")
