"""The load generator as pods in the cluster: a master and its workers, made, told, heard and removed through the API.

The harness may be far from the cluster, and no pod may be able to reach it: so the master is a pod as well, and the
harness speaks to it by short requests through the API server's pod proxy. That is no port-forward: each request stands
for itself, and one that failed is asked again. What the workers record is fetched while the load goes on.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import InvalidRun, Skipped
from harness.history import clock
from harness.history.records import LOAD_UNDO, ClockOffset, Record
from harness.kube import Cluster, Object, Refused, Unreachable
from harness.run import load_manifest
from harness.run.load_link import LoadLink, OnLine
from harness.undo.entry import DeleteCreated, Entry
from harness.undo.journal import Journal

HTTP_PORT, RPC_PORT = 8089, 5557
READY_LIMIT_S = 120.0  # pulling the image, starting, connecting
UNSCHEDULABLE_S = 20.0  # a scheduler that found no node for so long will not find one
POLL_EVERY_S = 0.15
SILENCE_LIMIT_S = 6.0  # of the master, as it is of its workers
FILES = ("golden", "trace")  # fields of the configuration that name files


@dataclass(frozen=True, slots=True, kw_only=True)
class InCluster:
    """Where the pods go, and as what."""

    cluster: Cluster
    namespace: str
    run_id: str
    image: str
    avoid: tuple[str, ...]  # nodes that hold what the fault strikes
    journal: Journal
    record: Callable[[Record], None]


class LoadPods(LoadLink):
    """A load that runs in the cluster. Nothing of it is made before its undo is written."""

    def __init__(
        self, config: dict[str, Any], run_dir: Path, on_line: OnLine, place: InCluster, interrupted: threading.Event
    ) -> None:
        super().__init__(config, run_dir, on_line, ready_s=READY_LIMIT_S)
        self._place = place
        self._interrupted = interrupted
        self._token = secrets.token_hex(16)
        self._base = f"bulletproof-load-{hashlib.sha256(place.run_id.encode()).hexdigest()[:8]}"
        self._workers = [f"{self._base}-{number}" for number in range(config["workers"])]
        self._files: list[Path] = []
        self._places = [0] * config["workers"]
        self._line = 0
        self._last: list[dict[str, Any]] = []  # lines that end the load; they are heard when all of it is here
        self._ahead_ns = 0
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._plan()
        try:
            self._begin()
        except BaseException:
            self.close()
            raise

    def start(self, start_ns: int) -> None:
        """The master converts: its clock may be another machine's."""
        self._say({"start_ns": start_ns, "ahead_ns": self._ahead_ns})

    def close(self) -> None:
        """The load was told to end. The pods are removed by the journal."""
        self._closing.set()
        with contextlib.suppress(InvalidRun):  # it is gone, or will be
            self._ask("PUT", "leave", {})
        if self._thread is not None:
            self._thread.join(timeout=10)

    # -- making --

    def _plan(self) -> None:
        ops = tuple(
            DeleteCreated(kind="Pod", name=name, namespace=self._place.namespace, run_id=self._place.run_id)
            for name in (self._base, *self._workers)
        )
        entry = Entry(entry_id=LOAD_UNDO, fault_id=LOAD_UNDO, what="delete the pods of the load", ops=ops)
        self._place.journal.plan(entry, self._place.record)

    def _begin(self) -> None:
        self._files = [self.run_dir / f"requests-{number}.arrows" for number in range(len(self._workers))]
        sent = {**self.config, "out": "", "source_address": None}
        (self.run_dir / "load.json").write_text(json.dumps(sent, indent=2) + "\n", encoding="utf-8")
        serve = ["--serve", f"$(POD_IP):{HTTP_PORT}", "--listen", f"$(POD_IP):{RPC_PORT}"]
        self._create(self._base, serve, {"LOAD_TOKEN": self._token})
        master = self._await_running(self._base)
        for name in self._workers:
            self._create(name, ["--worker", f"{master['status']['podIP']}:{RPC_PORT}"], {})
        self._until(self._answers, "answers")
        files = {name: Path(self.config[name]).read_text(encoding="utf-8") for name in FILES if self.config.get(name)}
        self._ask("PUT", "load", {"config": sent, "files": files, "join_s": READY_LIMIT_S})
        self._measure("before")
        self._thread = threading.Thread(target=self._poll, name="load-poll", daemon=True)
        self._thread.start()
        for name in self._workers:
            self._await_running(name)

    def _create(self, name: str, arguments: list[str], env: dict[str, str]) -> None:
        place = self._place
        pod = load_manifest.pod(name, arguments, env, run_id=place.run_id, image=place.image, avoid=place.avoid)
        place.cluster.create("Pod", pod, place.namespace)

    def _await_running(self, name: str) -> Object:
        found: list[Object] = []
        since = time.monotonic()

        def running() -> bool:
            pod = self._place.cluster.get("Pod", name, self._place.namespace)
            if pod is None:
                raise InvalidRun(f"the load's pod {name} was deleted by somebody")
            status = pod.get("status") or {}
            if status.get("phase") in ("Failed", "Succeeded"):
                raise InvalidRun(f"the load's pod {name} ended: {load_manifest.why_ended(status)}")
            self._refuse_unschedulable(status, since)
            if (why := load_manifest.cannot_start(status)) and time.monotonic() - since > UNSCHEDULABLE_S:
                raise InvalidRun(
                    f"the load's pod {name} cannot start: {why}",
                    hint="the nodes must have the platform's image: `bulletproof cluster image --help`, or --image",
                )
            found[:] = [pod]
            return status.get("phase") == "Running" and bool(status.get("podIP"))

        self._until(running, f"has started pod {name}")
        return found[0]

    def _refuse_unschedulable(self, status: Object, since: float) -> None:
        for condition in status.get("conditions") or ():
            if condition["type"] != "PodScheduled" or condition["status"] != "False":
                continue
            if time.monotonic() - since > UNSCHEDULABLE_S:
                why = condition.get("message", "no reason given")
                if not self._place.avoid:
                    raise Skipped(f"there is no node for the load: {why}")
                raise Skipped(
                    f"there is no node for the load but {', '.join(self._place.avoid)}, which the fault strikes: {why}",
                    hint="load.beside_target: true puts it there all the same; load.from: outside needs no node",
                )

    def _until(self, holds: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + READY_LIMIT_S
        while not holds():
            if self._interrupted.is_set():
                raise InvalidRun("stopped before the load was there")
            if time.monotonic() > deadline:
                raise InvalidRun(f"the load in the cluster never {what} within {READY_LIMIT_S:.0f} s")
            time.sleep(0.1)

    # -- speaking --

    def _ask(self, method: str, path: str, body: Object | None = None) -> Object:
        place = self._place
        return place.cluster.pod_proxy(place.namespace, self._base, HTTP_PORT, method, f"{self._token}/{path}", body)

    def _answers(self) -> bool:
        try:
            self._ask("GET", "clock")
        except (Unreachable, Refused):
            return False
        return True

    def _log_hint(self) -> str:
        return "the load ran as pods, which are gone with the run: what they said last is all there is"

    def _say(self, message: dict[str, Any]) -> None:
        if not self.alive:
            raise InvalidRun("the load generator has ended", hint=self._log_hint())
        deadline = time.monotonic() + SILENCE_LIMIT_S
        while True:
            try:
                self._ask("PUT", "say", message)
            except (Unreachable, Refused) as error:
                passing = not isinstance(error, Refused) or error.code >= 500
                if not passing or time.monotonic() > deadline:
                    raise InvalidRun(f"the load's master pod cannot be told anything: {error.message}") from error
                time.sleep(POLL_EVERY_S)
            else:
                return

    def _measure(self, moment: str) -> None:
        """How far the master's clock is ahead of ours: into the history, and before the load into the start."""
        exchanges = []
        same = False
        for _ in range(clock.EXCHANGES):
            asked_ns = time.monotonic_ns()
            answer = self._ask("GET", "clock")
            exchanges.append(clock.Exchange(asked_ns, int(answer["told_ns"]), time.monotonic_ns()))
            same = bool(answer["clock"]) and answer["clock"] == clock.identity()
        offset = clock.estimate(exchanges, same=same)
        if moment == "before":
            self._ahead_ns = -offset.ahead_ns
        self._place.record(
            ClockOffset(
                t_ns=time.monotonic_ns(),
                process="load-master",
                moment=moment,
                ahead_ns=offset.ahead_ns,
                bound_ns=offset.bound_ns,
                host=self._base,
            )
        )

    # -- hearing --

    def _poll(self) -> None:
        """Lines and records, until all have come, or the master is lost."""
        heard_s = time.monotonic()
        try:
            while not self._closing.is_set():
                try:
                    done = self._poll_once()
                    heard_s = time.monotonic()
                except (Unreachable, Refused) as error:
                    done = False
                    if time.monotonic() - heard_s > SILENCE_LIMIT_S:
                        detail = f"the load's master was lost: {error.message}"
                        self._hear({"state": "lost", "detail": detail})
                        return
                if done:
                    return
                self._closing.wait(POLL_EVERY_S)
        finally:
            self._end()

    def _poll_once(self) -> bool:
        """True: there is nothing more to come."""
        places = ",".join(map(str, self._places))
        answer = self._ask("GET", f"poll?line={self._line}&at={places}")
        more = self._write(answer["chunks"])
        lines = answer["lines"]
        self._line += len(lines)
        self._last += [line for line in lines if line["state"] in ("done", "error")]
        for line in (*lines, answer["live"]):
            if line is not None and line not in self._last:
                self._hear(line)
        if more or not answer["ended"]:
            return False
        if any(line["state"] == "done" for line in self._last):
            self._measure("after")
        # Only now: every record that the last line counts is on this machine's disk.
        for line in self._last:
            self._hear(line)
        return True

    def _write(self, chunks: list[str]) -> bool:
        """True: there was something, and there may be more."""
        some = False
        for worker, chunk in enumerate(chunks):
            data = base64.b64decode(chunk)
            if data:
                some = True
                with self._files[worker].open("ab") as file:
                    file.write(data)
                self._places[worker] += len(data)
        return some
