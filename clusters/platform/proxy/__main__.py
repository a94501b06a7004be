"""Runs one proxy until it is told to end: python3 -m clusters.platform.proxy

Environment: UPSTREAM (address of the pod behind it), PORTS (8000,8001: taken here and carried to the same ports there),
POD_IP (address to listen on), ADMIN_PORT (9901), UPSTREAM_READY (/v2/health/ready: what /readyz asks the first port),
DRAIN_SECONDS (1: connections are carried at least this long after SIGTERM).
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Mapping

from aiohttp import web

from clusters.platform.proxy.admin import Admin
from clusters.platform.proxy.delay import Switch
from clusters.platform.proxy.relay import Relay

log = logging.getLogger("proxy")

DRAIN_LIMIT_S = 20.0


async def carry(env: Mapping[str, str]) -> None:
    """Carries connections until SIGTERM, and those that are open then until nothing is under way on them."""
    told_to_end = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told_to_end.set)
    host = env.get("POD_IP") or "0.0.0.0"
    ports = [int(port) for port in env["PORTS"].split(",")]
    relay = Relay(env["UPSTREAM"], Switch())
    admin = Admin(
        relay,
        host="127.0.0.1" if host == "0.0.0.0" else host,
        ports=ports,
        ready_path=env.get("UPSTREAM_READY") or "/v2/health/ready",
    )
    runner = web.AppRunner(admin.app(), access_log=None, shutdown_timeout=1)
    await runner.setup()
    servers = [await relay.listen(host, port) for port in ports]
    await web.TCPSite(runner, host, int(env.get("ADMIN_PORT") or 9901)).start()
    log.info("carrying %s ports %s to %s", host, env["PORTS"], relay.upstream)
    await told_to_end.wait()
    admin.draining = True
    log.info("told to end: %d connections", relay.open_connections)
    await relay.drain(float(env.get("DRAIN_SECONDS") or 1.0), DRAIN_LIMIT_S)
    for server in servers:
        server.close()
    await runner.cleanup()
    log.info("ended: %d connections", relay.open_connections)


def main() -> int:
    """The exit code of the process."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    missing = [name for name in ("UPSTREAM", "PORTS") if not os.environ.get(name)]
    if missing:
        log.error("not set: %s", ", ".join(missing))
        return 1
    asyncio.run(carry(os.environ))
    return 0


if __name__ == "__main__":
    sys.exit(main())
