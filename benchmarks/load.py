"""How well the load keeps its schedule, and what a request costs: `python benchmarks/load.py [--seconds 5]`.

Three tables. *Cost*: our clients through their whole path (dispatcher, user, client, check, recorder, Locust's event),
Locust's stock users with the same request and the same check, and wrk (where it is there; it checks nothing), all on
kept connections, none with real-time scheduling; at saturation, where the client's core is full, and at a low rate,
where each request wakes the process. CPU time per good request is the sound number on a noisy machine; requests per
core are one second divided by it. *Recorder*: the same load without its recorder. *Fidelity*: the lag from schedule to
send, half of the connections new, with and without real-time scheduling; at half of the maximum rate too, which is the
highest that is kept for some seconds with every arrival sent, by the same users over the same connections.

Each measurement of lag has a control in the same run: a timer on each core at a higher real-time priority than the
load's (benchmarks/stalls.py). A stall is the time from when that was due to when it woke, where it is more than 1 ms.
An arrival is the machine's when its time from schedule to send overlaps a stall of any core (one never sent: when it
was due in one), late or not; all others are the load's. The share within 2 ms is given of all, and of the load's.

The server of the HTTP figures is benchmarks/answers.py, which is faster than any client here: it gives the answers of
the reference server, byte by byte. gRPC has the reference server itself.
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
sys.path.insert(0, str(ROOT))

from benchmarks import stalls  # noqa: E402
from benchmarks.figure import Figure, print_table  # noqa: E402

GOLDEN = ROOT / "experiments" / "golden" / "detector.json"
SECOND = 1_000_000_000

HTTP, GRPC = "kserve-v2-http", "kserve-v2-grpc"
# Client, rate per second; half of the connections new.
LAG_CASES = (("tritonclient", HTTP, 200.0), ("tritonclient", GRPC, 200.0), ("raw", HTTP, 1000.0))
# Client, and a rate that is more than it can.
CLIENTS = (("raw", HTTP, 20_000.0), ("tritonclient", HTTP, 8_000.0), ("tritonclient", GRPC, 4_000.0))
STOCK_USERS, SATURATING_USERS, LAG_USERS = 32, 64, 256
RAMP_S, RAMP_FROM_PER_S, WINDOW_S = 6.0, 200.0, 1.0
STEADY_S, STEADY_STEP = 4.0, 0.95
NEARLY = 0.8  # of the maximum rate, which is that of the best second: more would overload it in a worse one
LOW_PER_S = 200.0
PAIRS = 3  # of a load with and a load without its recorder
WITHIN_MS, SHARE_WITHIN = 2.0, 99.9
TIMES_HTTP_USER, MOST_RECORDER_SHARE = 5.0, 5.0
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


@contextlib.contextmanager
def fast_server() -> Iterator[tuple[int, int]]:
    """A server that answers over HTTP as the reference server does, at next to no cost, as its HTTP and gRPC port."""
    with reference_server() as (http_port, grpc_port):
        command = [sys.executable, "benchmarks/answers.py", str(http_port)]
        server = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            yield int(server.stdout.readline()), grpc_port
        finally:
            server.stdin.close()
            server.wait()


def measure(
    user: str,
    protocol: str,
    rate_per_s: float,
    seconds: float,
    *,
    kept: float = 0.5,
    real_time: bool = True,
    users: int | None = None,
    recorded: bool = True,
    ramp: bool = False,
) -> dict[str, Any]:
    """One load against one fresh server."""
    with fast_server() as (http_port, grpc_port), tempfile.TemporaryDirectory() as out:
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
            "users": users or round(1.25 * rate_per_s * 1.5) + 8,
            "max_duration_ns": 600 * SECOND,
            "out": out,
        }
        if ramp:
            config["curve"] = [(0, RAMP_FROM_PER_S), (round(seconds * SECOND), rate_per_s)]
        return offer(config, Path(out), seconds, real_time, recorded)


def no_real_time() -> None:
    """The program that is started next may not have real-time scheduling, root or not."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_CAPBSET_DROP, _CAP_SYS_NICE, 0, 0, 0)  # fails where it is gone already
    resource.setrlimit(resource.RLIMIT_RTPRIO, (0, 0))


