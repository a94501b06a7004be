"""Who holds a run: the process, told so that another process can say whether it still lives."""

from __future__ import annotations

import getpass
import os
import socket
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A process of some machine. `machine` is equal only where process ids mean the same."""

    run_id: str
    run_dir: str  # absolute, on that machine
    namespace: str  # of the workload, where the journal is kept
    host: str
    user: str
    machine: str  # boot id and pid namespace
    pid: int
    started: str  # of the process, in ticks since boot: a pid may be given again

    @classmethod
    def here(cls, run_id: str, run_dir: Path, namespace: str) -> Holder:
        """This process."""
        return cls(
            run_id=run_id,
            run_dir=str(run_dir),
            namespace=namespace,
            host=socket.gethostname(),
            user=_user(),
            machine=_machine(),
            pid=os.getpid(),
            started=_started(os.getpid()),
        )

    def to_json(self) -> dict[str, Any]:
        """As kept in the Lease and in the journal."""
        return asdict(self)

    def is_gone(self) -> bool:
        """True when the process ran here and has ended. False says nothing: it may run elsewhere."""
        return self.machine == _machine() and _started(self.pid) != self.started


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in many containers
        return str(os.getuid())


def _machine() -> str:
    boot = Path("/proc/sys/kernel/random/boot_id")
    if not boot.exists():
        return socket.gethostname()
    return f"{boot.read_text(encoding='ascii').strip()}/{Path('/proc/self/ns/pid').readlink()}"


def _started(pid: int) -> str:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] in "ZX" else fields[19]
