"""How a running container is ended: preStop, SIGTERM, and SIGKILL for what is left when the grace is over."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from clusters.sandbox.kubelet.process import ContainerProcess

_LEAST_GRACE_S = 2.0  # between SIGTERM and SIGKILL, also when the grace is shorter or a preStop hook used it up
_LOOK_S = 0.25  # how soon a shortened grace is noticed


async def stop_in_order(
    process: ContainerProcess,
    seconds_left: Callable[[], float],
    before: Callable[[float], Coroutine[Any, Any, None]] | None,
    up: Callable[[], Awaitable[None]],
) -> None:
    """Ends the container and returns when nothing of it is left.

    `seconds_left` is asked again and again: a grace may be shortened. `before` is the preStop hook, given its
    seconds. `up` returns when the kubelet works: while its node is down nobody is stopped.
    """
    clock = asyncio.get_running_loop().time
    if before is not None:
        await _run_hook(before(seconds_left()), process, seconds_left)
    await up()
    process.terminate()
    least = clock() + _LEAST_GRACE_S
    await _until(process.wait(), lambda: max(seconds_left(), least - clock()))
    await up()
    process.kill()
    await process.wait()


async def _run_hook(
    hook: Coroutine[Any, Any, None], process: ContainerProcess, seconds_left: Callable[[], float]
) -> None:
    """The hook, as long as the grace and the container last."""
    running = asyncio.get_running_loop().create_task(hook)
    gone = asyncio.get_running_loop().create_task(process.wait())
    try:
        await _until(asyncio.wait([running, gone], return_when=asyncio.FIRST_COMPLETED), seconds_left)
    finally:
        for task in (running, gone):
            task.cancel()
        await asyncio.gather(running, gone, return_exceptions=True)


async def _until(work: Coroutine[Any, Any, Any], seconds_left: Callable[[], float]) -> None:
    """Waits for `work`, at most until no seconds are left."""
    task = asyncio.get_running_loop().create_task(work)
    try:
        while not task.done() and (left := seconds_left()) > 0:
            await asyncio.wait([task], timeout=min(left, _LOOK_S))
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
