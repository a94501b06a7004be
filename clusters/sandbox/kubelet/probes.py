"""Startup, readiness and liveness probes of one running container, with all their thresholds and times."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from clusters.sandbox.kubelet.handlers import Answer

Ask = Callable[[Mapping[str, Any], float], Awaitable[Answer]]  # (handler, timeout s)


class Probes:
    """Probes a container until cancelled.

    `started` and `ready` are what the container's status says. As in Kubernetes a startup probe holds the other two
    back, readiness begins as False, and both liveness and startup end the container when they fail.
    """

    def __init__(
        self,
        container: Mapping[str, Any],
        started_at: float,
        ask: Ask,
        changed: Callable[[], None],
        failed: Callable[[str, Mapping[str, Any]], None],
        unhealthy: Callable[[str], None],
        gate: Callable[[], Awaitable[None]],
    ) -> None:
        """`failed(kind, probe)`: the container must go. `unhealthy(text)`: one probe failed. `gate`: kubelet alive."""
        self._container, self._started_at, self._ask = container, started_at, ask
        self._changed, self._failed, self._unhealthy, self._gate = changed, failed, unhealthy, gate
        self.started = not container.get("startupProbe")
        self._readiness = not container.get("readinessProbe")
        self._tasks: list[asyncio.Task[None]] = []
        self.terminating = False

    @property
    def ready(self) -> bool:
        """Whether the container may get traffic."""
        return self.started and self._readiness

    def start(self) -> None:
        """Begins probing."""
        if self.started:
            self._start_others()
        else:
            self._spawn(self._startup())

    def stop(self) -> None:
        """Ends probing; the container is gone."""
        for task in self._tasks:
            task.cancel()
        self._tasks.clear()
        self._readiness = False

    def pod_terminates(self) -> None:
        """Liveness and startup no longer matter; readiness goes on until the container ends."""
        self.terminating = True

    def _spawn(self, work: Any) -> None:
        self._tasks.append(asyncio.get_running_loop().create_task(work))

    def _start_others(self) -> None:
        for name, run in (("readinessProbe", self._ready_loop), ("livenessProbe", self._live_loop)):
            if self._container.get(name):
                self._spawn(run(self._container[name]))

    async def _startup(self) -> None:
        probe = self._container["startupProbe"]
        async for good in self._results("Startup", probe):
            if self.terminating:
                return
            if good:
                self.started = True
                self._start_others()
                self._changed()
            else:
                self._failed("startup", probe)
            return

    async def _live_loop(self, probe: Mapping[str, Any]) -> None:
        async for good in self._results("Liveness", probe):
            if self.terminating:
                return
            if not good:
                self._failed("liveness", probe)
                return

    async def _ready_loop(self, probe: Mapping[str, Any]) -> None:
        async for good in self._results("Readiness", probe):
            if good != self._readiness:
                self._readiness = good
                self._changed()

    async def _results(self, kind: str, probe: Mapping[str, Any]) -> Any:
        """Yields True or False whenever a threshold is reached."""
        await asyncio.sleep(max(self._started_at + probe.get("initialDelaySeconds", 0) - time.time(), 0))
        loop = asyncio.get_running_loop()
        period = float(probe.get("periodSeconds") or 10)
        due, last, run = loop.time(), None, 0
        while True:
            await self._gate()
            answer = await self._ask(probe, float(probe.get("timeoutSeconds") or 1))
            await self._gate()
            if answer.ok != last:
                last, run = answer.ok, 0
            run += 1
            if not answer.ok:
                self._unhealthy(f"{kind} probe failed: {answer.detail}")
            threshold = probe.get("successThreshold" if answer.ok else "failureThreshold") or (1 if answer.ok else 3)
            if run >= threshold:
                yield answer.ok
            # As a ticker: a probe that took longer than its period is followed by the next one at once, not by several.
            due = max(due + period, loop.time())
            await asyncio.sleep(due - loop.time())
