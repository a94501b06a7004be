"""The reference platform as objects: an overlay of it, with the image that is to run in it."""

from __future__ import annotations

from clusters import kustomize
from clusters.kustomize import Object
from clusters.provider import IMAGE, overlay


def objects(platform: str, image: str | None) -> list[Object]:
    """The objects of `healthy` or of a planted defect; `image` is a user's copy of ours. Raises ClusterError."""
    found = kustomize.build(overlay(platform))
    for container in kustomize.containers(found):
        if image is not None and container["image"] == IMAGE:
            container["image"] = image
    return found


def qualified(image: str) -> str:
    """An image's name with its registry, as a kubelet completes it; podman alone would take localhost for it."""
    first, slash, _ = image.partition("/")
    if slash and (first == "localhost" or "." in first or ":" in first):
        return image
    return f"docker.io/{image}" if slash else f"docker.io/library/{image}"


def images(found: list[Object]) -> list[str]:
    """What its containers run, each once."""
    return list(dict.fromkeys(container["image"] for container in kustomize.containers(found)))
