"""A kustomize folder becomes the list of objects it stands for, without the kustomize program.

A subset: `resources` (files and folders), `patches` (strategic merge and JSON 6902, inline or from a file, with a
target), `namespace` and `images`. Anything else is refused by name. Where kustomize puts new items of a merged list in
front, they stand at the end here; the objects are the same to Kubernetes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from clusters.provider import ClusterError

Object = dict[str, Any]

FILE = "kustomization.yaml"
_KNOWN = {"apiVersion", "kind", "resources", "patches", "namespace", "images"}
_TARGET = {"group", "version", "kind", "name", "namespace", "labelSelector"}
# Kinds that stand outside of namespaces and that a platform may bring.
_CLUSTER_WIDE = {
    "Namespace",
    "Node",
    "PersistentVolume",
    "PriorityClass",
    "RuntimeClass",
    "StorageClass",
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
}


def build(folder: Path) -> list[Object]:
    """The objects of the folder, in the order of its resources. Raises ClusterError that names file and field."""
    file = folder / FILE
    kustomization = _one(file)
    _only(kustomization, _KNOWN, str(file))
    objects: list[Object] = []
    for resource in kustomization.get("resources") or ():
        path = (folder / resource).resolve()
        if path.is_dir():
            objects += build(path)
        elif path.is_file():
            objects += _resources(path)
        else:
            raise ClusterError(f"{file}: resources: {resource} is neither a file nor a folder here.")
    for number, patch in enumerate(kustomization.get("patches") or ()):
        objects = _patched(objects, patch, folder, f"{file}: patches[{number}]")
    for image in kustomization.get("images") or ():
        _only(image, {"name", "newName", "newTag", "digest"}, f"{file}: images")
        for container in containers(objects):
            container["image"] = _renamed(container["image"], image)
    if namespace := kustomization.get("namespace"):
        for obj in objects:
            if obj["kind"] == "Namespace":
                obj["metadata"]["name"] = namespace
            elif obj["kind"] not in _CLUSTER_WIDE:
                obj["metadata"]["namespace"] = namespace
    return objects


def _documents(path: Path) -> list[Any]:
    try:
        documents = [document for document in yaml.safe_load_all(path.read_text(encoding="utf-8")) if document]
    except FileNotFoundError:
        raise ClusterError(f"{path} is not there.") from None
    except yaml.YAMLError as error:
        raise ClusterError(f"{path}: {error}") from error
    return documents


def _resources(path: Path) -> list[Object]:
    documents = _documents(path)
    for document in documents:
        if not isinstance(document, dict) or not {"apiVersion", "kind", "metadata"} <= document.keys():
            raise ClusterError(f"{path}: a document is no Kubernetes object (apiVersion, kind, metadata).")
    return documents


def _one(path: Path) -> Object:
    documents = _documents(path)
    if len(documents) != 1 or not isinstance(documents[0], dict):
        raise ClusterError(f"{path} is not one document of fields.")
    kustomization: Object = documents[0]
    return kustomization


def _only(mapping: Object, known: set[str], where: str) -> None:
    for key in mapping:
        if key not in known:
            raise ClusterError(f"{where}: {key} is not supported here.", hint=f"Known are {', '.join(sorted(known))}.")


def _patched(objects: list[Object], entry: Object, folder: Path, where: str) -> list[Object]:
    """The objects after one patch; a patch that meets no object is an error."""
    _only(entry, {"patch", "path", "target"}, where)
    try:
        text = entry["patch"] if "patch" in entry else (folder / entry["path"]).read_text(encoding="utf-8")
        patch = yaml.safe_load(text)
    except (KeyError, OSError, yaml.YAMLError) as error:
        raise ClusterError(f"{where}: a patch is given by `patch` or by the `path` of a file: {error}") from error
    target = entry.get("target")
    if isinstance(patch, dict):
        target = target or {"kind": patch.get("kind"), "name": re.escape(str(patch.get("metadata", {}).get("name")))}
    elif not isinstance(patch, list) or not target:
        raise ClusterError(f"{where}: a JSON patch is a list and needs a target.")
    _only(target, _TARGET, f"{where}.target")
    met = [obj for obj in objects if _matches(obj, target)]
    if not met:
        raise ClusterError(f"{where}: no object matches {target}.")
    return [changed for obj in objects for changed in ([obj] if obj not in met else _apply(obj, patch, where))]


def _matches(obj: Object, target: Object) -> bool:
    group, _, version = obj["apiVersion"].rpartition("/")
    metadata = obj["metadata"]
    have = {"group": group, "version": version, "kind": obj["kind"], "name": metadata.get("name")}
    have["namespace"] = metadata.get("namespace") or ""
    for key, wanted in target.items():
        if key == "labelSelector":
            labels = metadata.get("labels") or {}
            if not all(labels.get(name) == value for name, value in (term.split("=") for term in wanted.split(","))):
                return False
        elif not re.fullmatch(str(wanted), str(have[key])):  # kustomize's targets are anchored regular expressions
            return False
    return True


def _apply(obj: Object, patch: Any, where: str) -> list[Object]:
    """The object after the patch: none when the patch deletes it."""
    # The sandbox's API server implements both kinds of patch as Kubernetes does; here is no second opinion on them.
    from clusters.sandbox.errors import ApiError
    from clusters.sandbox.patch import json_patch, strategic
    from clusters.sandbox.schema import type_named

    try:
        if isinstance(patch, list):
            return [json_patch(obj, patch)]
        if patch.get("$patch") == "delete":
            return []
        core = "/" if "/" not in obj["apiVersion"] else ""
        changes = {key: value for key, value in patch.items() if key not in ("apiVersion", "kind")}
        return [strategic(obj, changes, type_named(f"{core}{obj['apiVersion']}/{obj['kind']}"))]
    except ApiError as error:
        raise ClusterError(f"{where}: {error.message}") from error
    except KeyError as error:
        raise ClusterError(f"{where}: no merge keys are known for {obj['apiVersion']} {obj['kind']}.") from error


def containers(objects: list[Object]) -> Iterator[Object]:
    for obj in objects:
        spec = obj.get("spec") or {}
        pod = spec if obj["kind"] == "Pod" else (spec.get("template") or {}).get("spec") or {}
        yield from pod.get("initContainers") or ()
        yield from pod.get("containers") or ()


def _renamed(image: str, change: Object) -> str:
    name, at, digest = image.partition("@")
    # A colon before the last slash is a registry's port.
    name, tag = (name.rsplit(":", 1) if ":" in name.rsplit("/", 1)[-1] else (name, ""))[:2]
    if name != change["name"]:
        return image
    name = change.get("newName", name)
    if "digest" in change:
        return f"{name}@{change['digest']}"
    if "newTag" in change:
        return f"{name}:{change['newTag']}"
    return f"{name}{':' + tag if tag else ''}{at}{digest}"
