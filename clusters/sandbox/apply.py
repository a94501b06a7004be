"""Who owns which field: managedFields, and server-side apply with its conflicts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from clusters.sandbox.errors import ApiError
from clusters.sandbox.kinds import Kind
from clusters.sandbox.objects import Object, now, thaw
from clusters.sandbox.schema import Field, fields, type_of

Path = tuple[str, ...]  # steps as in fieldsV1: `f:spec`, `k:{"name":"a"}`, `v:"x"`

_NOT_OWNED = {"apiVersion", "kind"}
_OWNED_METADATA = {"labels", "annotations", "finalizers", "ownerReferences"}
_KEY_DEFAULTS = {"protocol": "TCP"}
_ATOMIC = {"LabelSelector", "NodeSelector", "LocalObjectReference", "ObjectReference", "ObjectFieldSelector"}
_ATOMIC |= {"ResourceFieldSelector", "SecretKeySelector", "ConfigMapKeySelector"}


def apply(kind: Kind, live: Object, wish: Object, manager: str, force: bool) -> Object:
    """The live object with `wish` applied; 409 with a cause for each field that another manager holds otherwise.

    What the manager applied before and leaves out now goes, unless somebody else owns it too.
    """
    type_name = type_of(kind)
    wanted = dict(_leaves(wish, type_name, ()))
    present = dict(_leaves(live, type_name, ()))
    entries = [thaw(e) for e in live["metadata"].get("managedFields") or ()]
    owned = [set(_read(e["fieldsV1"], ())) for e in entries]
    mine = next((i for i, e in enumerate(entries) if e["manager"] == manager and e["operation"] == "Apply"), None)
    conflicts: list[tuple[str, Path]] = []
    for i, entry in enumerate(entries):
        if i != mine:
            lost = {p for p in owned[i] & wanted.keys() if present.get(p) != wanted[p]}
            conflicts += [(entry["manager"] + _how(entry), path) for path in sorted(lost)]
            owned[i] -= lost
    if conflicts and not force:
        raise _conflict(conflicts)
    result: Object = _merge(thaw(live), wish, type_name)
    if mine is not None:
        others = set().union(*(o for i, o in enumerate(owned) if i != mine))
        for path in sorted(owned[mine] - wanted.keys() - others, key=len, reverse=True):
            if not any(p[: len(path)] == path for p in (*wanted, *others)):
                _remove(result, path, type_name)
    kept = [(e, o) for i, (e, o) in enumerate(zip(entries, owned, strict=True)) if i != mine and o]
    entry = _entry(kind, manager, "Apply", set(wanted))
    if mine is not None and entry["fieldsV1"] == entries[mine]["fieldsV1"]:
        entry["time"] = entries[mine]["time"]
    result["metadata"]["managedFields"] = [e | {"fieldsV1": _write(o)} for e, o in kept] + [entry]
    return result


def track(kind: Kind, old: Object | None, new: Object, manager: str, subresource: str = "") -> None:
    """After an update or create by `manager`: what changed is its own now, and nobody else's. Changes `new`."""
    type_name = type_of(kind)
    before = dict(_leaves(old, type_name, (), subresource)) if old else {}
    after = dict(_leaves(new, type_name, (), subresource))
    changed = {path for path, value in after.items() if before.get(path, _write) != value}
    gone = before.keys() - after.keys()
    meta = new["metadata"]
    entries = [thaw(e) for e in ((old or {}).get("metadata") or {}).get("managedFields") or ()]
    if meta.get("managedFields") == [] or meta.get("managedFields") == [{}]:
        entries = []  # the documented way to strip them
    elif not changed and not gone:
        if entries:
            meta["managedFields"] = entries
        return
    result, mine = [], set(changed)
    for entry in entries:
        held = set(_read(entry["fieldsV1"], ()))
        same = entry["manager"] == manager and entry["operation"] == "Update"
        if same and entry.get("subresource", "") == subresource:
            mine |= held - gone
        elif left := held - changed - gone:
            result.append(entry if left == held else entry | {"fieldsV1": _write(left)})
    if mine:
        result.append(_entry(kind, manager, "Update", mine, subresource))
    meta["managedFields"] = result


def _entry(kind: Kind, manager: str, operation: str, owned: set[Path], subresource: str = "") -> Object:
    entry = {"manager": manager, "operation": operation, "apiVersion": kind.api_version, "time": now()}
    return (
        entry
        | {"fieldsType": "FieldsV1", "fieldsV1": _write(owned)}
        | ({"subresource": subresource} if subresource else {})
    )


def _how(entry: Object) -> str:
    suffix = f' with subresource "{entry["subresource"]}"' if entry.get("subresource") else ""
    return f'"{suffix} using {entry["apiVersion"]}' if entry["operation"] == "Update" else '"'


