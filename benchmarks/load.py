"""How well the load keeps its schedule, and what a request costs: `python benchmarks/load.py [--seconds 15]`.

Each client at several rates, each against a reference server of its own on this machine.
Fidelity is the lag from schedule to send; cost is the CPU time of the load process per request, which is the sound
number on a noisy machine. Beside it: the lag without real-time scheduling, and what a request costs Locust's stock
users (the same request, the same check, all connections kept) and wrk (where it is installed; it checks nothing).
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import platform
import re
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "experiments" / "golden" / "detector.json"
SECOND = 1_000_000_000

# Client, rate per second.
CASES = (
    ("tritonclient", "kserve-v2-http", 200.0),
    ("tritonclient", "kserve-v2-grpc", 200.0),
    ("raw", "kserve-v2-http", 200.0),
    ("tritonclient", "kserve-v2-http", 500.0),
    ("raw", "kserve-v2-http", 1000.0),
)
# Beside Locust's stock users, on kept connections. A request costs less the higher the rate: fewer wakes of the loop.
BESIDE = (
    ("raw", "kserve-v2-http", 3000.0),
    ("raw", "kserve-v2-http", 600.0),
    ("tritonclient", "kserve-v2-http", 300.0),
    ("tritonclient", "kserve-v2-grpc", 300.0),
)
# Of prctl(2) and capabilities(7).
_PR_CAPBSET_DROP, _CAP_SYS_NICE = 24, 23


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def cpu_s(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def stolen_s() -> float:
    """Time that the hypervisor gave to others while this machine wanted to run, all cores together, so far."""
    return int(Path("/proc/stat").read_text().split()[8]) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def reference_server() -> Iterator[tuple[int, int]]:
    """A reference server that is ready, as its HTTP and its gRPC port."""
    http_port, grpc_port = free_port(), free_port()
    env = os.environ | {"POD_IP": "127.0.0.1", "HTTP_PORT": str(http_port), "GRPC_PORT": str(grpc_port)}
    server = subprocess.Popen(
        [sys.executable, "-m", "clusters.platform.server"], cwd=ROOT, env=env, stderr=subprocess.DEVNULL
    )
    try:
        until = time.monotonic() + 30
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{http_port}/v2/health/ready", timeout=1).close()
                break
            except OSError:
                if server.poll() is not None or time.monotonic() > until:
                    raise SystemExit("the reference server does not answer") from None
                time.sleep(0.05)
        yield http_port, grpc_port
    finally:
        server.terminate()
        server.wait()


def measure(
    user: str, protocol: str, rate_per_s: float, seconds: float, *, kept: float = 0.5, real_time: bool = True
) -> dict[str, Any]:
    """One load against one fresh server."""
    with reference_server() as (http_port, grpc_port), tempfile.TemporaryDirectory() as out:
        config = {
            "host": "127.0.0.1",
            "http_port": http_port,
            "grpc_port": grpc_port,
            "protocol": protocol,
            "user": user,
            "model": "detector",
            "golden": str(GOLDEN),
            "rate_per_s": rate_per_s,
            "arrivals": "poisson",
            "seed": 7,
            "timeout_ns": 3 * SECOND // 2,
            "kept_share": kept,
            "users": round(1.25 * rate_per_s * 1.5) + 8,
            "max_duration_ns": 600 * SECOND,
            "out": out,
        }
        return offer(config, Path(out), seconds, real_time)


def no_real_time() -> None:
    """The program that is started next may not have real-time scheduling, root or not."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_CAPBSET_DROP, _CAP_SYS_NICE, 0, 0, 0)  # fails where it is gone already
    resource.setrlimit(resource.RLIMIT_RTPRIO, (0, 0))


def stock(name: str, seconds: float) -> dict[str, Any]:
    """One of Locust's own users against a fresh server, at its full speed."""
    with reference_server() as (http_port, _):
        command = [sys.executable, "benchmarks/stock_users.py", name, "127.0.0.1", str(http_port), "8", str(seconds)]
        env = os.environ | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    told = json.loads(done.stdout.splitlines()[-1])
    return {"requests": told["requests"], "bad": told["failed"], "cpu_us": told["cpu_s"] / told["requests"] * 1e6}


def wrk(seconds: float) -> dict[str, Any] | None:
    """wrk with the same body, its answers unchecked; None where it is not installed."""
    program = shutil.which("wrk")
    if program is None:
        return None
    document = json.loads(GOLDEN.read_text())
    body = json.dumps({"inputs": document["cases"][0]["inputs"]})
    with reference_server() as (http_port, _), tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "post.lua"
        script.write_text(f"wrk.method = 'POST'\nwrk.body = [==[{body}]==]\n")
        target = f"http://127.0.0.1:{http_port}/v2/models/detector/infer"
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [program, "-t1", "-c8", f"-d{round(seconds)}s", "-s", str(script), target]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = re.search(r"(\d+) requests in", text)
    if found is None:
        raise SystemExit(f"wrk said: {text}")
    failed = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    cpu_s_spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "requests": int(found[1]),
        "bad": int(failed[1]) if failed else 0,
        "cpu_us": cpu_s_spent / int(found[1]) * 1e6,
    }


