"""Was the machine too busy for the load generator? Such a run says nothing about the platform, and may be run again.

`python -m tests.truth.busy RUNS` asks it of the newest run in a folder: exit code 0 when it was.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

# What every check says that could not decide because requests were sent late or not at all.
HINT = "give the load generator more CPU"


def too_busy(verdict: dict[str, Any]) -> bool:
    """INVALID, and at least one check is so by the load generator's own lateness."""
    undecided = [check for check in verdict.get("checks", ()) if check["verdict"] == "INVALID"]
    return verdict.get("verdict") == "INVALID" and any(check["hint"].startswith(HINT) for check in undecided)


def main(runs: Path) -> int:
    """0 when the newest run was too busy to be judged."""
    newest = max(runs.glob("*/verdict.json"), key=lambda path: path.stat().st_mtime)
    return 0 if too_busy(json.loads(newest.read_text(encoding="utf-8"))) else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
