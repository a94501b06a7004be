"""The load process starts before it is known what it offers: it imports what that takes, and waits to be told."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from loadtests.config import GRPC


def configured(protocol: str, user: str) -> Path | None:
    """The first line of stdin, which names the CONFIG.json. None when stdin ends: nobody wants the load any more."""
    from loadtests.control import users_module

    users_module(protocol, user)
    if protocol == GRPC:
        import grpc.experimental.gevent  # noqa: F401
    line = b""
    # A byte at a time: what follows the line is for others to read.
    while not line.endswith(b"\n"):
        byte = os.read(sys.stdin.fileno(), 1)
        if not byte:
            return None
        line += byte
    return Path(os.fsdecode(line[:-1]))
