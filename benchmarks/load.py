"""How well the load keeps its schedule, and what a request costs: `python benchmarks/load.py [--seconds 15]`.

Each client at several rates, each against a reference server of its own on this machine.
Fidelity is the lag from schedule to send; cost is the CPU time of the load process per request, which is the sound
number on a noisy machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import socket
import subprocess
import sys
import tempfile
import time
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


def measure(user: str, protocol: str, rate_per_s: float, seconds: float) -> dict[str, Any]:
    """One load against one fresh server."""
    http_port, grpc_port = free_port(), free_port()
    env = os.environ | {"POD_IP": "127.0.0.1", "HTTP_PORT": str(http_port), "GRPC_PORT": str(grpc_port)}
    server = subprocess.Popen(
        [sys.executable, "-m", "clusters.platform.server"], cwd=ROOT, env=env, stderr=subprocess.DEVNULL
    )
    try:
        with tempfile.TemporaryDirectory() as out:
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
                "kept_share": 0.5,
                "users": round(1.25 * rate_per_s * 1.5) + 8,
                "max_duration_ns": 600 * SECOND,
                "out": out,
            }
            return offer(config, Path(out), seconds)
    finally:
        server.terminate()
        server.wait()


def offer(config: dict[str, Any], out: Path, seconds: float) -> dict[str, Any]:
    """The figures of one load process."""
    path = out / "load.json"
    path.write_text(json.dumps(config))
    load = subprocess.Popen(
        [sys.executable, "-m", "loadtests", str(path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
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
    results = [(case, measure(*case, arguments.seconds)) for case in CASES]
    if arguments.json:
        print(
            json.dumps(
                [{"user": u, "protocol": p, "rate_per_s": r} | result for (u, p, r), result in results], indent=1
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


if __name__ == "__main__":
    main()
