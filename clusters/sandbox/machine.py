"""Everything of the cluster that is not its API: nodes, scheduler, controllers, service proxy."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from clusters.sandbox.controllers.autoscaler import Autoscalers
from clusters.sandbox.controllers.daemonset import DaemonSets
from clusters.sandbox.controllers.definitions import Definitions
from clusters.sandbox.controllers.deployment import Deployments
from clusters.sandbox.controllers.disruption import Disruptions
from clusters.sandbox.controllers.endpointslice import EndpointSlices
from clusters.sandbox.controllers.gc import GarbageCollector
from clusters.sandbox.controllers.loop import Informers
from clusters.sandbox.controllers.namespace import Namespaces
from clusters.sandbox.controllers.nodelifecycle import NodeLifecycle
from clusters.sandbox.controllers.replicaset import ReplicaSets
from clusters.sandbox.controllers.resourcequota import ResourceQuotas
from clusters.sandbox.controllers.tainteviction import TaintEvictions
from clusters.sandbox.kubelet.images import Images
from clusters.sandbox.kubelet.kubelet import Kubelet
from clusters.sandbox.node import ACTIONS, AdminDoor
from clusters.sandbox.objects import Object
from clusters.sandbox.scheduler import Scheduler
from clusters.sandbox.service_feed import ServiceFeed
from clusters.sandbox.settings import Settings
from clusters.sandbox.store import Change, Store


class _Closable(Protocol):
    def close(self) -> None: ...


class Machine:
    """The running cluster; `kubelets` by node name."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self.store, self.settings = store, settings
        self._informers = Informers(store)
        images = Images(settings.images)
        self.kubelets = {
            kubelet.name: kubelet
            for kubelet in (Kubelet(store, settings, images, n) for n in range(1, settings.nodes + 1))
        }
        self._controllers: list[_Closable] = []
        self._feed: ServiceFeed | None = None
        self._door = AdminDoor(self, settings.dir)

    async def start(self) -> None:
        """Starts the controllers, then the nodes; nodes are Ready on return."""
        informers = self._informers
        self._controllers = [
            Deployments(informers),
            ReplicaSets(informers),
            EndpointSlices(informers),
            Disruptions(informers),
            DaemonSets(informers),
            GarbageCollector(informers),
            Namespaces(informers),
            ResourceQuotas(informers),
            Definitions(informers),
            Autoscalers(informers, self.settings, self._usage),
            NodeLifecycle(informers, self.settings),
            TaintEvictions(informers),
            Scheduler(informers),
        ]
        self._feed = ServiceFeed(informers, self.settings)
        await self._feed.start()
        for kubelet in self.kubelets.values():
            kubelet.start()
        informers.on("pods", self._pod_changed)
        informers.on("nodes", self._node_changed)
        informers.on("configmaps", self._source_changed)
        informers.on("secrets", self._source_changed)
        await self._door.open()

    async def stop(self) -> None:
        """Ends everything at once, every pod's processes included."""
        await self._door.close()
        self._informers.close()
        for controller in self._controllers:
            controller.close()
        for kubelet in self.kubelets.values():
            kubelet.close()
        if self._feed is not None:
            await self._feed.close()

    def kubelet_of(self, pod: Mapping[str, Any]) -> Kubelet | None:
        """The agent of the pod's node, if that is one of ours and it works."""
        kubelet = self.kubelets.get(pod["spec"].get("nodeName", ""))
        return kubelet if kubelet is not None and kubelet.is_up else None

    def log_path(self, pod: Object, container: str, previous: bool = False) -> Path | None:
        """The container's log (CRI format); None when it has not run, or when its node does not answer."""
        kubelet = self.kubelet_of(pod)
        return None if kubelet is None else kubelet.log_path(pod, container, previous)

    async def exec(self, pod: Object, container: str, argv: list[str]) -> asyncio.subprocess.Process:
        """Starts a command in a container, its streams as pipes. OSError when it cannot be started."""
        kubelet = self.kubelet_of(pod)
        if kubelet is None:
            raise ConnectionRefusedError(f"node {pod['spec'].get('nodeName', '')} does not answer")
        return await kubelet.exec(pod, container, argv)

    def administer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """What `clusters.sandbox.node` asks for. ValueError says what is wrong with it."""
        action, name = request.get("action"), request.get("node")
        if action == "status":
            return {"nodes": {k.name: k.state for k in self.kubelets.values()}}
        if action not in ACTIONS:
            raise ValueError(f"no action {action!r}; there are {', '.join(ACTIONS)}")
        kubelet = self.kubelets.get(str(name))
        if kubelet is None:
            raise ValueError(f"no node {name!r}; there are {', '.join(self.kubelets)}")
        if action in ("gpu-sick", "gpu-heal"):
            index = request.get("index")
            if not isinstance(index, int):
                raise ValueError("which GPU? give its index, from 0")
            kubelet.set_gpu(index, healthy=action == "gpu-heal")
        elif action == "start":
            kubelet.switch_on()
        else:
            kubelet.switch_off(str(action))
        return {"node": kubelet.name, "state": kubelet.state, "sick": sorted(kubelet.devices.unhealthy)}

    def _usage(self, pod: Mapping[str, Any]) -> tuple[float, float] | None:
        """Seconds of cpu that the pod's processes have used, and the memory that they hold now."""
        kubelet = self.kubelet_of(pod)
        return None if kubelet is None else kubelet.usage(pod)

    def _pod_changed(self, change: Change) -> None:
        kubelet = self.kubelets.get(change.obj["spec"].get("nodeName", ""))
        if kubelet is not None:
            kubelet.pod_changed(change)

    def _source_changed(self, change: Change) -> None:
        """A ConfigMap or Secret that pods have as a volume."""
        if change.old is not None:
            for kubelet in self.kubelets.values():
                kubelet.source_changed(change.obj)

    def _node_changed(self, change: Change) -> None:
        kubelet = self.kubelets.get(change.obj["metadata"]["name"])
        if kubelet is not None:
            kubelet.node_changed(change)


async def start_nodes_and_controllers(store: Store, settings: Settings) -> Machine:
    """Starts all that is not the API; `await machine.stop()` ends it."""
    machine = Machine(store, settings)
    await machine.start()
    return machine