def stock(name: str, seconds: float, rate_per_s: float | None = None) -> dict[str, Any]:
    """One of Locust's own users, at its full speed or at a rate."""
    with fast_server() as (http_port, _):
        command = [sys.executable, "benchmarks/stock_users.py", name, "127.0.0.1", str(http_port)]
        command += [str(STOCK_USERS), str(seconds), *([] if rate_per_s is None else [str(rate_per_s)])]
        env = os.environ | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    told = json.loads(done.stdout.splitlines()[-1])
    good = told["requests"] - told["failed"]
    return {
        "good": good,
        "other": told["failed"],
        "per_s": good / told["seconds"],
        "core": told["cpu_s"] / told["seconds"],
        "cpu_us": told["cpu_s"] / good * 1e6,
    }


def wrk(seconds: float) -> dict[str, Any] | None:
    """wrk with the same body, its answers unchecked; None where it is not installed."""
    program = shutil.which("wrk")
    if program is None:
        return None
    document = json.loads(GOLDEN.read_text())
    body = json.dumps({"inputs": document["cases"][0]["inputs"]})
    with fast_server() as (http_port, _), tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "post.lua"
        script.write_text(f"wrk.method = 'POST'\nwrk.body = [==[{body}]==]\n")
        target = f"http://127.0.0.1:{http_port}/v2/models/detector/infer"
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [program, "-t1", f"-c{STOCK_USERS}", f"-d{round(seconds)}s", "-s", str(script), target]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = re.search(r"(\d+) requests in", text)
    if found is None:
        raise SystemExit(f"wrk said: {text}")
    failed = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    bad = int(failed[1]) if failed else 0
    spent_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    good = int(found[1]) - bad
    return {
        "good": good,
        "other": bad,
        "per_s": good / seconds,
        "core": spent_s / seconds,
        "cpu_us": spent_s / good * 1e6,
    }


def costs(seconds: float) -> tuple[list[tuple[str, str, dict[str, Any]]], float]:
    """(client, discipline, figures) of all, and the maximum rate of the raw client."""
    found: list[tuple[str, str, dict[str, Any]]] = []
    raw_most = 0.0
    for name in ("HttpUser", "FastHttpUser"):
        found.append((f"Locust {name}", "saturated, closed loop", stock(name, seconds)))
    for user, protocol, more in CLIENTS:
        most = NEARLY * maximum_per_s(user, protocol, more)
        raw_most = raw_most or most
        one = measure(user, protocol, most, seconds, kept=1.0, real_time=False, users=SATURATING_USERS)
        found.append((f"{user} {protocol}", f"saturated, open loop, {most:.0f}/s offered", one))
    if (one_wrk := wrk(seconds)) is not None:
        found.append(("wrk, answers not checked", "saturated, closed loop", one_wrk))
    for name in ("HttpUser", "FastHttpUser"):
        found.append((f"Locust {name}", f"{LOW_PER_S:.0f}/s", stock(name, seconds, LOW_PER_S)))
    for user, protocol, _ in CLIENTS:
        one = measure(user, protocol, LOW_PER_S, seconds, kept=1.0, real_time=False)
        found.append((f"{user} {protocol}", f"{LOW_PER_S:.0f}/s", one))
    return found, raw_most


def maximum_per_s(user: str, protocol: str, more_per_s: float) -> float:
    """The most good answers a second, in any window, while the rate goes up to more than the client can."""
    one = measure(user, protocol, more_per_s, RAMP_S, kept=1.0, real_time=False, users=SATURATING_USERS, ramp=True)
    return float(one["most_per_s"])


def sustained_per_s(user: str, protocol: str, more_per_s: float) -> float:
    """The highest rate that is kept for STEADY_S with every arrival sent, half of them on new connections.

    Looked for downwards, in steps of 5 %, from the rate of a ramp at which the first arrival could not be sent: that is
    more than can be kept, because what cannot be sent waits for a user for 100 ms before it is given up.
    """
    one = measure(user, protocol, more_per_s, RAMP_S, users=LAG_USERS, ramp=True)
    never = np.isnan(one["sent_ns"])
    if not never.any():
        raise SystemExit(f"{user} {protocol} sends {more_per_s:.0f}/s: raise the rate of its ramp")
    after_s = (one["scheduled_ns"][never].min() - one["scheduled_ns"].min()) / SECOND
    rate = RAMP_FROM_PER_S + (more_per_s - RAMP_FROM_PER_S) * after_s / RAMP_S
    while np.isnan(measure(user, protocol, rate, STEADY_S, users=LAG_USERS)["sent_ns"]).any():
        rate *= STEADY_STEP
    return rate


