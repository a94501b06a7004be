"""gRPC's own sockets tell their local port, and leave from the source address that we choose.

gRPC has no option for either. Its core lets a "socket mutator" (a C struct given as a channel argument) see each socket
before it connects: here it binds the socket and notes the port. The struct and the channel argument are part of the
core's interface since 2017 (src/core/lib/iomgr/socket_mutator.h); a test holds this file to the installed version.
"""

from __future__ import annotations

import _socket
import ctypes
import time
from collections import deque
from typing import Any

CHANNEL_ARGUMENT = "grpc.socket_mutator"

_CLIENT_CONNECTION = 0  # GRPC_FD_CLIENT_CONNECTION_USAGE
# A closed channel may finish an attempt to connect, which takes a second at most; what it calls must exist so long.
_RETIRED_FOR_S = 30.0


class _Info(ctypes.Structure):
    _fields_ = (("fd", ctypes.c_int), ("usage", ctypes.c_int))


_MUTATE = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_int, ctypes.c_void_p)
_COMPARE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
_DESTROY = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_MUTATE_2 = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.POINTER(_Info), ctypes.c_void_p)


class _VTable(ctypes.Structure):
    _fields_ = (("mutate_fd", _MUTATE), ("compare", _COMPARE), ("destroy", _DESTROY), ("mutate_fd_2", _MUTATE_2))


class _Mutator(ctypes.Structure):
    _fields_ = (("vtable", ctypes.POINTER(_VTable)), ("references", ctypes.c_ssize_t))


class Sockets:
    """The sockets of one channel, and of no other: a late one would give its port to another channel's request.

    gRPC keeps the address of the object and does not own it: it must be `retire`d once the channel is closed.
    """

    def __init__(self, source_address: str | None) -> None:
        self.local_port: int | None = None  # of the newest socket
        self.opened = 0  # sockets so far
        # By address family. gRPC speaks IPv4 through IPv6 sockets where the kernel has them.
        self._sources = {_socket.AF_INET: "0.0.0.0", _socket.AF_INET6: "::"}
        if source_address is not None:
            mapped = source_address if ":" in source_address else f"::ffff:{source_address}"
            self._sources = {_socket.AF_INET: source_address, _socket.AF_INET6: mapped}
        # One reference is ours, so that gRPC never destroys it.
        self._mutator = _Mutator(ctypes.pointer(_vtable), 1)
        self._address = ctypes.addressof(self._mutator)
        _by_address[self._address] = self

    def __int__(self) -> int:
        """The address, which is how gRPC asks for a pointer."""
        return self._address

    def retire(self) -> None:
        """The channel is closed. The object goes on for as long as gRPC may still use it."""
        now = time.monotonic()
        _retired.append((now, self))
        while now - _retired[0][0] > _RETIRED_FOR_S:
            _, oldest = _retired.popleft()
            if oldest._mutator.references > 1:  # gRPC still has it
                _retired.append((now, oldest))
            else:
                del _by_address[oldest._address]

    def open(self, fd: int) -> None:
        """A socket is about to connect. Runs in a thread of gRPC: system calls only, nothing of gevent's."""
        self.opened += 1
        sock = _socket.socket(fileno=fd)
        try:
            # Binding now rather than at connect is what makes the port known while a SYN is still unanswered.
            sock.bind((self._sources[sock.family], 0))
            self.local_port = sock.getsockname()[1]
        finally:
            sock.detach()


_by_address: dict[int, Sockets] = {}
_retired: deque[tuple[float, Sockets]] = deque()  # and since when; the oldest first


def _mutate_fd(fd: int, mutator: int) -> bool:
    _by_address[mutator].open(fd)
    return True


def _mutate_fd_2(info: Any, mutator: int) -> bool:
    if info.contents.usage == _CLIENT_CONNECTION:
        _by_address[mutator].open(info.contents.fd)
    return True


def _compare(one: int, other: int) -> int:
    return (one > other) - (one < other)


def _destroy(mutator: int) -> None:
    raise AssertionError("gRPC gave up a reference that is ours")


_vtable = _VTable(_MUTATE(_mutate_fd), _COMPARE(_compare), _DESTROY(_destroy), _MUTATE_2(_mutate_fd_2))