def _conflict(conflicts: list[tuple[str, Path]]) -> ApiError:
    said = {f'conflict with "{who}': [p for w, p in conflicts if w == who] for who, _ in conflicts}
    parts = [f"{who}: {', '.join(_readable(p) for p in paths)}" for who, paths in said.items()]
    number = len(conflicts)
    message = f"Apply failed with {number} conflict{'s' if number > 1 else ''}: {'; '.join(parts)}"
    causes = [
        {"reason": "FieldManagerConflict", "message": f'conflict with "{who}', "field": _readable(path)}
        for who, path in conflicts
    ]
    return ApiError(409, "Conflict", message, {"causes": causes})


def _readable(path: Path) -> str:
    text = ""
    for step in path:
        tag, _, name = step.partition(":")
        if tag == "f":
            text += f".{name}"
        elif tag == "k":
            text += "[" + ",".join(f"{k}={json.dumps(v)}" for k, v in json.loads(name).items()) + "]"
        else:
            text += f"[={name}]"
    return text


def _leaves(obj: Any, type_name: str | None, at: Path, subresource: str = "") -> Iterator[tuple[Path, Any]]:
    """Every owned path of an object with its value; list items by their keys, atomic things as one."""
    known = fields(type_name) if type_name else None
    for name, value in obj.items():
        if not at:
            if name in _NOT_OWNED or (name == "status") != (subresource == "status"):
                continue
            if name == "metadata":
                if not subresource:
                    owned = {k: v for k, v in value.items() if k in _OWNED_METADATA}
                    yield from _leaves(owned, "ObjectMeta", ("f:metadata",))
                continue
        path = (*at, f"f:{name}")
        yield from _leaf(value, known.get(name) if known else None, path)


def _leaf(value: Any, field: Field | None, path: Path) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, dict) and value:
        if field is not None and field.shape == "{" and fields(field.of) is None:
            for key, inner in value.items():
                yield (*path, f"f:{key}"), inner
        elif field is not None and field.of in _ATOMIC:
            yield path, value
        else:
            yield from _leaves(value, field.of if field and not field.shape else None, path)
    elif isinstance(value, list) and field is not None and field.map_keys is not None:
        for item in value:
            step = _step(item, field.map_keys)
            yield (*path, step), None if field.map_keys else item
            if field.map_keys:
                yield from _leaves(item, field.of, (*path, step))
    else:
        yield path, value


def _step(item: Any, keys: tuple[str, ...]) -> str:
    if not keys:
        return "v:" + json.dumps(item)
    return "k:" + json.dumps({k: item.get(k, _KEY_DEFAULTS.get(k)) for k in sorted(keys)}, separators=(",", ":"))


def _merge(live: Any, wish: Any, type_name: str | None) -> Any:
    known = fields(type_name) if type_name else None
    for name, value in wish.items():
        field = known.get(name) if known else None
        if isinstance(value, dict) and isinstance(live.get(name), dict) and not (field and field.of in _ATOMIC):
            live[name] = _merge(live[name], value, field.of if field and not field.shape else None)
        elif isinstance(value, list) and field is not None and field.map_keys is not None:
            live[name] = _merge_items(live.get(name) or [], value, field, field.map_keys)
        else:
            live[name] = thaw(value)
    return live


def _merge_items(live: list[Any], wish: list[Any], field: Field, keys: tuple[str, ...]) -> list[Any]:
    at = {_step(item, keys): i for i, item in enumerate(live)}
    for item in wish:
        step = _step(item, keys)
        if step not in at:
            live.append(thaw(item))
        elif keys:
            live[at[step]] = _merge(live[at[step]], item, field.of)
    return live


def _remove(obj: Any, path: Path, type_name: str | None) -> None:
    """Takes one owned path out, and the maps and lists that become empty by it."""
    trail: list[tuple[Any, Any]] = []
    field: Field | None = None
    for step in path:
        tag, _, name = step.partition(":")
        if tag == "f":
            known = fields(type_name) if type_name else None
            field, key = (known.get(name) if known else None), name
            if not isinstance(obj, dict) or name not in obj:
                return
            type_name = field.of if field else None
        else:
            keys = field.map_keys or () if field else ()
            found = next((i for i, item in enumerate(obj) if _step(item, keys) == step), None)
            if found is None:
                return
            key = found  # type: ignore[assignment]
        trail.append((obj, key))
        obj = obj[key]
    for owner, key in reversed(trail):
        if owner is trail[-1][0] or owner[key] in ({}, []):
            del owner[key]


def _write(owned: set[Path]) -> Object:
    tree: Object = {}
    for path in sorted(owned, key=len):
        node = tree
        for step in path:
            node = node.setdefault(step, {})
        if path[-1].startswith("k:"):
            node["."] = {}
    return tree


def _read(tree: Object, at: Path) -> Iterator[Path]:
    for step, inner in tree.items():
        if step == ".":
            yield at
        elif inner:
            yield from _read(inner, (*at, step))
        else:
            yield (*at, step)
