"""Which runs are under way on this machine: what `bulletproof recover` needs to find one that was killed.

One small file a run in the user's state folder, written before anything is touched and removed when the run has ended.
The undo itself does not depend on it: that is in the run folder and in the target cluster.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from clusters.provider import Access, NodeCommands


@dataclass(frozen=True, slots=True, kw_only=True)
class ActiveRun:
    """A run that has begun and not ended."""

    run_id: str
    run_dir: str  # absolute
    cluster: str  # as given to --cluster
    access: dict[str, Any]  # clusters.provider.Access, as data
    namespace: str
    pid: int
    pid_started: str  # field 22 of /proc/PID/stat: a pid alone may have been given to another process since


def access_to_json(access: Access) -> dict[str, Any]:
    """An Access as plain data."""
    return {**asdict(access), "kubeconfig": str(access.kubeconfig), "offers": sorted(access.offers)}


def access_from_json(data: dict[str, Any]) -> Access:
    """The reverse."""
    commands = data.get("node_commands")
    if commands is not None:
        commands = NodeCommands(**{**commands, "stop": tuple(commands["stop"]), "start": tuple(commands["start"])})
    read = {"kubeconfig": Path(data["kubeconfig"]), "offers": frozenset(data["offers"]), "node_commands": commands}
    return Access(**{**data, **read})


def state_dir() -> Path:
    """$XDG_STATE_HOME/bulletproof, by default ~/.local/state/bulletproof."""
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "bulletproof"


def remember(run: ActiveRun) -> None:
    """Written and synced before this returns."""
    folder = state_dir() / "active"
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{run.run_id}"
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(asdict(run), file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(folder / f"{run.run_id}.json")


def forget(run_id: str) -> None:
    """The run has ended."""
    (state_dir() / "active" / f"{run_id}.json").unlink(missing_ok=True)


def dead_runs() -> list[ActiveRun]:
    """Runs whose process is gone, oldest first."""
    found = []
    for path in sorted((state_dir() / "active").glob("*.json")):
        run = ActiveRun(**json.loads(path.read_text(encoding="utf-8")))
        if process_started(run.pid) != run.pid_started:
            found.append(run)
    return found


def process_started(pid: int) -> str:
    """When the process started, in clock ticks since boot; empty when there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return ""
    after_name = stat.rpartition(")")[2].split()
    return "" if after_name[0] == "Z" else after_name[19]
