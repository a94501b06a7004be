"""What a container runs: the image's command or the manifest's, its environment, its folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from clusters.sandbox.kubelet import volumes
from clusters.sandbox.kubelet.environment import ConfigError, expand, variables

if TYPE_CHECKING:
    from clusters.sandbox.kubelet.container import Container
    from clusters.sandbox.kubelet.images import Image


class Program(NamedTuple):
    """Ready to be started."""

    argv: list[str]
    env: dict[str, str]
    workdir: str
    places: dict[str, str]  # paths of the manifest -> where its volumes are


def program(container: Container, image: Image) -> Program:
    """Raises ConfigError."""
    pod, spec = container.pod, container.spec
    kubelet = pod.kubelet
    known = variables(kubelet.store, pod.pod, spec, pod.place)
    root, places = volumes.mount(pod.folder, spec, known)
    command = [expand(word, known) for word in spec.get("command") or ()] or list(image.entrypoint)
    argv = [*command, *(expand(word, known) for word in spec.get("args") or ())]
    if not argv:
        raise ConfigError("no command specified")
    base = kubelet.base_environment(pod.pod, root)
    own = dict(zip(known, volumes.rewrite(known.values(), places), strict=True))
    env = base | image.env | own | kubelet.marks()
    if container.name in pod.gpus:
        env["NVIDIA_VISIBLE_DEVICES"] = ",".join(pod.gpus[container.name])
    workdir = spec.get("workingDir") or image.workdir
    return Program(volumes.rewrite(argv, places), env, volumes.rewrite([workdir], places)[0], places)
