"""One container: a process group of its own, its output in a log file, its end reported with a code."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from clusters.sandbox.kubelet.logs import LogFile

# In the environment of every process of a container: how strays that left the process group are found.
MARK = "BULLETPROOF_CONTAINER"
_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Ended:
    """How a container ended. `code`: exit code, or 128 + signal."""

    code: int
    at: float  # seconds since the epoch
    out_of_memory: bool = False
    lost: bool = False  # with its node, not by its own doing


class ContainerProcess:
    """A started container. `on_exit` is called once, on the event loop."""

    def __init__(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        workdir: str,
        log: Path,
        on_exit: Callable[[Ended], None],
    ) -> None:
        """Starts it. Raises OSError when the program cannot be started."""
        self.id = uuid.uuid4().hex + uuid.uuid4().hex
        self.env = {**env, MARK: self.id}
        self.workdir = workdir
        self.started_at = time.time()
        self.ended: Ended | None = None
        self.killed_for_memory = False
        self.lost = False
        self._on_exit = on_exit
        self._helpers: set[int] = set()  # process groups of exec'd commands
        self._done = asyncio.Event()
        self._log = LogFile(log)
        try:
            self._popen = subprocess.Popen(
                list(argv),
                env=self.env,
                cwd=workdir,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError:
            self._log.close()
            raise
        self.pid = self._popen.pid
        self._pidfd = os.pidfd_open(self.pid)
        assert self._popen.stdout is not None
        assert self._popen.stderr is not None
        self._log.follow("stdout", self._popen.stdout)
        self._log.follow("stderr", self._popen.stderr)
        asyncio.get_running_loop().add_reader(self._pidfd, self._exited)

    async def wait(self) -> Ended:
        """Returns when the container has ended and nothing of it is left."""
        await self._done.wait()
        assert self.ended is not None
        return self.ended

    def terminate(self) -> None:
        """Sends SIGTERM to the first process, as a container runtime does.

        The first process of a container is PID 1 there, and the kernel keeps signals from a PID 1 that has no handler
        for them: such a container lives until its grace ends. So it is here.
        """
        if self.ended is None and self._catches(signal.SIGTERM):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGTERM)

    def kill(self) -> None:
        """Ends every process of the container at once."""
        self._signal_all(signal.SIGKILL)

    def freeze(self) -> None:
        """Every process stops where it is; its sockets stay open and silent."""
        self._signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        """Frozen processes go on."""
        self._signal_all(signal.SIGCONT)

    def adopt(self, group: int) -> None:
        """A process group (of an exec) that must not outlive the container."""
        self._helpers.add(group)

    def disown(self, group: int) -> None:
        """The group ended by itself."""
        self._helpers.discard(group)

    def memory(self) -> int:
        """Bytes of memory its processes have for themselves; 0 when it has ended."""
        return 0 if self.ended is not None else sum(_own_memory(pid) for pid in _family(self.pid))

    def cpu_seconds(self) -> float:
        """Seconds of cpu that its processes have used since it began, those that ended included."""
        return 0.0 if self.ended is not None else sum(_cpu_ticks(pid) for pid in _family(self.pid)) / _TICKS_A_SECOND

    def _catches(self, number: signal.Signals) -> bool:
        try:
            status = Path(f"/proc/{self.pid}/status").read_text()
        except OSError:
            return False
        caught = int(next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:")), 16)
        return bool(caught >> (number - 1) & 1)

    def _signal_all(self, number: signal.Signals) -> None:
        if self.ended is not None:
            return
        for group in (self.pid, *self._helpers):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(group, number)
        for pid in strays(self.id):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)

    def _exited(self) -> None:
        """The first process ended: as in a PID namespace, everything else ends with it.

        It stays a zombie until the rest is killed, so that its group's number cannot belong to anybody else.
        """
        asyncio.get_running_loop().remove_reader(self._pidfd)
        self._signal_all(signal.SIGKILL)
        result = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED)
        assert result is not None
        code = result.si_status if result.si_code == os.CLD_EXITED else 128 + result.si_status
        self._popen.returncode = code
        os.close(self._pidfd)
        self._log.finish()
        self.ended = Ended(code, time.time(), self.killed_for_memory, self.lost)
        self._done.set()
        self._on_exit(self.ended)


def strays(container_id: str) -> list[int]:
    """Processes of a container that left its process group (a daemon's double fork)."""
    mark = f"{MARK}={container_id}".encode()
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if mark in Path(entry.path, "environ").read_bytes():
                    found.append(int(entry.name))
    return found


def _family(pid: int) -> list[int]:
    """A process and all its descendants."""
    found, queue = [], [pid]
    while queue:
        one = queue.pop()
        found.append(one)
        with contextlib.suppress(OSError):
            queue += [int(p) for p in Path(f"/proc/{one}/task/{one}/children").read_text().split()]
    return found


def _cpu_ticks(pid: int) -> int:
    """User and system time of a process and of its children that ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return sum(int(ticks) for ticks in fields[11:15])


def _own_memory(pid: int) -> int:
    """Anonymous and shared memory in bytes: what a container's memory limit chiefly counts."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return 1024 * sum(
        int(line.split()[1]) for line in status.splitlines() if line.startswith(("RssAnon:", "RssShmem:"))
    )
