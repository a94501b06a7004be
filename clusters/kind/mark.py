"""What we know of a kind cluster: whether we made it (only then it is ever deleted), and what we gave it."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from clusters import programs

_FILE = "cluster.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What we did to one cluster. Its name is no proof: somebody may have made it anew since."""

    container: str = ""  # id of its control plane's container
    made: bool = False  # by us
    gpus: tuple[str, ...] = ()  # nodes that we gave GPUs to


def state_folder() -> Path:
    """Where what we know of kind clusters lives, in a folder for each."""
    home = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(home) / "bulletproof" / "kind"


def cluster_of(kubeconfig: Path) -> str:
    """The kind cluster whose kubeconfig this is, by where we keep it; empty when it is another file."""
    folder = kubeconfig.absolute().parent
    return folder.name if folder.parent == state_folder().absolute() and (folder / _FILE).exists() else ""


def read(folder: Path) -> Mark:
    """The mark in a cluster's folder; an empty one when there is none."""
    try:
        found = json.loads((folder / _FILE).read_text(encoding="utf-8"))
        return Mark(container=found["container"], made=found["made"], gpus=tuple(found["gpus"]))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return Mark()


def write(folder: Path, mark: Mark) -> None:
    """The mark is this one, in one step."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{_FILE}"
    temporary.write_text(json.dumps(asdict(mark)), encoding="utf-8")
    temporary.replace(folder / _FILE)


def container_id(cluster: str) -> str:
    """The id of the control plane's container of a kind cluster; empty when there is none."""
    try:
        asked = ("inspect", "--type", "container", "--format", "{{.Id}}", f"{cluster}-control-plane")
        return programs.run(programs.engine(), *asked).strip()
    except programs.ToolFailed:
        return ""
