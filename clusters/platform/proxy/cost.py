"""What the proxy itself costs: the same requests to the upstream directly and through the proxy, in turns."""

from __future__ import annotations

import http.client
import statistics
import time
from collections.abc import Callable
from typing import Any

PATH = "/v2/health/live"
WARM_UP = 10


def measure(upstream: tuple[str, int], proxy: tuple[str, int], count: int) -> dict[str, Any]:
    """Medians and 99th percentiles in nanoseconds over `count` requests each way, on new and on kept connections.

    Blocking: run it in a thread. `added_ns` is the difference of the medians. Raises OSError when either way is broken.
    """
    return {
        "n": count,
        "new": _compare(lambda way: _ask_once(*way), upstream, proxy, count),
        "kept": _kept(upstream, proxy, count),
    }


def _compare(ask: Callable[[Any], None], direct: Any, through: Any, count: int) -> dict[str, int]:
    times: tuple[list[int], list[int]] = ([], [])
    for number in range(-WARM_UP, count):
        # In turns, each first half of the time: a slow moment of the machine falls on both.
        for which in (0, 1) if number % 2 else (1, 0):
            begin_ns = time.perf_counter_ns()
            ask((direct, through)[which])
            if number >= 0:
                times[which].append(time.perf_counter_ns() - begin_ns)
    figures = {}
    for name, taken in zip(("direct", "through"), times, strict=True):
        figures[f"{name}_ns"] = int(statistics.median(taken))
        figures[f"{name}_p99_ns"] = sorted(taken)[len(taken) * 99 // 100]
    figures["added_ns"] = figures["through_ns"] - figures["direct_ns"]
    return figures


def _kept(upstream: tuple[str, int], proxy: tuple[str, int], count: int) -> dict[str, int]:
    direct, through = _connect(*upstream), _connect(*proxy)
    try:
        return _compare(_ask, direct, through, count)
    finally:
        direct.close()
        through.close()


def _connect(host: str, port: int) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection(host, port, timeout=5)
    connection.connect()
    return connection


def _ask(connection: http.client.HTTPConnection) -> None:
    connection.request("GET", PATH)
    connection.getresponse().read()


def _ask_once(host: str, port: int) -> None:
    connection = _connect(host, port)
    try:
        _ask(connection)
    finally:
        connection.close()
