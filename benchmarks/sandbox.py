"""The sandbox's own figures: `python benchmarks/sandbox.py`.

A sandbox with its three nodes, spoken to by one client process over kept TLS connections (plain HTTP, no client
library). Memory and idle CPU are those of the sandbox's own processes (API server with controllers and kubelets,
watchdog, service proxy), without the programs of the pods. Made nodes are Node objects without a kubelet: pods on them
are objects only.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import queue
import socket
import ssl
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.figure import Figure, print_table  # noqa: E402
from clusters.sandbox import client  # noqa: E402

CONNECTIONS = 4
RATE_S = 4.0
PODS, MADE_NODES, MADE_PODS, PAGE = 50, 500, 5000, 500
CHANGES = 200
IDLE_S = 10.0
IMAGE = "bulletproof/reference-server:1"
PROGRAM = "import os, signal; signal.signal(15, lambda *a: os._exit(0))\nwhile True: signal.pause()"


class Connection:
    """One kept connection to the API server."""

    def __init__(self, kubeconfig: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        url = urlsplit(cluster["server"])
        plain = socket.create_connection((url.hostname, url.port), timeout=60)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        tls = ssl.create_default_context(cadata=authority)
        self._socket = tls.wrap_socket(plain, server_hostname=url.hostname)
        self._fixed = f"Host: {url.netloc}\r\nAuthorization: Bearer {user['token']}\r\n"
        self._rest = b""

    def send(self, method: str, path: str, body: Any = None, content: str = "application/json") -> None:
        """A request goes out."""
        data = b"" if body is None else json.dumps(body).encode()
        head = (
            f"{method} {path} HTTP/1.1\r\n{self._fixed}Content-Type: {content}\r\nContent-Length: {len(data)}\r\n\r\n"
        )
        self._socket.sendall(head.encode() + data)

    def ask(self, method: str, path: str, body: Any = None, content: str = "application/json") -> Any:
        """The answer's JSON; ends the program when it is not 2xx."""
        self.send(method, path, body, content)
        head = self._until(b"\r\n\r\n")
        length = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
        data = self._exactly(int(length.split(b":")[1]))
        if not head.startswith(b"HTTP/1.1 2"):
            raise SystemExit(f"{method} {path}: {head.splitlines()[0].decode()} {data[:300].decode()}")
        return json.loads(data)

    def watch(self, path: str, seen: Callable[[dict[str, Any], float], bool]) -> None:
        """Tells each event of a watch with the moment at which it was here, until `seen` says that it was the last."""
        self.send("GET", path)
        self._until(b"\r\n\r\n")
        text = b""
        while True:
            size = int(self._until(b"\r\n"), 16)
            text += self._exactly(size + 2)[:-2]
            here = time.monotonic()
            *lines, text = text.split(b"\n")
            for line in lines:
                if seen(json.loads(line), here):
                    return

    def close(self) -> None:
        """Gives the connection back."""
        self._socket.close()

    def _until(self, mark: bytes) -> bytes:
        while (end := self._rest.find(mark)) < 0:
            self._more()
        found, self._rest = self._rest[:end], self._rest[end + len(mark) :]
        return found

    def _exactly(self, size: int) -> bytes:
        pieces, missing = [self._rest], size - len(self._rest)
        while missing > 0:
            self._rest = b""
            self._more()
            pieces.append(self._rest)
            missing -= len(self._rest)
        data = b"".join(pieces)
        self._rest = data[size:]
        return data[:size]

    def _more(self) -> None:
        data = self._socket.recv(1 << 20)
        if not data:
            raise SystemExit("the API server closed the connection")
        self._rest += data