def beside(seconds: float) -> list[tuple[str, dict[str, Any]]]:
    """What a request costs our clients and others, one after the other."""
    found: list[tuple[str, dict[str, Any]]] = []
    for name in ("HttpUser", "FastHttpUser"):
        found.append((f"Locust {name}, closed loop", stock(name, seconds)))
    for user, protocol, rate in BESIDE:
        one = measure(user, protocol, rate, seconds, kept=1.0)
        bad = one["requests"] - one["outcomes"].get("ok", 0)
        found.append((f"{user} {protocol}, open loop, {rate:.0f}/s", one | {"bad": bad}))
    if (one_wrk := wrk(seconds)) is not None:
        found.append(("wrk, closed loop, answers not checked", one_wrk))
    return found


def offer(config: dict[str, Any], out: Path, seconds: float, real_time: bool) -> dict[str, Any]:
    """The figures of one load process."""
    path = out / "load.json"
    path.write_text(json.dumps(config))
    load = subprocess.Popen(
        [sys.executable, "-m", "loadtests", str(path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        preexec_fn=None if real_time else no_real_time,  # noqa: PLW1509  there are no threads here
    )
    assert load.stdin is not None
    assert load.stdout is not None
    ready: dict[str, Any] = {}
    before = after = 0.0
    stolen = stolen_s()
    begin = time.monotonic()
    for text in load.stdout:
        line = json.loads(text)
        if line["state"] == "error":
            raise SystemExit(line["detail"])
        if line["state"] == "ready":
            ready = line | {"after_s": time.monotonic() - begin}
            before = cpu_s(load.pid)
            start_ns = time.monotonic_ns() + SECOND // 5
            for command in ({"start_ns": start_ns}, {"stop_ns": start_ns + round(seconds * SECOND)}):
                load.stdin.write(json.dumps(command).encode() + b"\n")
            load.stdin.flush()
        if line["state"] == "live":
            after = cpu_s(load.pid)
    load.stdin.close()
    load.wait()
    with pa.OSFile(str(out / "requests-0.arrows")) as file:
        table = pa.ipc.open_stream(file).read_all()
    sent = table.column("sent_ns").to_numpy()
    scheduled = table.column("scheduled_ns").to_numpy()
    lag_ms = (sent - scheduled) / 1e6
    late = np.nan_to_num(lag_ms, nan=np.inf)
    took_ms = (table.column("end_ns").to_numpy() - sent) / 1e6
    outcomes = table.column("outcome").combine_chunks().value_counts().to_pylist()
    return {
        "ready_s": ready["after_s"],
        "scheduler": ready["scheduler"],
        "requests": len(table),
        "outcomes": {str(one["values"]): one["counts"] for one in outcomes},
        "lag_ms": [float(np.nanquantile(lag_ms, q)) for q in (0.5, 0.99, 0.999, 1)],
        "within_2ms": float((late <= 2).mean()),
        "within_5ms": float((late <= 5).mean()),
        "p50_ms": float(np.nanmedian(took_ms)),
        "stolen_ms": (stolen_s() - stolen) * 1e3,
        "cpu_us": (after - before) / len(table) * 1e6,
    }


def main() -> None:
    """Prints one Markdown table row for each case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=15.0, help="of load for each case")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    arguments = parser.parse_args()
    results = [
        (case, measure(*case, arguments.seconds, real_time=real_time)) for case in CASES for real_time in (True, False)
    ]
    others = beside(arguments.seconds)
    if arguments.json:
        print(
            json.dumps(
                {
                    "lag": [{"user": u, "protocol": p, "rate_per_s": r} | one for (u, p, r), one in results],
                    "cost": [{"client": client} | one for client, one in others],
                },
                indent=1,
            )
        )
        return
    print(
        f"{os.cpu_count()} cores, {platform.machine()}, Linux {platform.release()}, Python {platform.python_version()}"
    )
    print("Client, server and everything else on the same machine; half of the requests open a connection.\n")
    print(
        "| client | rate | sent within 2 ms | within 5 ms | lag p50 / p99 / p99.9 / max, ms "
        "| CPU µs/request | stolen by the hypervisor, ms | scheduler | outcomes |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for (user, protocol, rate), one in results:
        lag = " / ".join(f"{value:.2f}" for value in one["lag_ms"])
        outcomes = ", ".join(f"{count} {name}" for name, count in one["outcomes"].items())
        print(
            f"| {user} {protocol} | {rate:.0f}/s | {one['within_2ms']:.3%} | {one['within_5ms']:.3%} | {lag} "
            f"| {one['cpu_us']:.0f} | {one['stolen_ms']:.0f} | {one['scheduler']} | {outcomes} |"
        )
    stock_us = others[0][1]["cpu_us"]
    print("\nThe same request and the same check, all connections kept; requests per core = 1 s / CPU per request.\n")
    print("| client | requests | bad | CPU µs/request | requests per core | times HttpUser |")
    print("|---|---|---|---|---|---|")
    for client, one in others:
        cost = one["cpu_us"]
        print(
            f"| {client} | {one['requests']} | {one['bad']} | {cost:.0f} | {1e6 / cost:.0f}/s | {stock_us / cost:.1f} |"
        )


if __name__ == "__main__":
    main()
