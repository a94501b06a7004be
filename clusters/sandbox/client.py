"""Start, find and stop a sandbox from another process.

A sandbox lives in one folder, DIR: kubeconfig, sandbox.json, sandbox.log, the pods' logs. Named ones live in
$XDG_STATE_HOME/bulletproof/sandbox/NAME.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

_START_S, _STOP_S = 30.0, 20.0


class SandboxError(Exception):
    """The sandbox did not start or did not end; says why as far as its log knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxInfo:
    """A running sandbox."""

    name: str
    dir: Path
    pid: int
    address: str  # of the API server; the port is 6443
    network: str  # "127.A"
    kubeconfig: Path
    context: str
    nodes: int


def state_folder() -> Path:
    """Where named sandboxes live."""
    home = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(home) / "bulletproof" / "sandbox"


def start(
    folder: Path,
    *,
    nodes: int = 3,
    gpus: int = 2,
    owner_pid: int | None = None,
    name: str | None = None,
    arguments: tuple[str, ...] = (),
) -> SandboxInfo:
    """A sandbox in `folder`, in a session of its own; returns when its API answers and its nodes are Ready.

    `arguments` go to `python -m clusters.sandbox` as they are. What runs in the folder already is returned as it is.
    """
    if (running := info(folder)) is not None:
        return running
    folder.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable,
        "-m",
        "clusters.sandbox",
        "--dir",
        str(folder),
        "--nodes",
        str(nodes),
        "--gpus",
        str(gpus),
    ]
    command += ["--name", name] if name else []
    command += ["--owner-pid", str(owner_pid)] if owner_pid is not None else []
    log = folder / "sandbox.log"
    with log.open("ab") as errors:
        process = subprocess.Popen(
            [*command, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )
    assert process.stdout is not None
    with process.stdout:
        ready, _, _ = select.select([process.stdout], [], [], _START_S)
        line = process.stdout.readline() if ready else b""
    if line and (found := info(folder)) is not None:
        return found
    if process.poll() is None:
        process.kill()
    process.wait()
    last = "\n  ".join(log.read_text(errors="replace").splitlines()[-12:])
    raise SandboxError(f"the sandbox in {folder} did not start within {_START_S:.0f} s:\n  {last}")


def info(folder: Path) -> SandboxInfo | None:
    """The sandbox that runs in `folder`, or None; one that was killed counts as none."""
    try:
        about = json.loads((folder / "sandbox.json").read_text())
        command = Path(f"/proc/{about['pid']}/cmdline").read_bytes()
    except (OSError, ValueError):
        return None
    if b"clusters.sandbox" not in command:  # the pid belongs to somebody else by now
        return None
    return SandboxInfo(
        name=about["name"],
        dir=folder,
        pid=about["pid"],
        address=about["address"],
        network=about["network"],
        kubeconfig=Path(about["kubeconfig"]),
        context=about["context"],
        nodes=about["nodes"],
    )


def stop(folder: Path, *, remove: bool = False) -> None:
    """The sandbox in `folder` and all its processes have ended; `remove` takes the folder away too."""
    running = info(folder)
    if running is not None:
        os.kill(running.pid, signal.SIGTERM)
        if not _ended(running.pid, _STOP_S):
            os.kill(running.pid, signal.SIGKILL)  # its watchdog ends the rest
            if not _ended(running.pid, 5.0):
                raise SandboxError(f"the sandbox in {folder} (pid {running.pid}) does not end")
    if remove:
        shutil.rmtree(folder, ignore_errors=True)


def _ended(pid: int, within_s: float) -> bool:
    """Whether the process is gone (or a zombie that only its parent can bury)."""
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                return True
            return True
        time.sleep(0.02)
    return False


def find(name: str) -> SandboxInfo | None:
    """The named sandbox, if it runs."""
    return info(state_folder() / name)
