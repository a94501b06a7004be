"""Whether the server takes requests, and how many it still owes an answer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from clusters.platform.server.model import Model


class Gate:
    """Open from the start; draining once told to end. In-flight requests are counted over both protocols."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._idle = asyncio.Event()
        self._idle.set()
        self.in_flight = 0
        self.draining = False
        self.group_formed_s: float | None = None  # wall clock, as it is told to other machines; None: no group

    @property
    def ready(self) -> bool:
        """Ready for traffic: the model is loaded and nobody has told us to end."""
        return self._model.ready and not self.draining

    @contextmanager
    def answering(self) -> Iterator[None]:
        """A request is in flight within this block."""
        self.in_flight += 1
        self._idle.clear()
        try:
            yield
        finally:
            self.in_flight -= 1
            if self.in_flight == 0:
                self._idle.set()

    async def drained(self, least_s: float, most_s: float) -> None:
        """`least_s` have passed and nothing is in flight, or `most_s` have passed."""
        await asyncio.sleep(least_s)
        try:
            await asyncio.wait_for(self._idle.wait(), most_s - least_s)
        except TimeoutError:
            return
