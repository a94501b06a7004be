"""A scripted server and a load process, both real, for the tests of the load."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import pyarrow as pa
import pytest

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "experiments" / "golden" / "detector.json"
SECOND = 1_000_000_000


class ScriptedServer:
    """The process of scripted_server.py."""

    def __init__(self, host="127.0.0.1", http_port=0, grpc_port=0):
        self.host = host
        self.process = subprocess.Popen(
            [
                sys.executable,
                str(Path(__file__).with_name("scripted_server.py")),
                str(GOLDEN),
                host,
                str(http_port),
                str(grpc_port),
            ],
            stdout=subprocess.PIPE,
        )
        ports = json.loads(self.process.stdout.readline())
        self.http_port, self.grpc_port = ports["http"], ports["grpc"]

    def behave(self, mode):
        urllib.request.urlopen(f"http://{self.host}:{self.http_port}/behave/{mode}", timeout=5).close()

    def seen(self):
        with urllib.request.urlopen(f"http://{self.host}:{self.http_port}/seen", timeout=5) as answer:
            return json.load(answer)

    def pause(self):
        os.kill(self.process.pid, signal.SIGSTOP)

    def resume(self):
        if self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGCONT)

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()


class LoadProcess:
    """`python -m loadtests`, as the harness starts it."""

    def __init__(self, out, config, options=()):
        self.out = out
        self.config = config
        path = out / "load.json"
        path.write_text(json.dumps(config))
        self.log = (out / "load.log").open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "loadtests", *options, str(path)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
        )
        self.lines = []
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self.process.stdout:
            with self._changed:
                self.lines.append(json.loads(line))
                self._changed.notify_all()
        with self._changed:
            self.lines.append({"state": "end"})
            self._changed.notify_all()

    def say(self, **command):
        self.process.stdin.write(json.dumps(command).encode() + b"\n")
        self.process.stdin.flush()

    def wait(self, state, when=lambda line: True, limit_s=30):
        """The first line of that state for which `when` holds."""

        def found():
            return next((line for line in self.lines if line["state"] == state and when(line)), None)

        with self._changed:
            ended = self._changed.wait_for(lambda: found() or self.lines[-1:] == [{"state": "end"}], limit_s)
            line = found()
        assert line is not None, (
            f"no {state} ({ended=}); lines {self.lines[-3:]}; log {(self.out / 'load.log').read_text()[-3000:]}"
        )
        return line

    def start(self, lead_s=0.1):
        """The schedule's zero, once every user is connected."""
        self.wait("ready")
        return self.start_without_waiting(lead_s)

    def start_without_waiting(self, lead_s=0.1):
        """The schedule's zero, in so many seconds."""
        start_ns = time.monotonic_ns() + int(lead_s * SECOND)
        self.say(start_ns=start_ns)
        return start_ns

    def run(self, duration_s):
        """Offers load for so long and returns the done line and the rows."""
        start_ns = self.start()
        self.say(stop_ns=start_ns + int(duration_s * SECOND))
        return self.finish()

    def finish(self):
        done = self.wait("done")
        assert self.process.wait(timeout=10) == 0
        return done, self.rows()

    def rows(self):
        with pa.OSFile(str(self.out / f"requests-{self.config.get('worker', 0)}.arrows")) as file:
            return pa.ipc.open_stream(file).read_all().to_pylist()

    def rows_of_cut_file(self):
        """All rows of a file whose writer was killed: what follows the last whole batch is dropped."""
        return read_cut((self.out / "requests-0.arrows").read_bytes())

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self._reader.join(timeout=5)
        self.process.stdout.close()
        self.log.close()


def read_cut(data):
    """The rows of an Arrow stream up to the first torn message."""
    rows = []
    try:
        for batch in pa.ipc.open_stream(data):
            rows += batch.to_pylist()
    except (pa.ArrowInvalid, OSError):
        return rows
    return rows


@pytest.fixture
def server():
    scripted = ScriptedServer()
    yield scripted
    scripted.resume()
    scripted.kill()


def config_for(server, out):
    """What a load is told that goes to the scripted server."""
    return {
        "host": server.host,
        "http_port": server.http_port,
        "grpc_port": server.grpc_port,
        "protocol": "kserve-v2-http",
        "user": "tritonclient",
        "model": "detector",
        "golden": str(GOLDEN),
        "rate_per_s": 100.0,
        "arrivals": "poisson",
        "seed": 7,
        "timeout_ns": SECOND // 2,
        "kept_share": 0.5,
        "users": 60,
        "max_duration_ns": 60 * SECOND,
        "out": str(out),
    }


@pytest.fixture
def load(tmp_path, server):
    """Makes load processes against the scripted server; keywords change the configuration."""
    made = []

    def make(options=(), **changes):
        out = tmp_path / str(len(made))
        out.mkdir()
        config = config_for(server, out)
        made.append(LoadProcess(out, config | changes, options))
        return made[-1]

    yield make
    for process in made:
        process.end()
