"""Which release was it that a run tested? By the image digests of the pods that served when the fault struck."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from harness.history.reader import History
from harness.history.records import FaultStrike
from harness.measure.selectors import matches

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
# RUNTIME://ID: what a container runtime without digests of its own reports (docker://…, sandbox://…).
_WHOLE = re.compile(rf"\S+@{_DIGEST.pattern}|[a-z][a-z0-9-]*://\S+")


def image_error(given: str) -> str:
    """What is wrong with an image of a policy; "" when nothing is. A tag is no release: it moves."""
    if _DIGEST.fullmatch(given) or _WHOLE.fullmatch(given):
        return ""
    return f'"{given}" is no digest.'


def images_differ(history: History, images: Mapping[str, str]) -> str:
    """How the workload differs from the release, in a sentence; "" when each pod runs each image.

    Asked of the pods that were there when the first fault struck: what comes later may be the fault's own doing.
    """
    pods = _serving(history)
    if not pods:
        return "no pod of the workload was seen before the fault"
    for container, wanted in images.items():
        for pod in pods:
            running = _image_ids(pod)
            name = pod["metadata"].get("name")
            if container not in running:
                return f"pod {name} has no container {container}; it has {', '.join(running) or 'none'}"
            if not running[container]:
                return f"of pod {name} it was not seen which image its container {container} runs"
            if not _same(running[container], wanted):
                return f"container {container} of pod {name} ran {running[container]}, the release is {wanted}"
    return ""


def _serving(history: History) -> list[dict[str, Any]]:
    workload = history.experiment.bulletproof.workload
    struck_ns = min((one.t_ns for one in history.actions if _begins(one)), default=None)
    pods: dict[str, dict[str, Any]] = {}
    for event in history.watched:
        metadata = event.object.get("metadata") or {}
        if event.kind != "Pod" or "uid" not in metadata or (struck_ns is not None and event.t_ns > struck_ns):
            continue
        theirs = metadata.get("namespace") == workload.namespace
        theirs = theirs and matches(workload.selector, metadata.get("labels") or {})
        if theirs and event.verb != "DELETED" and not metadata.get("deletionTimestamp"):
            pods[metadata["uid"]] = event.object
        else:
            pods.pop(metadata["uid"], None)
    return list(pods.values())


def _begins(record: object) -> bool:
    return isinstance(record, FaultStrike) and record.step == "begin"


def _image_ids(pod: dict[str, Any]) -> dict[str, str]:
    statuses: Iterable[dict[str, Any]] = (pod.get("status") or {}).get("containerStatuses") or ()
    return {str(one.get("name")): str(one.get("imageID") or "") for one in statuses}


def _same(running: str, wanted: str) -> bool:
    """A bare digest is compared with the one that ends the image ID, whatever registry it came from."""
    if not _DIGEST.fullmatch(wanted):
        return running == wanted
    return running.rpartition("@")[2] == wanted
