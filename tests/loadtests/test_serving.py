"""A load that is told over HTTP, as in a cluster: nothing that it recorded is missing on this side."""

import base64
import json
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pyarrow as pa
import pytest

from tests.loadtests.conftest import GOLDEN, ROOT, SECOND
from tests.loadtests.test_together import free_port, joining


class Served:
    """A master that serves, as the harness speaks to it."""

    def __init__(self, server):
        self.http, self.rpc = free_port(), free_port()
        self.config = {
            "host": server.host, "http_port": server.http_port, "protocol": "kserve-v2-http", "model": "detector",
            "golden": "", "rate_per_s": 100.0, "seed": 7, "timeout_ns": 5 * SECOND, "users": 10,
            "max_duration_ns": 60 * SECOND, "out": "", "workers": 2,
        }  # fmt: skip
        command = ["--serve", f"127.0.0.1:{self.http}", "--listen", f"127.0.0.1:{self.rpc}"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "loadtests", *command],
            cwd=ROOT,
            env={"PATH": "", "LOAD_TOKEN": "s3cret"},
            stderr=subprocess.DEVNULL,
        )
        self.lines, self.files = [], [b"", b""]

    def ask(self, method, path, body=None, token="s3cret"):
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.http}/{token}/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def poll(self):
        """True once all has come."""
        places = ",".join(str(len(file)) for file in self.files)
        answer = self.ask("GET", f"poll?line={len(self.lines)}&at={places}")
        self.lines += answer["lines"]
        chunks = [base64.b64decode(chunk) for chunk in answer["chunks"]]
        self.files = [file + chunk for file, chunk in zip(self.files, chunks, strict=True)]
        return answer["ended"] and not any(chunks)

    def until(self, holds, limit_s=60):
        deadline = time.monotonic() + limit_s
        while not holds():
            assert time.monotonic() < deadline, self.lines
            time.sleep(0.05)

    def line(self, state):
        self.poll()
        return next((line for line in self.lines if line["state"] == state), None)

    def answers(self):
        try:
            return self.ask("GET", "clock")
        except (urllib.error.URLError, ConnectionError):
            return None


@pytest.fixture
def served(server):
    running = Served(server)
    yield running
    running.process.kill()
    running.process.wait()


def test_all_lines_and_records_come_by_asking(served):
    """The clock of the master is 7 s behind ours, as it was told: all that comes is on ours."""
    served.until(served.answers)
    with pytest.raises(urllib.error.HTTPError, match="404"):
        served.ask("GET", "clock", token="wrong")
    files = {"golden": GOLDEN.read_text(encoding="utf-8")}
    served.ask("PUT", "load", {"config": served.config, "files": files, "join_s": 60})
    with pytest.raises(urllib.error.HTTPError, match="400"):
        served.ask("PUT", "load", {"config": served.config, "files": files, "join_s": 60})
    with joining(served.rpc), joining(served.rpc):
        served.until(lambda: served.line("ready"))
        start_ns = time.monotonic_ns() + SECOND + 7 * SECOND
        served.ask("PUT", "say", {"start_ns": start_ns, "ahead_ns": 7 * SECOND})
        served.ask("PUT", "say", {"stop_ns": start_ns + SECOND})
        served.until(served.poll)
    served.ask("PUT", "leave", {})

    assert served.process.wait(timeout=30) == 0
    done = served.lines[-1]
    assert (done["state"], done["start_ns"]) == ("done", start_ns)
    rows = [row for file in served.files for row in pa.ipc.open_stream(file).read_all().to_pylist()]
    assert sorted(row["arrival"] for row in rows) == list(range(done["arrivals"]))
    assert all(start_ns <= row["scheduled_ns"] < done["stop_ns"] for row in rows)
