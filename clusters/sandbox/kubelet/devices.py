"""The GPUs of a node: which there are, which are sick, which pod has which."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

GPU = "nvidia.com/gpu"


class Devices:
    """GPU ids are `GPU-<node>-<index>`; how many there are is the node's capacity, which anybody may patch."""

    def __init__(self, node: str) -> None:
        self._node = node
        self.unhealthy: set[int] = set()
        self._taken: dict[str, str] = {}  # device id -> pod uid

    def healthy(self, capacity: int) -> list[str]:
        """The ids that may be given out, out of `capacity` devices."""
        return [self.id(index) for index in range(capacity) if index not in self.unhealthy]

    def id(self, index: int) -> str:
        """The id of a device."""
        return f"GPU-{self._node}-{index}"

    def allocate(self, uid: str, spec: Mapping[str, Any], capacity: int) -> dict[str, list[str]] | None:
        """Devices for each container that asks for some; None when there are not enough free healthy ones.

        An init container's devices are free again for the containers that follow.
        """
        free = [device for device in self.healthy(capacity) if device not in self._taken]
        given: dict[str, list[str]] = {}
        taken = 0
        for container in spec["containers"]:
            count = wanted(container)
            if count:
                given[container["name"]] = free[taken : taken + count]
                taken += count
        most = taken
        for container in spec.get("initContainers") or ():
            count = wanted(container)
            if count:
                given[container["name"]] = free[:count]
                most = max(most, count)
        if most > len(free):
            return None
        for device in free[:most]:
            self._taken[device] = uid
        return given

    def release(self, uid: str) -> None:
        """The pod's devices are free again."""
        self._taken = {device: owner for device, owner in self._taken.items() if owner != uid}

    def health(self, device: str, capacity: int) -> str:
        """Healthy, Unhealthy, or Unknown for one that is no longer there."""
        index = int(device.rpartition("-")[2])
        if index in self.unhealthy:
            return "Unhealthy"
        return "Healthy" if index < capacity else "Unknown"


def wanted(container: Mapping[str, Any]) -> int:
    """How many GPUs a container asks for."""
    resources = container.get("resources") or {}
    return int((resources.get("limits") or {}).get(GPU) or (resources.get("requests") or {}).get(GPU) or 0)
