"""Where a container finds its volumes.

A pod's volumes are folders below the sandbox's own folder. Without root nothing can be mounted at /etc/config, so
each container has a root folder of its own (in the variable CONTAINER_ROOT) that holds each mountPath as a link, and
a mountPath that stands in the container's command, args or plain env values is replaced by the place where the volume
is. A program that has the path built in must put CONTAINER_ROOT before it.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from clusters.sandbox.kubelet.environment import ConfigError, Place, contents, field_value, resource_value
from clusters.sandbox.store import Store

_SERVED = {"emptyDir", "configMap", "secret", "downwardAPI", "projected", "hostPath"}


def folder(logs: Path, pod: Mapping[str, Any]) -> Path:
    """The folder of everything that a pod leaves on the disk, its logs too."""
    meta = pod["metadata"]
    return logs / f"{meta['namespace']}_{meta['name']}_{meta['uid']}"


def prepare(store: Store, pod: Mapping[str, Any], place: Place, base: Path) -> None:
    """Makes or renews the pod's volumes. Raises ConfigError when a source is missing or of a kind not served here."""
    for volume in pod["spec"].get("volumes") or ():
        kinds = set(volume) - {"name"}
        kind = next(iter(kinds), "emptyDir")
        if kind not in _SERVED:
            raise ConfigError(f'volume "{volume["name"]}": {kind} is not served by the sandbox')
        target = base / "volumes" / volume["name"]
        if kind == "hostPath":
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.is_symlink():
                target.symlink_to(volume[kind]["path"])
            continue
        target.mkdir(parents=True, exist_ok=True)
        if kind != "emptyDir":
            _publish(target, _files(store, pod, place, kind, volume[kind] or {}))


def _files(
    store: Store, pod: Mapping[str, Any], place: Place, kind: str, source: Mapping[str, Any]
) -> dict[str, tuple[bytes, int]]:
    """Path in the volume -> (content, mode)."""
    mode = source.get("defaultMode", 0o644)
    if kind == "projected":
        merged: dict[str, tuple[bytes, int]] = {}
        for part in source.get("sources") or ():
            inner = next(iter(part))
            if inner not in ("configMap", "secret", "downwardAPI"):
                raise ConfigError(f"a projected {inner} is not served by the sandbox")
            merged |= _files(store, pod, place, inner, {"defaultMode": mode, **part[inner]})
        return merged
    if kind == "downwardAPI":
        return {
            item["path"]: (_downward(pod, place, item).encode(), item.get("mode", mode))
            for item in source.get("items") or ()
        }
    plural = "configmaps" if kind == "configMap" else "secrets"
    name = source.get("name") or source.get("secretName")
    obj = store.find(plural, str(name), pod["metadata"]["namespace"])
    if obj is None:
        if source.get("optional"):
            return {}
        raise ConfigError(f'{plural[:-1]} "{name}" not found')
    found = contents(plural, obj)
    items = source.get("items")
    if not items:
        return {key: (content, mode) for key, content in found.items()}
    missing = [item["key"] for item in items if item["key"] not in found]
    if missing and not source.get("optional"):
        raise ConfigError(f"references non-existent {'config' if kind == 'configMap' else 'secret'} key: {missing[0]}")
    return {item["path"]: (found[item["key"]], item.get("mode", mode)) for item in items if item["key"] in found}


def _downward(pod: Mapping[str, Any], place: Place, item: Mapping[str, Any]) -> str:
    if "fieldRef" in item:
        return field_value(pod, place, item["fieldRef"]["fieldPath"])
    return resource_value(pod, {}, place, item["resourceFieldRef"])


def _publish(target: Path, files: Mapping[str, tuple[bytes, int]]) -> None:
    """Writes the files as kubelets do: into a new folder that a link (`..data`) is then turned to, all at once."""
    data = target / "..data"
    if data.is_symlink() and _present(data) == {path: content for path, (content, _) in files.items()}:
        return
    number = 0
    while (fresh := target / f"..{number}").exists():
        number += 1
    fresh.mkdir()
    for path, (content, mode) in files.items():
        file = fresh / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        file.chmod(mode)
    old = data.resolve() if data.is_symlink() else None
    link = target / "..new"
    link.symlink_to(fresh.name)
    link.replace(data)
    for top in {Path(path).parts[0] for path in files}:
        if not (target / top).is_symlink():
            (target / top).symlink_to(Path("..data") / top)
    for entry in target.iterdir():
        if entry.is_symlink() and not entry.name.startswith("..") and not entry.exists():
            entry.unlink()
    if old is not None:
        shutil.rmtree(old, ignore_errors=True)


def _present(data: Path) -> dict[str, bytes]:
    root = data.resolve()
    return {str(file.relative_to(root)): file.read_bytes() for file in root.rglob("*") if file.is_file()}


def mount(base: Path, container: Mapping[str, Any], known: Mapping[str, str]) -> tuple[Path, dict[str, str]]:
    """The container's root folder with its mounts linked in: (root, mountPath -> where the volume really is)."""
    root = base / "root" / container["name"]
    (root / "tmp").mkdir(parents=True, exist_ok=True)
    places: dict[str, str] = {}
    for wanted in sorted(container.get("volumeMounts") or (), key=lambda m: len(m["mountPath"])):
        source = base / "volumes" / wanted["name"]
        sub = wanted.get("subPath") or _expanded(wanted.get("subPathExpr"), known)
        if sub:
            source = source / sub
            if not source.exists():
                source.mkdir(parents=True)
        link = root / wanted["mountPath"].strip("/")
        if not link.parent.resolve().is_relative_to(base.resolve()):
            raise ConfigError(f"mountPath {wanted['mountPath']} lies in a volume that is not the pod's own")
        link.parent.mkdir(parents=True, exist_ok=True)
        if link.is_symlink():
            link.unlink()
        elif link.is_dir():
            link.rmdir() if not any(link.iterdir()) else None
        link.symlink_to(source)
        places[wanted["mountPath"].rstrip("/")] = str(source)
    return root, places


def _expanded(text: str | None, known: Mapping[str, str]) -> str:
    from clusters.sandbox.kubelet.environment import expand

    return expand(text, known) if text else ""


def rewrite(words: Iterable[str], places: Mapping[str, str]) -> list[str]:
    """Words of a command with every mountPath replaced by where the volume is."""
    if not places:
        return list(words)
    paths = "|".join(re.escape(path) for path in sorted(places, key=len, reverse=True))
    pattern = re.compile(rf"(?<![\w./-])({paths})(?![\w.-])")
    return [pattern.sub(lambda match: places[match[1]], word) for word in words]


def remove(base: Path) -> None:
    """Takes the pod's folder away. hostPath links go, what they point to stays."""
    with contextlib.suppress(FileNotFoundError):
        for folder_path, folders, files in os.walk(base):
            for name in (*folders, *files):
                path = Path(folder_path) / name
                if path.is_dir() and not path.is_symlink():
                    with contextlib.suppress(OSError):
                        path.chmod(0o700)
    shutil.rmtree(base, ignore_errors=True)
