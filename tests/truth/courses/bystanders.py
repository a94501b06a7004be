"""What else watches the same outages: a poller, as health checks and chaos tools have it, and a stock Locust."""

from __future__ import annotations

import csv
import http.client
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

EVERY_S = 1.0
USERS = 20


class Poller:
    """GET v2/health/ready each second on a new connection, with a deadline of a second."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="poller", daemon=True)
        self._polls: list[tuple[int, bool]] = []

    def start(self) -> None:
        """Polls from now on."""
        self._thread.start()

    def finish(self) -> list[tuple[int, bool]]:
        """(begun at, content) of each poll."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        return self._polls

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            begun = time.monotonic_ns()
            self._polls.append((begun, self._well()))
            due += EVERY_S

    def _well(self) -> bool:
        connection = http.client.HTTPConnection(*self._address, timeout=1.0)
        try:
            connection.request("GET", "/v2/health/ready", headers={"X-Bystander": "poller"})
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


class StockLocust:
    """Locust as it comes: 20 HttpUsers with constant_throughput(2), no timeout, its own statistics once a second."""

    def __init__(self, host: str, port: int, folder: Path) -> None:
        self._host = f"http://{host}:{port}"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._wall_ns = 0

    def start(self, seconds: float) -> None:
        """Runs beside for so long."""
        self._wall_ns = time.time_ns() - time.monotonic_ns()
        file = Path(__file__).with_name("stock_locustfile.py")
        arguments = ["-f", str(file), "--headless", "--host", self._host, "-u", str(USERS), "-r", str(USERS)]
        arguments += ["-t", f"{int(seconds)}s", "--csv", str(self._folder / "stock"), "--csv-full-history"]
        arguments += ["--only-summary", "--stop-timeout", "1"]
        with (self._folder / "stock.log").open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "locust", *arguments], stdout=log, stderr=log, env={**os.environ}
            )

    def finish(self) -> list[tuple[int, int, int]]:
        """(monotonic ns, requests, failures) of each row of its history."""
        if self._process is None:
            return []
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        with (self._folder / "stock_stats_history.csv").open(encoding="utf-8", newline="") as file:
            return [
                (
                    int(row["Timestamp"]) * 1_000_000_000 - self._wall_ns,
                    int(row["Total Request Count"]),
                    int(row["Total Failure Count"]),
                )
                for row in csv.DictReader(file)
                if row["Name"] == "Aggregated"
            ]