def recorder_share(rate_per_s: float, seconds: float) -> tuple[float, float, float]:
    """CPU per request with and without the recorder, and the recorder's share: medians of pairs."""
    pairs = []
    for _ in range(PAIRS):
        more, less = (
            measure("raw", HTTP, rate_per_s, seconds, kept=1.0, users=SATURATING_USERS, recorded=recorded)["cpu_us"]
            for recorded in (True, False)
        )
        pairs.append((more, less, (more - less) / more * 100))
    more, less, share = (sorted(values)[PAIRS // 2] for values in zip(*pairs, strict=True))
    return more, less, share


def offer(config: dict[str, Any], out: Path, seconds: float, real_time: bool, recorded: bool) -> dict[str, Any]:
    """The figures of one load process."""
    path = out / "load.json"
    path.write_text(json.dumps(config))
    program = ["-m", "loadtests"] if recorded else ["benchmarks/unrecorded_load.py"]
    load = subprocess.Popen(
        [sys.executable, *program, str(path)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        preexec_fn=None if real_time else no_real_time,  # noqa: PLW1509  there are no threads here
    )
    assert load.stdin is not None
    assert load.stdout is not None
    scheduler = ""
    last: dict[str, Any] = {}
    before = after = begin = end = 0.0
    stolen = stolen_s()
    for text in load.stdout:
        line = json.loads(text)
        if line["state"] == "error":
            raise SystemExit(line["detail"])
        if line["state"] == "ready":
            scheduler = line["scheduler"]
            before = cpu_s(load.pid)
            start_ns = time.monotonic_ns() + SECOND // 5
            begin = start_ns / 1e9
            for command in ({"start_ns": start_ns}, {"stop_ns": start_ns + round(seconds * SECOND)}):
                load.stdin.write(json.dumps(command).encode() + b"\n")
            load.stdin.flush()
        if line["state"] == "live" and time.monotonic() - begin <= seconds:
            last, after, end = line, cpu_s(load.pid), time.monotonic()
    load.stdin.close()
    load.wait()
    found = {
        "good": last["ok"],
        "other": last["bad"],
        "per_s": last["ok"] / (end - begin),
        "core": (after - before) / (end - begin),
        "cpu_us": (after - before) / last["ok"] * 1e6,
        "stolen_ms": (stolen_s() - stolen) * 1e3,
        "scheduler": scheduler,
    }
    return found | lags(out / "requests-0.arrows") if recorded else found


def lags(file: Path) -> dict[str, Any]:
    """How late the requests of a file went out; what was never sent is later than any limit."""
    with pa.OSFile(str(file)) as source:
        table = pa.ipc.open_stream(source).read_all()
    scheduled_ns, sent_ns = (table.column(name).to_numpy() for name in ("scheduled_ns", "sent_ns"))
    lag_ms = (sent_ns - scheduled_ns) / 1e6
    late = np.nan_to_num(lag_ms, nan=np.inf)
    outcome = table.column("outcome").combine_chunks()
    outcomes = outcome.value_counts().to_pylist()
    ended_s = table.column("end_ns").to_numpy()[np.array(outcome.to_pylist()) == "ok"] / SECOND
    windows = np.bincount(((ended_s - ended_s.min()) / WINDOW_S).astype(np.int64)) if len(ended_s) else [0]
    return {
        "most_per_s": float(np.max(windows)) / WINDOW_S,
        "requests": len(table),
        "outcomes": {str(one["values"]): one["counts"] for one in outcomes},
        "lag_ms": [float(np.nanquantile(lag_ms, q)) for q in (0.5, 0.99, 0.999, 1)],
        "scheduled_ns": scheduled_ns,
        "sent_ns": sent_ns.astype(np.float64),
        "in_time": late <= WITHIN_MS,
        "within_5ms": float((late <= 5).mean() * 100),
    }


def main() -> int:
    """Prints Markdown tables; 1 when an aim is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0, help="of load for each line")
    seconds = parser.parse_args().seconds
    print(
        f"{os.cpu_count()} cores, {platform.machine()}, Linux {platform.release()}, Python {platform.python_version()}"
    )
    print("Client, server and everything else on the same machine.\n")
    figures: list[Figure] = []
    cost, most = costs(seconds)
    show_costs(cost)
    by_client = {(client, how.split(",")[0]): one["cpu_us"] for client, how, one in cost}
    for how in ("saturated", f"{LOW_PER_S:.0f}/s"):
        ours = by_client[f"raw {HTTP}", how]
        aims = (TIMES_HTTP_USER, 1.0) if how == "saturated" else (None, None)
        for name, aim in zip(("HttpUser", "FastHttpUser"), aims, strict=True):
            ratio = by_client[f"Locust {name}", how] / ours
            figures.append(Figure(f"requests per core, raw user, {how}", ratio, aim, f"x {name}", at_least=True))
    more, less, share = recorder_share(most, seconds)
    what = f"recorder's share of the CPU of a request, saturated ({more:.1f} µs with, {less:.1f} µs without)"
    figures.append(Figure(what, max(share, 0.0), MOST_RECORDER_SHARE, "%"))
    show_lags(seconds, figures)
    print()
    return print_table(figures)


def show_costs(cost: list[tuple[str, str, dict[str, Any]]]) -> None:
    """The first table."""
    print("| client | how | good requests | others | per second | of a core | CPU µs/request | requests per core |")
    print("|---|---|---|---|---|---|---|---|")
    for client, how, one in cost:
        print(
            f"| {client} | {how} | {one['good']} | {one['other']} | {one['per_s']:.0f} | {one['core']:.0%} "
            f"| {one['cpu_us']:.0f} | {1e6 / one['cpu_us']:.0f}/s |",
            flush=True,
        )


def show_lags(seconds: float, figures: list[Figure]) -> None:
    """The second table; its figures are added to the others."""
    half = sustained_per_s(*CLIENTS[0]) / 2
    print(
        "\n| client, half of the connections new | rate | scheduler | sent within 2 ms | the machine's by the control "
        "| of the load's within 2 ms | within 5 ms | lag p50 / p99 / p99.9 / max, ms | CPU µs/request "
        "| stolen by the hypervisor, ms | outcomes |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for user, protocol, rate in (*LAG_CASES, ("raw", HTTP, half)):
        for real_time in (True, False):
            users = LAG_USERS if rate == half else None
            with stalls.watched() as control:
                one = measure(user, protocol, rate, seconds, real_time=real_time, users=users)
            share, stood, own = shares(one, control)
            lag = " / ".join(f"{value:.2f}" for value in one["lag_ms"])
            outcomes = ", ".join(f"{count} {name}" for name, count in one["outcomes"].items())
            print(
                f"| {user} {protocol} | {rate:.0f}/s | {one['scheduler']} | {share:.3f} % | {of_control(stood)} "
                f"| {of_control(own)} | {one['within_5ms']:.3f} % | {lag} | {one['cpu_us']:.0f} "
                f"| {one['stolen_ms']:.0f} | {outcomes} |",
                flush=True,
            )
            if rate == half:
                aim = SHARE_WITHIN if real_time else None
                what = f"sent within 2 ms at half of the maximum rate ({half:.0f}/s), {one['scheduler']}"
                figures.append(Figure(what, share, aim, "%", at_least=True))
                if own is not None:
                    figures.append(
                        Figure(
                            "the same, without what the machine's stalls held up by the control",
                            own,
                            aim,
                            "%",
                            at_least=True,
                        )
                    )


def shares(one: dict[str, Any], control: stalls.Control) -> tuple[float, float | None, float | None]:
    """Percentages: in time of all; the machine's of all, and in time of the load's own, where there was a control."""
    in_time = one["in_time"]
    share = float(in_time.mean() * 100)
    if control.stalls is None:
        return share, None, None
    machines = stalls.standing(control.stalls, one["scheduled_ns"], one["sent_ns"])
    own = in_time[~machines]
    return share, float(machines.mean() * 100), float(own.mean() * 100) if len(own) else None


def of_control(percent: float | None) -> str:
    """A cell of the table."""
    return "no control" if percent is None else f"{percent:.3f} %"


if __name__ == "__main__":
    sys.exit(main())
