"""A group of replicas that admits members only while it forms: the planted weakness `never-recovers`.

Distributed inference that finds its peers once, at a static rendezvous, has this weakness for real: the group is
complete when it has formed, and a replacement for a lost member is turned away for ever. Here the first member forms
the group; whoever starts asks the peers (the Service) when that was, joins while the window is open, and refuses to
start afterwards. When every member is gone, the next one forms a new group.
"""

from __future__ import annotations

import asyncio
import json
import time


class NotAdmitted(Exception):  # noqa: N818 - a refusal, as it reads in the log
    """The group was formed too long ago."""


# A Service may still send some connections to a pod that died a second ago: one refusal does not mean that nobody
# serves. So many at the same time, and not one meets a live pod of three when one is dead: 2 in a million.
_ASKED_AT_ONCE = 12
_TIMEOUT_S = 1.0


async def join(peers: str, window_s: float) -> float:
    """The wall-clock time (s) at which the group was formed: now, when there is none. Raises NotAdmitted."""
    told = await asyncio.gather(*(_formed(peers) for _ in range(_ASKED_AT_ONCE)))
    formed = [each for each in told if each is not None]
    if not formed:
        return time.time()
    age_s = time.time() - min(formed)
    if age_s > window_s:
        raise NotAdmitted(f"the group was formed {age_s:.1f} s ago and admits members for {window_s:g} s only")
    return min(formed)


async def _formed(peers: str) -> float | None:
    host, _, port = peers.rpartition(":")
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(f"GET /v2/group HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
            answer = await reader.read()
            writer.close()
    except (OSError, TimeoutError):
        return None  # nobody serves there
    head, _, body = answer.partition(b"\r\n\r\n")
    return float(json.loads(body)["formed_seconds"]) if b" 200 " in head.split(b"\r\n", 1)[0] else None
