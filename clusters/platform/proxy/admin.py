"""The proxy's switch and its figures, over HTTP: driven through the API server's pods/NAME:9901/proxy."""

from __future__ import annotations

import asyncio
import http.client
from typing import Any

from aiohttp import web

from clusters.platform.proxy.cost import measure
from clusters.platform.proxy.delay import Latency
from clusters.platform.proxy.relay import Relay

COST_REQUESTS_LIMIT = 5000


class Admin:
    """GET /state, PUT /latency, GET /cost, GET /healthz (the proxy runs), GET /readyz (its upstream is ready)."""

    def __init__(self, relay: Relay, *, host: str, ports: list[int], ready_path: str) -> None:
        self._relay = relay
        self._host = host
        self._ports = ports
        self._ready_path = ready_path
        self._measuring = asyncio.Lock()
        self.draining = False

    def app(self) -> web.Application:
        """The application, to be run by aiohttp."""
        app = web.Application()
        app.router.add_get("/state", self._state)
        app.router.add_put("/latency", self._latency)
        app.router.add_get("/cost", self._cost)
        app.router.add_get("/healthz", self._healthy)
        app.router.add_get("/readyz", self._ready)
        return app

    def _described(self) -> dict[str, Any]:
        latency = self._relay.switch.latency
        return {
            "upstream": self._relay.upstream,
            "ports": self._ports,
            "latency_ns": latency.latency_ns,
            "jitter_ns": latency.jitter_ns,
            "seed": latency.seed,
            "changes": self._relay.switch.changes,
            "accepted": self._relay.accepted,
            "open": self._relay.open_connections,
            "held_bytes": self._relay.held_bytes,
            "draining": self.draining,
        }

    async def _state(self, _: web.Request) -> web.Response:
        return web.json_response(self._described())

    async def _latency(self, request: web.Request) -> web.Response:
        """The latency is in force for every chunk from now on; answers the new state."""
        try:
            wanted = await request.json()
            if not isinstance(wanted, dict):
                raise ValueError("an object is wanted")
            unknown = set(wanted) - {"latency_ns", "jitter_ns", "seed"}
            if unknown:
                raise ValueError(f"unknown: {', '.join(sorted(unknown))}")
            latency = Latency(**{key: int(value) for key, value in wanted.items()})
        except (ValueError, TypeError) as error:
            return web.json_response({"error": str(error)}, status=400)
        self._relay.switch.turn(latency)
        return web.json_response(self._described())

    async def _cost(self, request: web.Request) -> web.Response:
        """Measured now; 409 while latency is on, 502 when the upstream does not answer."""
        if self._relay.switch.latency.latency_ns or self._measuring.locked():
            reason = "a measurement is under way" if self._measuring.locked() else "latency is on"
            return web.json_response({"error": reason}, status=409)
        try:
            count = int(request.query.get("n", "200"))
            if not 1 <= count <= COST_REQUESTS_LIMIT:
                raise ValueError
        except ValueError:
            return web.json_response({"error": f"n is a number from 1 to {COST_REQUESTS_LIMIT}"}, status=400)
        port = self._ports[0]
        async with self._measuring:
            try:
                figures = await asyncio.to_thread(measure, (self._relay.upstream, port), (self._host, port), count)
            except (OSError, http.client.HTTPException) as error:
                return web.json_response({"error": f"{type(error).__name__}: {error}"}, status=502)
        return web.json_response(figures)

    async def _healthy(self, _: web.Request) -> web.Response:
        return web.Response()

    async def _ready(self, _: web.Request) -> web.Response:
        """As ready as the upstream: the proxy stands in for it in the Service."""
        ready = not self.draining and await asyncio.to_thread(self._upstream_ready)
        return web.Response(status=200 if ready else 503)

    def _upstream_ready(self) -> bool:
        connection = http.client.HTTPConnection(self._relay.upstream, self._ports[0], timeout=0.9)
        try:
            connection.request("GET", self._ready_path)
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
