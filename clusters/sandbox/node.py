"""`python -m clusters.sandbox.node stop gpu-2 --dir DIR`: what happens to a sandbox's machines, not through the API.

A cluster's administrator reaches machines through a cloud's API, a power switch or SSH; a sandbox's through this
command. It speaks JSON lines over the socket `DIR/nodes.sock` and prints the answer.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import socket
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clusters.sandbox.machine import Machine

log = logging.getLogger(__name__)

SOCKET = "nodes.sock"
ACTIONS = {
    "stop": "switch the node off: it falls silent, and what ran on it is gone when it comes back",
    "freeze": "stop the node's kubelet and processes where they are; start lets them go on",
    "kill-kubelet": "only the kubelet ends; containers run on",
    "start": "switch on, thaw, or start the kubelet again",
    "gpu-sick": "the GPU with that index is no longer healthy",
    "gpu-heal": "the GPU is healthy again",
    "status": "every node with its state",
}


class AdminDoor:
    """The server's side of the command."""

    def __init__(self, machine: Machine, folder: Path) -> None:
        self._machine, self._path = machine, folder / SOCKET
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Listens; only this user may connect."""
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
        with _address(self._path.parent) as address:
            self._server = await asyncio.start_unix_server(self._serve, address)
        self._path.chmod(0o600)

    async def close(self) -> None:
        """Listens no more."""
        if self._server is not None:
            self._server.close()
            with contextlib.suppress(FileNotFoundError):
                self._path.unlink()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                try:
                    answer = self._machine.administer(json.loads(line))
                except (ValueError, KeyError) as error:
                    answer = {"error": str(error)}
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        except ConnectionError as error:
            log.debug("administrator left: %s", error)
        finally:
            writer.close()


@contextlib.contextmanager
def _address(folder: Path) -> Iterator[str]:
    """The socket's address by the folder's descriptor: a Unix address has 107 bytes, and a state folder may be deep."""
    opened = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{opened}/{SOCKET}"
    finally:
        os.close(opened)


def ask(folder: Path, request: Mapping[str, Any]) -> dict[str, Any]:
    """Sends one request to the sandbox in that folder. OSError when there is none; ValueError with its refusal."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(30)
        with _address(folder) as address:
            connection.connect(address)
        connection.sendall(json.dumps(request).encode() + b"\n")
        with connection.makefile("rb") as answers:
            answer: dict[str, Any] = json.loads(answers.readline())
    if "error" in answer:
        raise ValueError(answer["error"])
    return answer


def main() -> int:
    """Asks and prints; 1 when the sandbox refused."""
    listed = "\n".join(f"  {name:13} {text}" for name, text in ACTIONS.items())
    parser = argparse.ArgumentParser(
        prog="python -m clusters.sandbox.node",
        description=f"{__doc__}\nactions:\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("action", choices=sorted(ACTIONS))
    parser.add_argument("name", nargs="?", help="the node")
    parser.add_argument("index", nargs="?", type=int, help="the GPU, from 0")
    parser.add_argument("--dir", type=Path, required=True, help="the sandbox's folder")
    given = parser.parse_args()
    try:
        answer = ask(given.dir, {"action": given.action, "node": given.name, "index": given.index})
    except (OSError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(json.dumps(answer) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
