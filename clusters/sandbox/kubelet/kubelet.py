"""A node: registers itself, renews its lease, runs the pods bound to it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clusters.sandbox.amounts import amounts, pod_requests
from clusters.sandbox.kubelet import commands
from clusters.sandbox.kubelet.devices import GPU, Devices
from clusters.sandbox.kubelet.images import Images
from clusters.sandbox.kubelet.registration import node_object, post_ready, renew_lease
from clusters.sandbox.kubelet.worker import COMPONENT, PodWorker
from clusters.sandbox.objects import Object
from clusters.sandbox.settings import Settings
from clusters.sandbox.store import Change, Store

_MEMORY_LOOK_S = 1.0


class Addresses:
    """The pod addresses of one node, given out in turn so that a dead pod's is not soon another's."""

    def __init__(self, prefix: str) -> None:
        self._prefix, self._last, self._taken = prefix, 1, set[str]()

    def take(self) -> str:
        """A free address. RuntimeError when all 253 are in use."""
        for _ in range(253):
            self._last = self._last + 1 if self._last < 254 else 2
            address = f"{self._prefix}.{self._last}"
            if address not in self._taken:
                self._taken.add(address)
                return address
        raise RuntimeError(f"no address left in {self._prefix}.0/24")

    def give_back(self, address: str) -> None:
        """The address may be used again, in its turn."""
        self._taken.discard(address)


class Kubelet:
    """One node's agent. While it is down (`halt`) it notices and writes nothing."""

    backoff_initial_s = 10.0
    backoff_longest_s = 300.0

    def __init__(self, store: Store, settings: Settings, images: Images, number: int) -> None:
        """`number`: 1 for the first node."""
        self.store, self.settings, self.images, self.number = store, settings, images, number
        self.name = f"gpu-{number}"
        self.ip = f"{settings.network}.1.{number}"
        self.addresses = Addresses(f"{settings.network}.{16 + number}")
        self.devices = Devices(self.name)
        self.workers: dict[str, PodWorker] = {}
        self.state = "running"
        self._up = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    # The node

    @property
    def is_up(self) -> bool:
        """Whether the agent works."""
        return self._up.is_set()

    async def up(self) -> None:
        """Returns when the agent works; at once if it does."""
        await self._up.wait()

    def start(self) -> None:
        """Registers the node (or finds it registered), and begins to work."""
        if self.store.find("nodes", self.name) is None:
            self.store.create("nodes", node_object(self.settings, self.name, self.ip, self.number))
        self._up.set()
        post_ready(self.store, self.name)
        self.refresh()
        renew_lease(self.store, self.settings, self.name)
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._heartbeat()), loop.create_task(self._watch_memory())]
        self._catch_up()

    def halt(self) -> None:
        """The agent no longer works: no heartbeat, no status, nothing started or stopped. Processes live on."""
        self._up.clear()
        for task in self._tasks:
            task.cancel()
        self._tasks = []

    def switch_off(self, how: str) -> None:
        """`stop`, `freeze` or `kill-kubelet`: the node falls silent.

        A machine without power answers nothing, not even with a refusal: its processes are frozen, so that their
        connections stay open and silent, and are lost only when it is switched on again.
        """
        self.halt()
        self.state = {"stop": "stopped", "freeze": "frozen", "kill-kubelet": "without kubelet"}[how]
        if how != "kill-kubelet":
            for process in self._processes():
                process.freeze()

    def switch_on(self) -> None:
        """The node works again. After `stop` its containers are gone (exit code 255, reason Unknown)."""
        if self.is_up:
            return
        for process in self._processes():
            if self.state == "stopped":
                process.lost = True
                process.kill()
            elif self.state == "frozen":
                process.thaw()
        self.state = "running"
        self.start()

    def set_gpu(self, index: int, *, healthy: bool) -> None:
        """What a device plugin would report. ValueError when the node has no such GPU."""
        count = self.capacity(GPU)
        if not 0 <= index < count:
            raise ValueError(f"{self.name} has {count} GPUs, from 0")
        if healthy:
            self.devices.unhealthy.discard(index)
        else:
            self.devices.unhealthy.add(index)
        self.refresh()

    def source_changed(self, source: Object) -> None:
        """Pods that have this ConfigMap or Secret as a volume see its new content."""
        if self.is_up:
            for worker in self.workers.values():
                if worker.namespace == source["metadata"]["namespace"] and worker.pod["spec"].get("volumes"):
                    asyncio.get_running_loop().call_soon(worker.renew_volumes)

    def close(self) -> None:
        """Ends everything at once; for the end of the sandbox."""
        self.halt()
        for worker in self.workers.values():
            worker.kill_now()

    def node_changed(self, change: Change) -> None:
        """Somebody changed the Node: allocatable follows capacity."""
        if self.is_up and change.verb != "DELETED":
            asyncio.get_running_loop().call_soon(self.refresh)

    def refresh(self) -> None:
        """Recomputes allocatable, as kubelets do with every status they post, and the health of given GPUs."""
        node = self.store.find("nodes", self.name)
        if node is None or not self.is_up:
            return
        allocatable = dict(node["status"]["capacity"])
        if GPU in allocatable:
            allocatable[GPU] = str(len(self.devices.healthy(int(allocatable[GPU]))))

        def write(fresh: Object) -> None:
            fresh["status"]["allocatable"] = allocatable

        self.store.mutate("nodes", self.name, None, write, status=True)
        for worker in self.workers.values():
            if worker.gpus:
                worker.show_devices()

    def capacity(self, resource: str) -> int:
        """How much of a countable resource the node has."""
        node = self.store.find("nodes", self.name)
        return 0 if node is None else int(node["status"]["capacity"].get(resource, 0))

    def allocatable(self) -> Mapping[str, str]:
        """What pods may use."""
        node = self.store.find("nodes", self.name)
        return node["status"]["allocatable"] if node is not None else {}

    async def _heartbeat(self) -> None:
        while True:
            await asyncio.sleep(self.settings.node_lease_renew_s)
            renew_lease(self.store, self.settings, self.name)

    # Its pods

    def pod_changed(self, change: Change) -> None:
        """A pod that is bound to this node changed. Called while the store writes: only noted here."""
        if self.is_up:
            asyncio.get_running_loop().call_soon(self._deliver, change.verb, change.obj)

    def _deliver(self, verb: str, pod: Object) -> None:
        if not self.is_up:
            return
        uid = pod["metadata"]["uid"]
        worker = self.workers.get(uid)
        if verb == "DELETED":
            if worker is not None:
                worker.deleted()
            return
        current = self.store.find("pods", pod["metadata"]["name"], pod["metadata"]["namespace"])
        if current is None or current["metadata"]["uid"] != uid:
            return  # gone meanwhile; its DELETED is on the way
        if worker is not None:
            worker.changed(current)
        elif (current.get("status") or {}).get("phase") not in ("Succeeded", "Failed"):
            self.workers[uid] = worker = PodWorker(self, current)
            worker.start()
            if "deletionTimestamp" in current["metadata"]:
                worker.changed(current)

    def _catch_up(self) -> None:
        """After a time of being down: what changed meanwhile, and our own view of the pods."""
        bound = [pod for pod in self.store.list("pods") if pod["spec"].get("nodeName") == self.name]
        present = {pod["metadata"]["uid"] for pod in bound}
        for uid, worker in tuple(self.workers.items()):
            if uid not in present:
                worker.deleted()
        for pod in bound:
            self._deliver("MODIFIED", pod)
        for worker in tuple(self.workers.values()):
            worker.publish()

    def admit(self, worker: PodWorker) -> tuple[str, str] | None:
        """Sets aside what the pod asks for; (reason, message) when the node has not got it (any more)."""
        allocatable = amounts(self.allocatable())
        used: dict[str, Any] = {}
        for other in self.workers.values():
            if other is not worker and not other.is_over:
                for name, amount in pod_requests(other.pod["spec"]).items():
                    used[name] = used.get(name, 0) + amount
        for name, amount in pod_requests(worker.pod["spec"]).items():
            if name == GPU:
                continue
            free = allocatable.get(name, 0) - used.get(name, 0)
            if amount > free:
                text = f"Node didn't have enough resource: {name}, requested: {amount}, used: {used.get(name, 0)}"
                return f"OutOf{name}", f"{text}, capacity: {allocatable.get(name, 0)}"
        given = self.devices.allocate(worker.uid, worker.pod["spec"], self.capacity(GPU))
        if given is None:
            text = f"Allocate failed due to no healthy devices present; cannot allocate unhealthy devices {GPU}"
            return "UnexpectedAdmissionError", f"{text}, which is unexpected"
        worker.gpus = given
        return None

    def release(self, worker: PodWorker) -> None:
        """Nothing of the pod runs any more: its devices and its address are free."""
        self.devices.release(worker.uid)
        if not worker.is_released and worker.ip and worker.ip != self.ip:
            self.addresses.give_back(worker.ip)
        worker.is_released = True

    def forget(self, worker: PodWorker) -> None:
        """The pod is gone."""
        self.workers.pop(worker.uid, None)

    def event(self, involved: Object, type_: str, reason: str, message: str) -> None:
        """Says something about a pod, while the agent works."""
        if self.is_up:
            self.store.events.record(involved, type_, reason, message, COMPONENT)

    def base_environment(self, pod: Mapping[str, Any], root: Path) -> dict[str, str]:
        """What a container finds whatever its image: the runtime's variables."""
        path = f"{Path(sys.executable).parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return {
            "PATH": path,
            "HOME": str(root),
            "TMPDIR": str(root / "tmp"),
            "HOSTNAME": pod["spec"].get("hostname") or pod["metadata"]["name"],
            "CONTAINER_ROOT": str(root),
        }

    def marks(self) -> dict[str, str]:
        """By what a process of this sandbox is known."""
        return {"BULLETPROOF_SANDBOX": self.settings.id} | self.settings.environment

    def log_path(self, pod: Mapping[str, Any], container: str, previous: bool = False) -> Path | None:
        """The log file of a container; None when it has not run."""
        worker = self.workers.get(pod["metadata"]["uid"])
        return None if worker is None else worker.container(container).log_path(previous)

    def usage(self, pod: Mapping[str, Any]) -> tuple[float, float] | None:
        """Seconds of cpu and bytes of memory of the pod's containers; None when none of them runs."""
        worker = self.workers.get(pod["metadata"]["uid"])
        running = [c.process for c in worker.containers if c.process and not c.process.ended] if worker else []
        return (sum(p.cpu_seconds() for p in running), float(sum(p.memory() for p in running))) if running else None

    async def exec(self, pod: Mapping[str, Any], container: str, argv: list[str]) -> asyncio.subprocess.Process:
        """Starts a command in a container, its three streams as pipes. OSError when it cannot be started."""
        worker = self.workers.get(pod["metadata"]["uid"])
        if worker is None:
            raise ProcessLookupError(f'pod "{pod["metadata"]["name"]}" does not run here')
        return await commands.start(worker.container(container), argv, stdin=asyncio.subprocess.PIPE)

    def _processes(self) -> list[Any]:
        return [c.process for w in self.workers.values() for c in w.containers if c.process is not None]

    async def _watch_memory(self) -> None:
        """Ends containers that hold more memory than their limit, as the kernel does with a cgroup's."""
        while True:
            await asyncio.sleep(_MEMORY_LOOK_S)
            for worker in self.workers.values():
                for container in worker.containers:
                    limit = container.memory_limit
                    if limit and container.process is not None and container.process.memory() > limit:
                        container.process.killed_for_memory = True
                        container.process.kill()
