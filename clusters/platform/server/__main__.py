"""Runs one server until it is told to end: python3 -m clusters.platform.server"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys

from aiohttp import web

from clusters.platform.server.gate import Gate
from clusters.platform.server.group import NotAdmitted, join
from clusters.platform.server.http import HttpApi
from clusters.platform.server.idle import end_idle_connections
from clusters.platform.server.model import Model
from clusters.platform.server.rpc import RpcApi
from clusters.platform.server.settings import Settings

log = logging.getLogger("server")

# Under the 30 s of Kubernetes' default grace, less 5 s of preStop.
DRAIN_LIMIT_S = 20.0
IDLE_LIMIT_S = 2.0


async def serve(settings: Settings) -> int:
    """Serves until SIGTERM and drains. 1: the model cannot be loaded, or its group does not admit us."""
    model = Model(settings.models, settings.version, load_s=settings.load_s, compute_s=settings.compute_s)
    gate = Gate(model)
    told_to_end = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        # Without drain: an explicit exit, because process 1 of a container has no default action for SIGTERM.
        loop.add_signal_handler(number, told_to_end.set if settings.drain else lambda: os._exit(143))

    if settings.peers:
        gate.group_formed_s = await join(settings.peers, settings.join_window_s)

    # A client may keep an idle connection as long as it likes, as with Triton.
    runner = web.AppRunner(
        HttpApi(model, gate, pod=settings.pod).app(), access_log=None, keepalive_timeout=3600, shutdown_timeout=5
    )
    await runner.setup()
    await web.TCPSite(runner, settings.host, settings.http_port, backlog=1024).start()
    rpc = RpcApi(model, gate, pod=settings.pod).server()
    rpc.add_insecure_port(f"{settings.host}:{settings.grpc_port}")
    await rpc.start()
    log.info("listening on %s, http %d, grpc %d", settings.host, settings.http_port, settings.grpc_port)

    loading = asyncio.create_task(model.load())
    ending = asyncio.create_task(told_to_end.wait())
    await asyncio.wait({loading, ending}, return_when=asyncio.FIRST_COMPLETED)
    if loading.done():
        loading.result()
        log.info("model %s version %s is ready", model.name, model.version)
        await ending
    else:
        loading.cancel()

    gate.draining = True
    log.info("told to end: %d requests in flight", gate.in_flight)
    await gate.drained(settings.drain_s, DRAIN_LIMIT_S)
    if runner.server is not None:
        await end_idle_connections(runner.server, gate, IDLE_LIMIT_S)
    await asyncio.gather(rpc.stop(grace=5), runner.cleanup())
    log.info("drained: %d requests in flight", gate.in_flight)
    return 0


def main() -> int:
    """The exit code of the process."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    settings = Settings.read(os.environ)
    try:
        return asyncio.run(serve(settings))
    except NotAdmitted as refusal:
        log.error("not admitted: %s", refusal)
    except Exception:  # the last word of a server that cannot serve is why
        log.exception("model %s version %s cannot be served", settings.models.name, settings.version)
    return 1


if __name__ == "__main__":
    sys.exit(main())
