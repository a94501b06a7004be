"""Commands that run beside a container: of hooks, of exec probes, of `kubectl exec`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Sequence
from typing import TYPE_CHECKING

from clusters.sandbox.kubelet import volumes

if TYPE_CHECKING:
    from clusters.sandbox.kubelet.container import Container

_OUTPUT_LIMIT = 10 * 1024


async def run(container: Container, argv: Sequence[str], timeout_s: float) -> tuple[int, bytes]:
    """Runs a command beside it; (exit code, the first of its output). TimeoutError kills the command."""
    helper = await start(container, argv, stderr=asyncio.subprocess.STDOUT)
    try:
        output, _ = await asyncio.wait_for(helper.communicate(), timeout_s)
    except (TimeoutError, asyncio.CancelledError):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(helper.pid, signal.SIGKILL)
        raise
    finally:
        if container.process is not None:
            container.process.disown(helper.pid)
    return helper.returncode or 0, output[:_OUTPUT_LIMIT]


async def start(
    container: Container,
    argv: Sequence[str],
    stdin: int | None = asyncio.subprocess.DEVNULL,
    stderr: int = asyncio.subprocess.PIPE,
) -> asyncio.subprocess.Process:
    """Starts a command in the container's environment. It ends when the container does. OSError when it cannot."""
    process = container.process
    if process is None or process.ended is not None:
        raise ProcessLookupError(f'container "{container.name}" is not running')
    helper = await asyncio.create_subprocess_exec(
        *volumes.rewrite(argv, container.places),
        stdin=stdin,
        stdout=asyncio.subprocess.PIPE,
        stderr=stderr,
        env=process.env,
        cwd=process.workdir,
        start_new_session=True,
    )
    process.adopt(helper.pid)
    return helper
