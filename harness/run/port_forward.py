"""Is what listens at an address of this machine a port-forward? Load must not go through one.

A port-forward leads to one pod, past the Service and its balancing, and dies with that pod: the outage that clients
would see would be its own.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator
from pathlib import Path

_LISTEN = "0A"
# Programs that listen on loopback for nothing else.
_FORWARDERS = ("k9s", "kubefwd", "kubectl-port_forward")


def port_forward_at(host: str, port: int) -> str | None:
    """The command line of the port-forward that listens there; None when there is none, or none that can be seen."""
    if not _is_here(host):
        return None
    inodes = set(_listening(port))
    for process in Path("/proc").glob("[0-9]*"):
        command = _command(process)
        if _forwards(command) and inodes & set(_sockets(process)):
            return " ".join(command)
    return None


def _forwards(command: list[str]) -> bool:
    return "port-forward" in command[1:] or (bool(command) and Path(command[0]).name in _FORWARDERS)


def _is_here(host: str) -> bool:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return any(ipaddress.ip_address(str(each[4][0]).partition("%")[0]).is_loopback for each in found)


def _listening(port: int) -> Iterator[str]:
    """Inodes of the sockets that listen on that port."""
    for table in ("tcp", "tcp6"):
        try:
            lines = Path("/proc/net", table).read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            columns = line.split()
            if columns[3] == _LISTEN and int(columns[1].rpartition(":")[2], 16) == port:
                yield columns[9]


def _sockets(process: Path) -> Iterator[str]:
    try:
        descriptors = list((process / "fd").iterdir())
    except OSError:  # another user's, or gone
        return
    for descriptor in descriptors:
        try:
            target = str(descriptor.readlink())
        except OSError:
            continue
        if target.startswith("socket:["):
            yield target[8:-1]


def _command(process: Path) -> list[str]:
    try:
        return (process / "cmdline").read_text(encoding="utf-8", errors="replace").split("\0")[:-1]
    except OSError:
        return []
