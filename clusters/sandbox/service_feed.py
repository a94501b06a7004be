"""Tells the service proxy where connections may go, with kube-proxy's lag."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
from typing import Any

from clusters.sandbox.controllers.endpointslice import SERVICE_LABEL
from clusters.sandbox.controllers.loop import Informers
from clusters.sandbox.settings import Settings
from clusters.sandbox.store import Change, Store

log = logging.getLogger(__name__)


class ServiceFeed:
    """Owns the proxy's process; started again when it dies."""

    def __init__(self, informers: Informers, settings: Settings) -> None:
        self._store: Store = informers.store
        self._settings = settings
        self._process: asyncio.subprocess.Process | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._sent = ""
        for plural in ("services", "endpointslices"):
            informers.on(plural, self._changed)

    async def start(self) -> None:
        """Starts the proxy."""
        await self._launch()
        self._keeper = asyncio.get_running_loop().create_task(self._keep())

    async def close(self) -> None:
        """Ends the proxy, and with it every connection."""
        if self._timer is not None:
            self._timer.cancel()
        if self._keeper is not None:
            self._keeper.cancel()
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()

    async def _launch(self) -> None:
        environment = {**os.environ, "BULLETPROOF_SANDBOX": self._settings.id}
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "clusters.sandbox.service_proxy",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=environment,
            start_new_session=True,
        )
        self._sent = ""
        self._send()

    async def _keep(self) -> None:
        while True:
            process = self._process
            assert process is not None
            assert process.stdout is not None
            while await process.stdout.readline():
                pass
            code = await process.wait()
            log.error("the service proxy ended with %s: started again", code if code >= 0 else signal.Signals(-code))
            await self._launch()

    def _changed(self, change: Change) -> None:
        """The first change starts the clock; those that follow take effect with it, as kube-proxy gathers them."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._settings.service_lag_s, self._due)

    def _due(self) -> None:
        self._timer = None
        self._send()

    def _send(self) -> None:
        if self._process is None or self._process.stdin is None or self._process.stdin.is_closing():
            return
        text = json.dumps({"services": self._state()})
        if text != self._sent:
            self._sent = text
            self._process.stdin.write(text.encode() + b"\n")

    def _state(self) -> list[dict[str, Any]]:
        slices: dict[tuple[str, str], list[Any]] = {}
        for obj in self._store.list("endpointslices"):
            name = (obj["metadata"].get("labels") or {}).get(SERVICE_LABEL)
            if name:
                slices.setdefault((obj["metadata"]["namespace"], name), []).append(obj)
        found = []
        for service in self._store.list("services"):
            spec, meta = service["spec"], service["metadata"]
            ip = spec.get("clusterIP")
            if not ip or ip in ("None", self._settings.api_address):
                continue
            for port in spec.get("ports") or ():
                endpoints = sorted(_ready(slices.get((meta["namespace"], meta["name"]), ()), port.get("name", "")))
                found.append({"ip": ip, "port": port["port"], "endpoints": endpoints})
        return found


def _ready(slices: Any, port_name: str) -> set[tuple[str, int]]:
    """Addresses that may get new connections: the ready ones; without any, those that terminate but still serve."""
    ready: set[tuple[str, int]] = set()
    last_resort: set[tuple[str, int]] = set()
    for obj in slices:
        for port in obj.get("ports") or ():
            if port.get("name", "") != port_name:
                continue
            for endpoint in obj.get("endpoints") or ():
                conditions = endpoint.get("conditions") or {}
                address = (endpoint["addresses"][0], int(port["port"]))
                if conditions.get("ready", True):
                    ready.add(address)
                elif conditions.get("serving") and conditions.get("terminating"):
                    last_resort.add(address)
    return ready or last_resort
