"""A container's image: there, or waited for as kubelets wait for a registry."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from clusters.sandbox.kubelet.backoff import Backoff
from clusters.sandbox.kubelet.images import Image
from clusters.sandbox.kubelet.status import waiting

if TYPE_CHECKING:
    from clusters.sandbox.kubelet.container import Container

_TRY_S = 1.0  # how long ErrImagePull stands before it becomes ImagePullBackOff


async def pull(container: Container, backoff: Backoff) -> Image:
    """Returns the image once there is one; ErrImagePull and ImagePullBackOff meanwhile."""
    pod, view = container.pod, container.view
    kubelet, name = pod.kubelet, container.spec.get("image", "")
    while (image := kubelet.images.find(name)) is None:
        if "terminated" in view.state:
            view.last_state = view.state
        never = container.spec.get("imagePullPolicy") == "Never"
        if never:
            text = f'Container image "{name}" is not present with pull policy of Never'
            view.state = waiting("ErrImageNeverPull", text)
            kubelet.event(pod.pod, "Warning", "ErrImageNeverPull", text)
        else:
            text = f'failed to pull and unpack image "{name}": failed to resolve reference "{name}": not found'
            view.state = waiting("ErrImagePull", text)
            kubelet.event(pod.pod, "Normal", "Pulling", f'Pulling image "{name}"')
            kubelet.event(pod.pod, "Warning", "Failed", f'Failed to pull image "{name}": {text}')
            kubelet.event(pod.pod, "Warning", "Failed", "Error: ErrImagePull")
        pod.publish()
        backoff.next(time.time(), time.time())
        await asyncio.sleep(_TRY_S)
        if not never:
            view.state = waiting("ImagePullBackOff", f'Back-off pulling image "{name}": ErrImagePull: {text}')
            kubelet.event(pod.pod, "Normal", "BackOff", f'Back-off pulling image "{name}"')
            kubelet.event(pod.pod, "Warning", "Failed", "Error: ImagePullBackOff")
            pod.publish()
        await asyncio.sleep(backoff.wait_s)
        await kubelet.up()
    if not view.restarts:
        text = f'Container image "{name}" already present on machine and can be accessed by the pod'
        kubelet.event(pod.pod, "Normal", "Pulled", text)
    return image
