"""A cluster in memory that can die between any two steps: for the journal's crash test, where real ones are too slow.

It knows objects, uids, merge patches and JSON patches as the API server does; whatever depends on controllers is tested
on the sandbox.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from harness.kube import Cluster, Object, Refused
from harness.undo import pointer


class Crash(BaseException):
    """kill -9 of the harness, in the middle of a step."""


class Fuse:
    """Counts steps down; at zero the process "dies", before or after the step has had its effect."""

    def __init__(self) -> None:
        self.left: int | None = None
        self.after_effect = False

    @contextmanager
    def step(self) -> Iterator[None]:
        if self.left is not None and self.left < 0:
            raise Crash  # dead is dead: no handler of the same process does anything more
        burnt = self.left == 0
        if self.left is not None:
            self.left -= 1
        if burnt and not self.after_effect:
            raise Crash
        yield
        if burnt:
            raise Crash


class MemoryCluster(Cluster):
    """Objects by (kind, namespace, name)."""

    def __init__(self, fuse: Fuse) -> None:
        self.kubeconfig = None
        self.context = "memory"
        self.objects: dict[tuple[str, str | None, str], Object] = {}
        self.fuse = fuse
        self.clock = datetime(2026, 11, 21, tzinfo=UTC)
        self._uids = itertools.count(1)
        self.broken: set[tuple[str, str]] = set()  # (kind, name): every patch and delete is refused

    def server_now(self) -> datetime:
        return self.clock

    def time_passes(self, seconds: float) -> None:
        self.clock += timedelta(seconds=seconds)

    def get(self, kind: str, name: str, namespace: str | None = None) -> Object | None:
        return copy.deepcopy(self.objects.get((kind, namespace, name)))

    def list(self, kind, namespace=None, selector=None, *, fields=None):  # type: ignore[no-untyped-def]
        found = [obj for key, obj in self.objects.items() if key[0] == kind and namespace in (None, key[1])]
        return copy.deepcopy([obj for obj in found if _matches(obj, selector)])

    def create(self, kind: str, obj: Object, namespace: str | None = None) -> Object:
        key = (kind, namespace, obj["metadata"]["name"])
        if key in self.objects:
            raise Refused("there already", code=409)
        with self.fuse.step():
            made = copy.deepcopy(obj)
            made["kind"] = kind
            made["metadata"] |= {"uid": f"uid-{next(self._uids)}", "resourceVersion": "1"}
            if namespace:
                made["metadata"]["namespace"] = namespace
            self.objects[key] = made
        return copy.deepcopy(made)

    def patch(self, kind: str, name: str, namespace: str | None, patch: Any) -> Object:
        key = (kind, namespace, name)
        if key not in self.objects:
            raise Refused("not found", code=404, reason="NotFound")
        if (kind, name) in self.broken:
            raise Refused("no", code=403)
        current = self.objects[key]
        if isinstance(patch, list):
            changed = _json_patched(current, patch)
        else:
            asked = patch.get("metadata", {}).get("resourceVersion")
            if asked is not None and asked != current["metadata"]["resourceVersion"]:
                raise Refused("conflict", code=409)
            changed = _merged(copy.deepcopy(current), patch)
        with self.fuse.step():
            changed["metadata"]["resourceVersion"] = str(int(current["metadata"]["resourceVersion"]) + 1)
            self.objects[key] = changed
        return copy.deepcopy(changed)

    def delete(self, kind, name, namespace=None, *, grace=None, uid=None):  # type: ignore[no-untyped-def]
        key = (kind, namespace, name)
        if (kind, name) in self.broken:
            raise Refused("no", code=403)
        if key not in self.objects or uid not in (None, self.objects[key]["metadata"]["uid"]):
            return False
        with self.fuse.step():
            del self.objects[key]
        return True


def _matches(obj: Object, selector: str | None) -> bool:
    labels = obj["metadata"].get("labels") or {}
    for term in (selector or "").split(","):
        key, equals, value = term.removeprefix("!").partition("=")
        holds = key in labels and (not equals or labels[key] == value)
        if term and holds == term.startswith("!"):
            return False
    return True


def _merged(target: Any, patch: Object) -> Object:
    target = target if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        else:
            target[key] = _merged(target.get(key), value) if isinstance(value, dict) else copy.deepcopy(value)
    return target


def _json_patched(current: Object, patch: list[Object]) -> Object:
    changed = copy.deepcopy(current)
    for step in patch:
        parts = [part.replace("~1", "/").replace("~0", "~") for part in step["path"].split("/")[1:]]
        parent = changed
        for part in parts[:-1]:
            if part not in parent:
                raise Refused(f"no {step['path']}", code=422)
            parent = parent[part]
        now = pointer.read(changed, step["path"])
        if step["op"] == "test":
            if now != pointer.value(step["value"]):
                raise Refused("test failed", code=422)
        elif step["op"] == "remove":
            if parts[-1] not in parent:
                raise Refused("nothing to remove", code=422)
            del parent[parts[-1]]
        else:
            parent[parts[-1]] = copy.deepcopy(step["value"])
    return changed
