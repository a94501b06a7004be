"""One container of a pod: pulled, started, probed, restarted with back-off, stopped in order."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clusters.sandbox.amounts import parse
from clusters.sandbox.kubelet import commands
from clusters.sandbox.kubelet.backoff import Backoff, describe, restarts
from clusters.sandbox.kubelet.ending import last_lines, start_error, terminated
from clusters.sandbox.kubelet.environment import ConfigError
from clusters.sandbox.kubelet.handlers import Answer, ask
from clusters.sandbox.kubelet.probes import Probes
from clusters.sandbox.kubelet.process import ContainerProcess, Ended
from clusters.sandbox.kubelet.program import program
from clusters.sandbox.kubelet.pulling import pull
from clusters.sandbox.kubelet.status import ContainerView, stamp, waiting
from clusters.sandbox.kubelet.stopping import stop_in_order

if TYPE_CHECKING:
    from clusters.sandbox.kubelet.images import Image
    from clusters.sandbox.kubelet.worker import PodWorker

_CONFIG_RETRY_S = 2.0
# A kubelet lists its containers once a second (PLEG): an end is noticed half a second later on average.
_NOTICE_S = 0.5


class Container:
    """A container across its restarts. `view` is what its status says."""

    def __init__(self, pod: PodWorker, spec: Mapping[str, Any], *, init: bool = False) -> None:
        self.pod, self.spec, self.init = pod, spec, init
        self.name: str = spec["name"]
        self.sidecar = init and spec.get("restartPolicy") == "Always"
        held = pod.pod["spec"].get("initContainers") and not init
        self.view = ContainerView(
            self.name,
            spec.get("image", ""),
            init=init,
            sidecar=self.sidecar,
            state=waiting("PodInitializing" if held or init else "ContainerCreating"),
        )
        clocks = pod.kubelet
        self._crashes = Backoff(clocks.backoff_initial_s, clocks.backoff_longest_s)
        self._pulls = Backoff(clocks.backoff_initial_s, clocks.backoff_longest_s)
        self.process: ContainerProcess | None = None
        self._probes: Probes | None = None
        self._life: asyncio.Task[None] | None = None
        self._started = asyncio.Event()
        self._stopping: asyncio.Task[None] | None = None
        self.places: dict[str, str] = {}
        self._failing: asyncio.Task[None] | None = None
        self._last_ended: Ended | None = None
        self._start_error = ""

        limit = ((spec.get("resources") or {}).get("limits") or {}).get("memory")
        self.memory_limit = int(parse(limit)) if limit else 0

    # From outside

    def start(self) -> None:
        """Begins to run it, and keeps it running as the restart policy says."""
        self._life = asyncio.get_running_loop().create_task(self._live())

    async def done(self) -> None:
        """Returns when it has ended for good."""
        if self._life is not None:
            await asyncio.wait([self._life])
            if not self._life.cancelled():
                self._life.result()

    async def until_started(self) -> None:
        """Returns when a sidecar counts as started."""
        await self._started.wait()

    def pod_terminates(self) -> None:
        """No more restarts; liveness no longer matters."""
        if self._probes is not None:
            self._probes.pod_terminates()
        if self._life is not None and self.process is None:
            self._life.cancel()

    async def stop(self, seconds_left: Callable[[], float], kill_reason: str | None = None) -> None:
        """preStop, SIGTERM, and SIGKILL once the grace is over; returns when nothing of it is left.

        A second call joins the first one, whose grace it may have shortened.
        """
        process = self.process
        if process is not None and process.ended is None:
            if self._stopping is None or self._stopping.done():
                self.pod.kubelet.event(
                    self.pod.pod, "Normal", "Killing", kill_reason or f"Stopping container {self.name}"
                )
                hook = (self.spec.get("lifecycle") or {}).get("preStop")
                asking = (lambda timeout_s: self._before_stop(hook, process, timeout_s)) if hook else None
                work = stop_in_order(process, seconds_left, asking, self.pod.kubelet.up)
                self._stopping = asyncio.get_running_loop().create_task(work)
            await asyncio.wait([self._stopping])
        if self._life is not None and self.pod.terminating:
            await asyncio.wait([self._life])

    def kill(self) -> None:
        """Ends its processes at once."""
        if self.process is not None:
            self.process.kill()

    def close(self) -> None:
        """Ends everything at once, without a word."""
        if self._life is not None:
            self._life.cancel()
        if self._probes is not None:
            self._probes.stop()
        self.kill()

    # Its life

    async def _live(self) -> None:
        policy = self.pod.pod["spec"].get("restartPolicy", "Always")
        while not self.pod.terminating:
            await self.pod.kubelet.up()
            await self._wait_for_its_turn()
            ended = await self._run_once(await pull(self, self._pulls))
            self._record(ended)
            again = restarts(policy, init=self.init, sidecar=self.sidecar, code=ended.code)
            if not again or self.pod.terminating:
                self.pod.publish()
                return

    async def _wait_for_its_turn(self) -> None:
        """The crash back-off: nothing at first, then CrashLoopBackOff for as long as it takes."""
        ended = self.view.state.get("terminated") or self.view.last_state.get("terminated")
        if ended is None:
            return
        at = self._last_ended.at if self._last_ended is not None else 0.0
        left = self._crashes.left(at, time.time())
        if left > 0:
            text = (
                f"back-off {self._crashes.text()} restarting failed container={self.name} pod={describe(self.pod.pod)}"
            )
            if "terminated" in self.view.state:
                self.pod.publish()  # the end itself is seen before the wait
                self.view.last_state = self.view.state
            self.view.state = waiting("CrashLoopBackOff", text)
            self.pod.publish()
            about = f"Back-off restarting failed container {self.name} in pod {describe(self.pod.pod)}"
            self.pod.kubelet.event(self.pod.pod, "Warning", "BackOff", about)
            await asyncio.sleep(left)
            await self.pod.kubelet.up()
        self._crashes.next(at, time.time())

    async def _run_once(self, image: Image) -> Ended:
        """Starts it and waits for its end."""
        kubelet = self.pod.kubelet
        ended: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()

        def on_exit(how: Ended) -> None:
            if not ended.done():
                ended.set_result(how)

        while True:
            try:
                argv, env, workdir, self.places = program(self, image)
                break
            except ConfigError as error:
                self.view.state = waiting("CreateContainerConfigError", str(error))
                kubelet.event(self.pod.pod, "Warning", "Failed", f"Error: {error}")
                self.pod.publish()
                await asyncio.sleep(_CONFIG_RETRY_S)
                await kubelet.up()
        if "terminated" in self.view.state:
            self.view.last_state = self.view.state
        if self.view.last_state:
            self.view.restarts += 1
        try:
            process = ContainerProcess(argv, env, workdir, self._log(), on_exit)
        except OSError as error:
            return self._could_not_start(argv, workdir, error)
        self.process = process
        self.view.image_id, self.view.container_id = image.digest, f"sandbox://{process.id}"
        self.view.state = {"running": {"startedAt": stamp(process.started_at)}}
        kubelet.event(self.pod.pod, "Normal", "Created", "Container created")
        kubelet.event(self.pod.pod, "Normal", "Started", "Container started")
        hook = (self.spec.get("lifecycle") or {}).get("postStart")
        if hook:
            await self._after_start(hook, process)
        if process.ended is None:
            self._begin_probes(process)
        self._show()
        try:
            how = await ended
        except asyncio.CancelledError:
            if process.ended is not None:
                self._record(process.ended)
            raise
        finally:
            if self._probes is not None:
                self._probes.stop()
        if not self.pod.terminating:
            await asyncio.sleep(_NOTICE_S)
        await kubelet.up()
        return how

    def _could_not_start(self, argv: Sequence[str], workdir: str, error: OSError) -> Ended:
        """As containerd puts it: StartError, 128."""
        self._start_error = start_error(argv, workdir, error)
        self.pod.kubelet.event(self.pod.pod, "Warning", "Failed", f"Error: {self._start_error}")
        return Ended(128, time.time())

    async def _after_start(self, hook: Mapping[str, Any], process: ContainerProcess) -> None:
        """postStart: the container counts as running only afterwards, and ends when its hook fails."""
        self.view.state = waiting("PodInitializing" if self.init else "ContainerCreating")
        answer = await self._hook(hook, 3600.0)
        self.view.state = {"running": {"startedAt": stamp(process.started_at)}}
        if not answer.ok:
            text = f"PostStartHook failed: {answer.detail}"
            self.pod.kubelet.event(self.pod.pod, "Warning", "FailedPostStartHook", text)
            await self.stop(self._own_grace({}), f"Killing container {self.name}: FailedPostStartHook")

    def _begin_probes(self, process: ContainerProcess) -> None:
        self._probes = Probes(
            self.spec,
            process.started_at,
            self._ask,
            self._show,
            self._probe_failed,
            lambda text: self.pod.kubelet.event(self.pod.pod, "Warning", "Unhealthy", text),
            self.pod.kubelet.up,
        )
        if self.pod.terminating:
            self._probes.pod_terminates()
        self._probes.start()

    def _show(self) -> None:
        """Brings what the probes say into the status."""
        running = self.process is not None and self.process.ended is None
        self.view.started = running and self._probes is not None and self._probes.started
        self.view.ready = running and self._probes is not None and self._probes.ready
        if self.view.started:
            self._started.set()
        self.pod.publish()

    async def _ask(self, probe: Mapping[str, Any], timeout_s: float) -> Answer:
        return await ask(probe, self.spec, self.pod.ip, timeout_s, self._run_words)

    async def _run_words(self, argv: Sequence[str], timeout_s: float) -> tuple[int, bytes]:
        return await commands.run(self, argv, timeout_s)

    def _probe_failed(self, kind: str, probe: Mapping[str, Any]) -> None:
        """Liveness or startup failed for good: stopped in order, then restarted like any other end."""
        reason = f"Container {self.name} failed {kind} probe, will be restarted"
        self._failing = asyncio.get_running_loop().create_task(self.stop(self._own_grace(probe), reason))

    def _own_grace(self, probe: Mapping[str, Any]) -> Callable[[], float]:
        """The grace of a stop that is not the pod's: the probe's own, or the pod's full one."""
        grace = probe.get("terminationGracePeriodSeconds")
        if grace is None:
            grace = self.pod.pod["spec"].get("terminationGracePeriodSeconds", 30)
        due = asyncio.get_running_loop().time() + float(grace)

        def left() -> float:
            own = due - asyncio.get_running_loop().time()
            return min(own, self.pod.seconds_left()) if self.pod.terminating else own

        return left

    # Its end

    async def _before_stop(self, hook: Mapping[str, Any], process: ContainerProcess, timeout_s: float) -> None:
        answer = await self._hook(hook, timeout_s)
        if not answer.ok and process.ended is None:
            text = f"PreStopHook failed: {answer.detail}"
            self.pod.kubelet.event(self.pod.pod, "Warning", "FailedPreStopHook", text)

    async def _hook(self, hook: Mapping[str, Any], timeout_s: float) -> Answer:
        if "sleep" in hook:
            await asyncio.sleep(min(float(hook["sleep"]["seconds"]), max(timeout_s, 0)))
            return Answer(True)
        return await ask(hook, self.spec, self.pod.ip, max(timeout_s, 0.001), self._run_words)

    def _record(self, ended: Ended) -> None:
        """The state `terminated`."""
        self._last_ended = ended
        process = self.process
        began = process.started_at if process is not None else ended.at
        state = terminated(ended, began, self.view.container_id if process is not None else "", self._start_error)
        if ended.code and self.spec.get("terminationMessagePolicy") == "FallbackToLogsOnError":
            state["terminated"].setdefault("message", last_lines(self._log()))
        self.view.state, self._start_error = state, ""
        self.view.ready = self.view.started = False
        self._started.clear()
        self.process = None

    def _log(self) -> Path:
        return self.pod.folder / "logs" / self.name / f"{self.view.restarts}.log"

    def log_path(self, previous: bool = False) -> Path | None:
        """The log of the latest run, or of the one before; None when there was none."""
        number = self.view.restarts - (1 if previous else 0)
        path = self.pod.folder / "logs" / self.name / f"{number}.log"
        return path if path.exists() else None
