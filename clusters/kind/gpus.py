"""GPUs on nodes that have none: `nvidia.com/gpu` in their capacity, which kubelets keep and compute allocatable from.

A kubelet that starts again may drop it (it takes the devices for those of a machine that is gone); then it is offered
again. Only then: a GPU that goes missing while the kubelet runs is somebody's experiment.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

from clusters.api import Api, Object
from clusters.provider import ClusterError

GPU = "nvidia.com/gpu"
PER_NODE = 2
POLL_S = 2.0
# How long after its kubelet's start a node may still drop its GPUs.
WATCHED_S = 120.0
_CONTROL_PLANE = "node-role.kubernetes.io/control-plane"


def workers(api: Api) -> list[Object]:
    """The nodes that run pods of ours."""
    return [node for node in api.items("/api/v1/nodes") if not is_control_plane(node)]


def is_control_plane(node: Object) -> bool:
    """Whether the API server runs on it."""
    return _CONTROL_PLANE in (node["metadata"].get("labels") or {})


def has_gpus(node: Object) -> bool:
    """Whether it has GPUs, well or not."""
    return int((node["status"].get("capacity") or {}).get(GPU, "0")) > 0


def offer(api: Api, nodes: Iterable[str], count: int = PER_NODE) -> None:
    """Each of the nodes has `count` GPUs that can be allocated; None for `count` 0."""
    amount = str(count) if count else None
    for name in nodes:
        # Allocatable too: the kubelet would come to the same within 10 s.
        change = {"status": {"capacity": {GPU: amount}, "allocatable": {GPU: amount}}}
        api.merge(f"/api/v1/nodes/{name}/status", change)


class Keeper:
    """Offers a node's GPUs again when its kubelet was started anew and has dropped them. Ends with the process."""

    def __init__(
        self,
        api: Api,
        nodes: Iterable[str],
        *,
        count: int = PER_NODE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = api
        self._count = count
        self._nodes = frozenset(nodes)
        self._clock = clock
        self._known = self._starts()
        self._until: dict[str, float] = {}  # node -> how long it is watched
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="kind-gpus", daemon=True)

    def start(self) -> None:
        """From now on."""
        self._thread.start()

    def stop(self) -> None:
        """It does nothing any more."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def look(self) -> list[str]:
        """One look: the nodes whose GPUs were offered again."""
        starts = self._starts()
        for start in starts - self._known:
            self._until[start[0]] = self._clock() + WATCHED_S
        self._known = starts
        self._until = {node: until for node, until in self._until.items() if until > self._clock()}
        dropped = [
            name
            for name in sorted(self._until)
            if (node := self._api.find(f"/api/v1/nodes/{name}")) is not None and not has_gpus(node)
        ]
        offer(self._api, dropped, self._count)
        return dropped

    def _watch(self) -> None:
        while not self._stop.wait(POLL_S):
            try:
                self.look()
            except ClusterError:
                continue  # the API server does not answer now: whoever needs it will say so

    def _starts(self) -> set[tuple[str, str]]:
        """(node, which start) of every kubelet start that the cluster remembers."""
        query = {"fieldSelector": "involvedObject.kind=Node,reason=Starting"}
        events = self._api.request("GET", "/api/v1/events", query=query).get("items") or []
        return {
            (event["involvedObject"]["name"], f"{event['metadata']['uid']} {event['metadata']['resourceVersion']}")
            for event in events
            if event["involvedObject"]["name"] in self._nodes
            and "kubelet" in ((event.get("source") or {}).get("component"), event.get("reportingComponent"))
        }