def own_processes(info: client.SandboxInfo) -> list[int]:
    """The sandbox and its children that run modules of the sandbox."""
    found, parents = [info.pid], {info.pid}
    for entry in sorted(int(one.name) for one in Path("/proc").iterdir() if one.name.isdigit()):
        try:
            command = Path(f"/proc/{entry}/cmdline").read_bytes()
            parent = int(Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent in parents and b"clusters.sandbox" in command:
            found.append(entry)
    return found


def memory_mb(pids: list[int]) -> float:
    """Their proportional share of memory: what several of them map counts once."""
    total = 0
    for pid in pids:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        total += next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
    return total * 1024 / 1e6


def cpu_s(pids: list[int]) -> float:
    """User and system time that they took so far."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def idle_share(info: client.SandboxInfo) -> float:
    """The part of a core that it takes while nobody asks anything, in percent."""
    time.sleep(3.0)
    pids = own_processes(info)
    before = cpu_s(pids)
    time.sleep(IDLE_S)
    return (cpu_s(pids) - before) / IDLE_S * 100


def rate(kubeconfig: Path, act: Callable[[Connection, int, int], None]) -> float:
    """How often a second `act` (of a connection, its number, a count) goes through, over all connections."""
    done = [0] * CONNECTIONS
    end = time.monotonic() + RATE_S

    def work(number: int) -> None:
        connection = Connection(kubeconfig)
        while time.monotonic() < end:
            act(connection, number, done[number])
            done[number] += 1
        connection.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(CONNECTIONS)]
    begin = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done) / (time.monotonic() - begin)


def pod(name: str, node: str | None = None) -> dict[str, Any]:
    """A pod that does nothing."""
    container = {"name": "idle", "image": IMAGE, "command": ["python3", "-c", PROGRAM]}
    spec: dict[str, Any] = {"containers": [container], "terminationGracePeriodSeconds": 1}
    return {"metadata": {"name": name, "labels": {"app": "idle"}}, "spec": spec | ({"nodeName": node} if node else {})}


def watch_ms(kubeconfig: Path) -> float:
    """From the request that changes an object until the change is with a watcher; the median."""
    api, watcher = Connection(kubeconfig), Connection(kubeconfig)
    api.ask("POST", "/api/v1/namespaces/default/configmaps", {"metadata": {"name": "watched"}})
    arrived: queue.Queue[tuple[str, float]] = queue.Queue()
    last = str(CHANGES - 1)

    def seen(event: dict[str, Any], here: float) -> bool:
        number = (event["object"].get("data") or {}).get("number", "")
        arrived.put((number, here))
        return bool(number == last)

    path = "/api/v1/namespaces/default/configmaps?watch=1&fieldSelector=metadata.name%3Dwatched"
    thread = threading.Thread(target=watcher.watch, args=(path, seen))
    thread.start()
    arrived.get()  # it is there
    times = []
    for number in range(CHANGES):
        begin = time.monotonic()
        patch = {"data": {"number": str(number)}}
        path = "/api/v1/namespaces/default/configmaps/watched"
        api.ask("PATCH", path, patch, "application/merge-patch+json")
        told, here = arrived.get(timeout=60)
        if told != str(number):
            raise SystemExit(f"the watcher saw change {told} instead of {number}")
        times.append(here - begin)
        time.sleep(0.005)
    thread.join()
    return statistics.median(times) * 1e3


def running_mb(info: client.SandboxInfo) -> tuple[float, float]:
    """Memory with PODS running pods, and the idle share with them."""
    api = Connection(info.kubeconfig)
    for number in range(PODS):
        api.ask("POST", "/api/v1/namespaces/default/pods", pod(f"idle-{number}"))
    end = time.monotonic() + 120
    path = "/api/v1/namespaces/default/pods?labelSelector=app%3Didle&fieldSelector=status.phase%3DRunning"
    while len(api.ask("GET", path)["items"]) < PODS:
        if time.monotonic() > end:
            raise SystemExit(f"{PODS} pods do not run after 120 s")
        time.sleep(0.25)
    idle = idle_share(info)
    used = memory_mb(own_processes(info))
    api.ask("DELETE", "/api/v1/namespaces/default/pods?labelSelector=app%3Didle&gracePeriodSeconds=0")
    while api.ask("GET", "/api/v1/namespaces/default/pods")["items"]:
        time.sleep(0.1)
    return used, idle


def crowd(info: client.SandboxInfo) -> list[Figure]:
    """Thousands of Pod objects on hundreds of nodes without processes: created, watched, listed."""
    api, watcher = Connection(info.kubeconfig), Connection(info.kubeconfig)
    amounts = {"cpu": "4", "memory": "8Gi", "pods": "20"}
    for number in range(MADE_NODES):
        api.ask(
            "POST",
            "/api/v1/nodes",
            {
                "metadata": {"name": f"made-{number}"},
                "status": {"capacity": amounts, "allocatable": amounts},
            },
        )
    arrived: dict[str, float] = {}

    def seen(event: dict[str, Any], here: float) -> bool:
        if event["type"] == "ERROR":
            raise SystemExit(f"the watch ended: {event}")
        arrived.setdefault(event["object"]["metadata"]["name"], here)
        return len(arrived) == MADE_PODS

    begun = api.ask("GET", "/api/v1/namespaces/default/pods")["metadata"]["resourceVersion"]
    path = f"/api/v1/namespaces/default/pods?watch=1&resourceVersion={begun}"
    thread = threading.Thread(target=watcher.watch, args=(path, seen))
    thread.start()
    begin, sent = time.monotonic(), {}
    for number in range(MADE_PODS):
        name = f"crowd-{number}"
        sent[name] = time.monotonic()
        api.ask("POST", "/api/v1/namespaces/default/pods", pod(name, f"made-{number % MADE_NODES}"))
    created_s = time.monotonic() - begin
    thread.join(60)
    behind = [arrived[name] - moment for name, moment in sent.items() if name in arrived]
    begin, listed, token = time.monotonic(), 0, ""
    while True:
        page = api.ask("GET", f"/api/v1/namespaces/default/pods?limit={PAGE}&continue={token}")
        listed += len(page["items"])
        if not (token := page["metadata"].get("continue", "")):
            break
    listed_s = time.monotonic() - begin
    what = f"{MADE_PODS:,} pods on {MADE_NODES} made nodes"
    return [
        Figure(f"{what}: events with a watcher", len(behind), MADE_PODS, "", at_least=True),
        Figure(f"{what}: the watcher is behind by at most", max(behind, default=float("inf")), 1.0, "s"),
        Figure(f"{what}: created one after the other, one connection", MADE_PODS / created_s, None, "/s"),
        Figure(f"{what}: listed in pages of {PAGE}", listed, MADE_PODS, "", at_least=True),
        Figure(f"{what}: that takes", listed_s, None, "s"),
        Figure(f"{what}: memory", memory_mb(own_processes(info)), None, "MB"),
    ]


def figures() -> list[Figure]:
    """All of them, each from a sandbox that is fresh or has been emptied."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        times = []
        for number in range(3):
            begin = time.monotonic()
            info = client.start(Path(folder) / f"bench{number}", owner_pid=os.getpid())
            times.append(time.monotonic() - begin)
            if number < 2:
                client.stop(info.dir)
        try:
            found.append(Figure("API answers, nodes are Ready (median of 3)", statistics.median(times), 1.5, "s"))
            found.append(Figure("idle, three nodes", idle_share(info), 2.0, "% of a core"))
            found.append(Figure("a change is with a watcher (median)", watch_ms(info.kubeconfig), 10.0, "ms"))
            path = "/api/v1/namespaces/default/configmaps"
            gets = rate(info.kubeconfig, lambda api, *_: api.ask("GET", f"{path}/watched"))
            found.append(Figure(f"GET of an object, {CONNECTIONS} connections", gets, 1000, "/s", at_least=True))
            maps = rate(
                info.kubeconfig,
                lambda api, who, count: api.ask("POST", path, {"metadata": {"name": f"new-{who}-{count}"}}),
            )
            found.append(Figure(f"create of ConfigMaps, {CONNECTIONS} connections", maps, 300, "/s", at_least=True))
            path = "/api/v1/namespaces/default/pods"
            made = rate(
                info.kubeconfig,
                lambda api, who, count: api.ask("POST", path, pod(f"new-{who}-{count}", "nowhere")),
            )
            found.append(Figure(f"create of Pods, {CONNECTIONS} connections", made, 300, "/s", at_least=True))
        finally:
            client.stop(info.dir)
        info = client.start(Path(folder) / "pods", owner_pid=os.getpid())
        try:
            used, idle = running_mb(info)
            found.append(Figure(f"memory with {PODS} running pods, without their programs", used, 120.0, "MB"))
            found.append(Figure(f"idle, {PODS} running pods", idle, None, "% of a core"))
            found += crowd(info)
        finally:
            client.stop(info.dir)
    return found


def main() -> int:
    """Print the table; 1 when an aim is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    return print_table(figures())


if __name__ == "__main__":
    sys.exit(main())
