"""How a controller runs: changes name keys, a queue keeps each key once, `reconcile` makes one key right.

`reconcile` is a plain function on the sandbox's one event loop: what it reads cannot change under it, so the
expectations, caches and locks of Kubernetes' own controllers are not needed.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from clusters.sandbox.errors import ApiError, Conflict, NotFound
from clusters.sandbox.kinds import Kind
from clusters.sandbox.store import Change, Store

log = logging.getLogger(__name__)

Handler = Callable[[Change], None]
K = TypeVar("K", bound=Hashable)

_TURN_S = 0.005
_RETRY_S = (0.05, 0.2, 1.0, 5.0, 15.0)  # waits after the first, second, … failure of a key


class Informers:
    """Brings every write in the store to those who asked for its resource."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._handlers: dict[str, list[Handler]] = {}
        self._any: list[Callable[[str, Change], None]] = []
        store.on_write.append(self._changed)

    def on(self, plural: str, handler: Handler) -> None:
        """`handler` sees every object there is (as ADDED), then every change. It must only note, never write."""
        self._handlers.setdefault(plural, []).append(handler)
        for obj in self.store.list(plural):
            handler(Change(int(obj["metadata"]["resourceVersion"]), "ADDED", obj, None))

    def on_any(self, handler: Callable[[str, Change], None]) -> None:
        """The same for every resource; `handler` also gets its key."""
        self._any.append(handler)
        for plural in tuple(self.store.kinds):
            for obj in self.store.list(plural):
                handler(plural, Change(int(obj["metadata"]["resourceVersion"]), "ADDED", obj, None))

    def close(self) -> None:
        """No more changes arrive."""
        self.store.on_write.remove(self._changed)

    def _changed(self, kind: Kind, change: Change) -> None:
        for handler in self._handlers.get(kind.key, ()):
            try:
                handler(change)
            except Exception:  # a controller that stumbles over an object must not fail its writer
                log.exception("%s %s", kind.key, change.obj["metadata"]["name"])
        for handle in self._any:
            handle(kind.key, change)


class Reconciler(Generic[K]):
    """A queue of keys and the loop that works on it."""

    def __init__(self, name: str, reconcile: Callable[[K], None]) -> None:
        self._name, self._reconcile = name, reconcile
        self._dirty: dict[K, None] = {}
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._failures: dict[K, int] = {}
        self._scheduled = False
        self._closed = False

    def add(self, key: K) -> None:
        """`key` is looked at soon, once, however often it is added until then."""
        if self._closed:
            return
        self._dirty[key] = None
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._work)

    def add_after(self, key: K, delay_s: float) -> None:
        """`key` is looked at in `delay_s` seconds, or earlier when an earlier time was asked for."""
        if self._closed:
            return
        loop = asyncio.get_running_loop()
        at = loop.time() + max(delay_s, 0)
        known = self._timers.get(key)
        if known is not None:
            if known.when() <= at:
                return
            known.cancel()
        self._timers[key] = loop.call_at(at, self._due, key)

    def close(self) -> None:
        """Nothing is looked at any more."""
        self._closed = True
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._dirty.clear()

    def _due(self, key: K) -> None:
        self._timers.pop(key, None)
        self.add(key)

    def _work(self) -> None:
        """A few milliseconds a turn of the loop, so that requests and probes get theirs, and no key waits for long."""
        self._scheduled = False
        until = time.monotonic() + _TURN_S
        while self._dirty and not self._closed:
            key = next(iter(self._dirty))
            del self._dirty[key]
            self._look_at(key)
            if time.monotonic() >= until:
                break
        if self._dirty and not self._scheduled and not self._closed:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._work)

    def _look_at(self, key: K) -> None:
        try:
            self._reconcile(key)
        except (Conflict, NotFound) as error:
            log.debug("%s: %s: %s", self._name, key, error)
            self._retry(key)
        except ApiError as error:
            log.warning("%s: %s: %s", self._name, key, error)
            self._retry(key)
        except Exception:
            log.exception("%s: %s failed", self._name, key)
            self._retry(key)
        else:
            self._failures.pop(key, None)

    def _retry(self, key: K) -> None:
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        self.add_after(key, _RETRY_S[min(failures, len(_RETRY_S) - 1)])
