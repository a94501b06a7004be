"""One pod on one node, from its binding to its end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clusters.sandbox.errors import ApiError, NotFound
from clusters.sandbox.kubelet import volumes
from clusters.sandbox.kubelet.container import Container
from clusters.sandbox.kubelet.devices import GPU
from clusters.sandbox.kubelet.environment import ConfigError, Place
from clusters.sandbox.kubelet.status import stamp, status_of
from clusters.sandbox.objects import Object

if TYPE_CHECKING:
    from clusters.sandbox.kubelet.kubelet import Kubelet

log = logging.getLogger(__name__)

COMPONENT = "kubelet"
_CONFIG_RETRY_S = 2.0
_LEAST_GRACE_S = 1.0  # a kubelet gives no less, also to a pod that is no longer in the API


class PodWorker:
    """Runs a pod's containers, keeps its status true, ends it when it is deleted."""

    def __init__(self, kubelet: Kubelet, pod: Object) -> None:
        self.kubelet, self.pod = kubelet, pod
        self.uid: str = pod["metadata"]["uid"]
        self.namespace: str = pod["metadata"]["namespace"]
        self.name: str = pod["metadata"]["name"]
        self.folder: Path = volumes.folder(kubelet.settings.logs, pod)
        self.ip = ""
        self.gpus: dict[str, list[str]] = {}  # container -> device ids
        self.terminating = False
        self.is_released = False  # its address and devices are given back
        self.failure: tuple[str, str] | None = None
        self._sandbox_ready = False
        self._over = False
        self._started_at = (pod.get("status") or {}).get("startTime") or stamp(time.time())
        spec = pod["spec"]
        self.inits = [Container(self, c, init=True) for c in spec.get("initContainers") or ()]
        self.mains = [Container(self, c) for c in spec["containers"]]
        self._kill_at: float | None = None  # loop time of SIGKILL, once terminating
        self._deleted = False
        self._task: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None

    @property
    def place(self) -> Place:
        """Where the pod runs."""
        node = self.kubelet
        return Place(node.name, node.ip, self.ip, node.allocatable())

    @property
    def containers(self) -> list[Container]:
        """All containers, init containers first."""
        return [*self.inits, *self.mains]

    def start(self) -> None:
        """Begins the pod's life."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    def changed(self, pod: Object) -> None:
        """The API's version of the pod changed."""
        self.pod = pod
        if "deletionTimestamp" in pod["metadata"]:
            self._end(float(pod["metadata"].get("deletionGracePeriodSeconds", 30)))
        elif pod["spec"].get("readinessGates"):
            self.publish()

    def deleted(self) -> None:
        """The API no longer knows the pod: it ends within the least grace, and its devices may be another's at once.

        Seen on 1.36.3: a pod that came right after a forced deletion got both GPUs of the node and ran 1.5 s before
        the processes of the deleted one had ended.
        """
        self._deleted = True
        self.kubelet.devices.release(self.uid)
        self._end(_LEAST_GRACE_S)
        if (
            self._ending is not None and self._ending.done()
        ):  # the kubelet had ended it before: only its traces are left
            volumes.remove(self.folder)
            self.kubelet.forget(self)

    def fail(self, reason: str, message: str) -> None:
        """The kubelet ends the pod: its phase becomes Failed."""
        self.failure = (reason, message)
        self.kubelet.event(self.pod, "Warning", reason, message)
        self._end(float(self.pod["spec"].get("terminationGracePeriodSeconds", 30)))

    def kill_now(self) -> None:
        """Ends every process at once and stops all work; for the end of the sandbox."""
        for task in (self._task, self._ending):
            if task is not None:
                task.cancel()
        for container in self.containers:
            container.close()

    def publish(self) -> None:
        """Writes the status if it changed. While the kubelet is down nothing is written."""
        if self._deleted or not self.kubelet.is_up:
            return
        current = self.kubelet.store.find("pods", self.name, self.namespace)
        if current is None or current["metadata"]["uid"] != self.uid:
            return
        status = status_of(
            current,
            [container.view for container in self.containers],
            pod_ip=self.ip,
            host_ip=self.kubelet.ip,
            sandbox_ready=self._sandbox_ready,
            started_at=self._started_at,
            over=self._over,
            failure=self.failure,
        )

        def write(fresh: Object) -> None:
            fresh["status"] = status

        try:
            self.kubelet.store.mutate("pods", self.name, self.namespace, write, status=True)
        except ApiError as error:
            log.warning("%s/%s: status not written: %s", self.namespace, self.name, error.message)

    # Life

    async def _run(self) -> None:
        try:
            refusal = self.kubelet.admit(self)
            if refusal is not None:
                self.failure = refusal
                self._over = True
                self.publish()
                self.kubelet.event(self.pod, "Warning", *refusal)
                return
            self.publish()
            host_network = bool(self.pod["spec"].get("hostNetwork"))
            self.ip = self.kubelet.ip if host_network else self.kubelet.addresses.take()
            await self._prepare_volumes()
            self._sandbox_ready = True
            self.publish()
            if not await self._initialise():
                await self._finish()
                return
            for container in self.mains:
                container.start()
            self.publish()
            deadline_s = self.pod["spec"].get("activeDeadlineSeconds")
            done = asyncio.gather(*(container.done() for container in self.mains))
            if deadline_s is None:
                await done
            else:
                await self._until_deadline(done, float(deadline_s))
            await self._finish()
        except asyncio.CancelledError:
            raise
        except Exception as error:  # one pod's trouble must not end the node; it is logged and told
            log.exception("pod %s/%s", self.namespace, self.name)
            self.kubelet.event(self.pod, "Warning", "FailedSync", f"error syncing pod: {error}")
            raise

    async def _prepare_volumes(self) -> None:
        """Waits until every volume's source is there, as a kubelet does (FailedMount)."""
        while True:
            try:
                volumes.prepare(self.kubelet.store, self.pod, self.place, self.folder)
                return
            except ConfigError as error:
                self.kubelet.event(self.pod, "Warning", "FailedMount", f"MountVolume.SetUp failed: {error}")
                await asyncio.sleep(_CONFIG_RETRY_S)
                await self.kubelet.up()

    def renew_volumes(self) -> None:
        """A ConfigMap or Secret changed: its files follow."""
        if self._sandbox_ready and not self.terminating:
            with contextlib.suppress(ConfigError):  # a source that went away leaves the files as they were
                volumes.prepare(self.kubelet.store, self.pod, self.place, self.folder)

    async def _initialise(self) -> bool:
        """Runs the init containers in order; False when one failed for good."""
        for container in self.inits:
            container.start()
            self.publish()
            if container.sidecar:
                await container.until_started()
            else:
                await container.done()
                if container.view.exit_code != 0:
                    return False
            if self.terminating:
                return False
        return True

    async def _until_deadline(self, done: asyncio.Future[Any], deadline_s: float) -> None:
        finished, _ = await asyncio.wait([done], timeout=deadline_s)
        if not finished:
            self.fail("DeadlineExceeded", "Pod was active on the node longer than the specified deadline")
            await done

    async def _finish(self) -> None:
        """All containers ended by themselves: sidecars go, the phase becomes final. Deletion is another matter."""
        if self.terminating:
            return
        self.terminating = True
        for container in self.inits:
            container.pod_terminates()
        grace = float(self.pod["spec"].get("terminationGracePeriodSeconds", 30))
        self._kill_at = asyncio.get_running_loop().time() + grace
        await asyncio.gather(*(c.stop(self.seconds_left) for c in reversed(self.inits) if c.sidecar))
        self._over = True
        self._sandbox_ready = False
        self.publish()
        self.kubelet.release(self)

    # The end

    def seconds_left(self) -> float:
        """Grace that is left until everything is killed."""
        if self._kill_at is None:
            return float(self.pod["spec"].get("terminationGracePeriodSeconds", 30))
        return self._kill_at - asyncio.get_running_loop().time()

    def _end(self, grace_s: float) -> None:
        """Begins the pod's end. One that has begun keeps its grace.

        Seen on 1.36.3: neither a second deletion with a shorter grace nor a forced one of a terminating pod was heeded
        by the kubelet; its processes had the 30 s that they were given first.
        """
        if self._ending is not None:
            return
        self._kill_at = asyncio.get_running_loop().time() + max(grace_s, _LEAST_GRACE_S)
        self.terminating = True
        self._ending = asyncio.get_running_loop().create_task(self._terminate())

    async def _terminate(self) -> None:
        for container in self.containers:
            container.pod_terminates()
        mains = [c for c in self.containers if not c.sidecar]
        await asyncio.gather(*(c.stop(self.seconds_left) for c in mains))
        for container in reversed([c for c in self.inits if c.sidecar]):
            await container.stop(self.seconds_left)
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self.kubelet.up()
        self._over = True
        self._sandbox_ready = False
        self.publish()
        self.kubelet.release(self)
        if "deletionTimestamp" not in self.pod["metadata"] and not self._deleted:
            return  # the kubelet ended it (deadline, eviction): the object stays, Failed
        volumes.remove(self.folder)
        with contextlib.suppress(NotFound):
            if not self._deleted:
                self.kubelet.store.delete("pods", self.name, self.namespace, grace=0, uid=self.uid)
        self.kubelet.forget(self)

    def container(self, name: str) -> Container:
        """The container of that name; KeyError when the pod has none."""
        for one in self.containers:
            if one.name == name:
                return one
        raise KeyError(name)

    @property
    def is_over(self) -> bool:
        """Whether it counts no more: nothing of it runs and nothing will, or the API no longer knows it."""
        return self._over or self._deleted

    def show_devices(self) -> None:
        """Brings the health of its GPUs into the status (allocatedResourcesStatus)."""
        capacity = self.kubelet.capacity(GPU)
        for container in self.containers:
            ids = self.gpus.get(container.name)
            if ids:
                devices = [{"resourceID": one, "health": self.kubelet.devices.health(one, capacity)} for one in ids]
                container.view.resources_health = [{"name": GPU, "resources": devices}]
        self.publish()
