"""`python -m clusters.sandbox --dir DIR`: one sandbox in the foreground, until SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from clusters.sandbox import apiserver, auth, defaults, watchdog
from clusters.sandbox.kinds import Kind
from clusters.sandbox.machine import start_nodes_and_controllers
from clusters.sandbox.settings import Settings
from clusters.sandbox.store import Change, Store

log = logging.getLogger("clusters.sandbox")

_OWNER_CHECK_S = 1.0
_FIRST_NETWORK, _LAST_NETWORK = 40, 239  # 127.0 is everybody's

# Those of Settings that may be set from outside, and how they are read.
_CLOCKS: dict[str, Callable[[str], float]] = {
    "node_lease_renew_s": float,
    "node_monitor_grace_s": float,
    "default_toleration_s": int,
    "hpa_sync_s": float,
    "hpa_downscale_s": float,
    "hpa_cpu_initialization_s": float,
}


def _clocks(given: list[str]) -> dict[str, Any]:
    """`["node_monitor_grace_s=5"]` as arguments of Settings; ends with a message for what is none of them."""
    found: dict[str, Any] = {}
    for text in given:
        name, _, value = text.partition("=")
        try:
            found[name] = _CLOCKS[name](value)
        except (KeyError, ValueError):
            raise SystemExit(f"--clock {text}: write NAME=SECONDS with one of {', '.join(_CLOCKS)}") from None
    return found


def claim_network() -> tuple[str, socket.socket]:
    """A free 127.A and the bound socket that keeps it ours while we live."""
    start = _FIRST_NETWORK + os.getpid() % (_LAST_NETWORK - _FIRST_NETWORK)
    for number in (*range(start, _LAST_NETWORK + 1), *range(_FIRST_NETWORK, start)):
        claim = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            claim.bind((f"127.{number}.0.2", 6442))
        except OSError:
            claim.close()
            continue
        return f"127.{number}", claim
    raise SystemExit("no free network 127.A.0.0/16: too many sandboxes run on this machine")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m clusters.sandbox", description=__doc__)
    parser.add_argument("--dir", type=Path, required=True, help="folder for kubeconfig, logs and volumes")
    parser.add_argument("--name", default=None, help="name of the context is sandbox-NAME (default: the folder's name)")
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--gpus", type=int, default=2, help="GPUs of each node")
    parser.add_argument("--images", type=Path, action="append", default=[], help="file with more images")
    parser.add_argument("--service-lag", type=float, default=1.0, help="seconds; kube-proxy's")
    parser.add_argument("--owner-pid", type=int, default=None, help="once it is gone, end after --idle-exit")
    parser.add_argument("--idle-exit", type=float, default=600.0, help="seconds without a request")
    parser.add_argument(
        "--clock",
        action="append",
        default=[],
        metavar="NAME=SECONDS",
        help=f"one of Kubernetes' clocks: {', '.join(_CLOCKS)}; for tests of what takes minutes otherwise",
    )
    return parser.parse_args()


async def _owner_gone_and_idle(settings: Settings, server: apiserver.ApiServer) -> None:
    """Returns when the owner has ended and nobody has used the API for a while; never without an owner."""
    if settings.owner_pid is None:
        await asyncio.Event().wait()
    gone_at: float | None = None
    while True:
        if gone_at is None and not Path(f"/proc/{settings.owner_pid}").exists():
            gone_at = time.monotonic()
        if gone_at is not None and not server.open_requests:
            idle = time.monotonic() - max(gone_at, server.last_request)
            if idle > settings.idle_exit_s:
                log.warning("the owner is gone and nobody asked for %.0f s: ending", idle)
                return
        await asyncio.sleep(_OWNER_CHECK_S)


async def _serve(settings: Settings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    store = Store()
    door = auth.Door(store)
    tls, authority = auth.server_tls(settings)
    store.admit = defaults.Admission(store, settings).admit

    def on_write(kind: Kind, change: Change) -> None:
        if kind.key == "namespaces" and change.verb == "ADDED":
            defaults.on_namespace(store, change.obj["metadata"]["name"], authority)

    store.on_write.append(on_write)
    defaults.seed(store, settings)
    server = apiserver.ApiServer(store, settings, door)
    await server.start(tls)
    kubeconfig = auth.write_kubeconfig(settings, authority, door.token)
    about = {"pid": os.getpid(), "id": settings.id, "name": settings.name, "network": settings.network}
    about |= {"address": settings.api_address, "kubeconfig": str(kubeconfig), "nodes": settings.nodes}
    about |= {"context": f"sandbox-{settings.name}"}
    (settings.dir / "sandbox.json").write_text(json.dumps(about))
    try:
        nodes = await start_nodes_and_controllers(store, settings)
        try:
            server.kubelet, server.ready = nodes, True
            sys.stdout.write(json.dumps({"ready": True} | about) + "\n")
            sys.stdout.flush()
            idle = asyncio.create_task(_owner_gone_and_idle(settings, server))
            stopped = asyncio.create_task(stop.wait())
            await asyncio.wait({idle, stopped}, return_when=asyncio.FIRST_COMPLETED)
            for task in (idle, stopped):
                task.cancel()
        finally:
            await nodes.stop()
    finally:
        await server.stop()
        for name in ("sandbox.json", "kubeconfig"):
            with contextlib.suppress(FileNotFoundError):
                (settings.dir / name).unlink()


def main() -> None:
    """Runs until it is told to end, then leaves no process behind."""
    given = _arguments()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    given.dir.mkdir(parents=True, exist_ok=True)
    network, claim = claim_network()
    settings = Settings(
        dir=given.dir.resolve(),
        name=given.name or given.dir.resolve().name,
        id=uuid.uuid4().hex[:12],
        network=network,
        nodes=given.nodes,
        gpus_per_node=given.gpus,
        images=tuple(given.images),
        service_lag_s=given.service_lag,
        owner_pid=given.owner_pid,
        idle_exit_s=given.idle_exit,
        **_clocks(given.clock),
    )
    watched = subprocess.Popen(
        [sys.executable, "-m", "clusters.sandbox.watchdog", settings.id], stdin=subprocess.PIPE, start_new_session=True
    )
    try:
        asyncio.run(_serve(settings))
    finally:
        claim.close()
        if not watchdog.sweep(settings.id):
            log.error("some processes of sandbox %s did not end", settings.id)
        if watched.stdin is not None:
            watched.stdin.close()
        watched.wait(timeout=10)


if __name__ == "__main__":
    main()
