"""One batch for real: the scripted server, the load process as the harness drives it, and bystanders beside it."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.run.load_process import LoadProcess
from tests.truth.courses import acts
from tests.truth.courses.bystanders import Poller, StockLocust
from tests.truth.courses.plan import Batch

ROOT = Path(__file__).resolve().parents[3]
GOLDEN = ROOT / "experiments" / "golden" / "detector.json"
HOST = "127.0.0.1"
LEAD_NS = 500_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """What is left of a batch."""

    batch: Batch
    folder: Path  # with requests-0.arrows
    zero_ns: int  # of the schedule, absolute
    done: dict[str, Any]  # the load's last line
    ready: dict[str, Any]
    marks: list[dict[str, Any]]  # when the listener was closed and opened
    log: list[list[Any]]  # of the server: t_ns, port, backend, ordinal, count, what, sent_ns, who
    polls: list[tuple[int, bool]]  # of the 1 s poller: when it began, whether it was content
    locust: list[tuple[int, int, int]]  # of a stock Locust: monotonic ns, requests so far, failures so far


class ScriptedServer:
    """The server's process."""

    def __init__(self, folder: Path, protocol: str) -> None:
        self._log = folder / "server.json"
        self._errors = (folder / "server.log").open("wb")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.truth.courses.server", HOST, protocol, str(GOLDEN), str(self._log)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            cwd=ROOT,
        )
        self.port = int(self._hear()["port"])

    def install(self, path: Path) -> None:
        """The acts in the file will be followed."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{path}\n".encode())
        self._process.stdin.flush()
        self._hear()

    def finish(self) -> dict[str, Any]:
        """Its log; it has ended after this."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        if self._process.wait(timeout=30) != 0:
            raise RuntimeError("the scripted server failed, see server.log")
        found: dict[str, Any] = json.loads(self._log.read_text(encoding="utf-8"))
        return found

    def close(self) -> None:
        """Ended, whatever happened."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            if stream is not None:
                stream.close()

    def _hear(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the scripted server ended, see server.log")
        heard: dict[str, Any] = json.loads(line)
        return heard


def offer(batch: Batch, folder: Path, *, bystanders: bool) -> Offered:
    """Runs the batch; takes its length and a few seconds."""
    folder.mkdir(parents=True)
    load = batch.load
    server = ScriptedServer(folder, load.protocol)
    poller, locust = Poller(HOST, server.port), StockLocust(HOST, server.port, folder)
    process = None
    try:
        process = LoadProcess(_config(batch, server.port, folder), folder, lambda line: None)
        ready = process.wait_ready(threading.Event())
        if bystanders:
            locust.start(batch.end_ns / 1e9 + 5)
        zero_ns = time.monotonic_ns() + LEAD_NS
        acts.write(folder / "acts.json", [act.moved(zero_ns) for course in batch.courses for act in course.acts])
        server.install(folder / "acts.json")
        process.start(zero_ns)
        if bystanders:
            poller.start()
        time.sleep(max(0.0, (zero_ns + batch.end_ns - load.timeout_ns - time.monotonic_ns()) / 1e9))
        done = process.stop(zero_ns + batch.end_ns)
        polls = poller.finish()
        counted = locust.finish()
        told = server.finish()
    finally:
        if process is not None:
            process.close()
        poller.finish()
        locust.finish()
        server.close()
    return Offered(
        batch=batch,
        folder=folder,
        zero_ns=zero_ns,
        done=done,
        ready=ready,
        marks=told["marks"],
        log=told["requests"],
        polls=polls,
        locust=counted,
    )


def _config(batch: Batch, port: int, folder: Path) -> dict[str, Any]:
    load = batch.load
    return {
        "host": HOST,
        "http_port": port,
        "grpc_port": port,
        "protocol": load.protocol,
        "user": load.user,
        "model": "detector",
        "golden": str(GOLDEN),
        "rate_per_s": load.rate,
        "arrivals": load.arrivals,
        "seed": batch.seed,
        "timeout_ns": load.timeout_ns,
        "kept_share": load.kept_share,
        "workers": 1,
        "users": math.ceil(1.25 * load.rate * load.timeout_ns / 1e9) + 8,
        "max_duration_ns": batch.end_ns + 60_000_000_000,
        "out": str(folder),
    }
