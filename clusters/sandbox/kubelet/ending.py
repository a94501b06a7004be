"""How the end of a container reads in its status."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from clusters.sandbox.kubelet.process import Ended
from clusters.sandbox.kubelet.status import stamp
from clusters.sandbox.objects import Object

_LAST_LINES, _LAST_BYTES = 80, 2048  # of the log, for terminationMessagePolicy FallbackToLogsOnError


def terminated(ended: Ended, began: float, container_id: str, start_error: str) -> Object:
    """The state `terminated`. `began`: seconds since the epoch. `start_error`: why it never ran, if it did not."""
    state: Object = {"exitCode": ended.code, "reason": "Completed" if ended.code == 0 else "Error"}
    state |= {"startedAt": stamp(began), "finishedAt": stamp(ended.at)}
    if container_id:
        state["containerID"] = container_id
    if start_error:
        state |= {"reason": "StartError", "message": start_error, "startedAt": stamp(0)}
    elif ended.out_of_memory:
        state["reason"] = "OOMKilled"
    elif ended.lost:
        state |= {"reason": "Unknown", "exitCode": 255}
    return {"terminated": state}


def start_error(argv: Sequence[str], workdir: str, error: OSError) -> str:
    """Why a program could not be started, in containerd's words."""
    if isinstance(error, FileNotFoundError) and not Path(workdir).is_dir():
        why = f"chdir to cwd ({workdir!r}) failed: no such file or directory"
    elif isinstance(error, FileNotFoundError):
        why = f'exec: "{argv[0]}": executable file not found in $PATH'
    else:
        why = f'exec: "{argv[0]}": {error.strerror}'
    return f"failed to create containerd task: failed to start container: {why}: unknown"


def last_lines(log: Path) -> str:
    """The end of a container's output, without the log's own columns."""
    lines = log.read_bytes().splitlines()[-_LAST_LINES:]
    text = b"\n".join(line.split(b" ", 3)[-1] for line in lines)
    return text[-_LAST_BYTES:].decode(errors="replace")
