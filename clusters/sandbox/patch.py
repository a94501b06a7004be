"""What an object looks like after a JSON patch, a merge patch or a strategic merge patch."""

from __future__ import annotations

from typing import Any

from clusters.sandbox.errors import ApiError, BadRequest
from clusters.sandbox.objects import thaw
from clusters.sandbox.schema import Field, fields

_ORDER, _PRIMITIVES = "$setElementOrder/", "$deleteFromPrimitiveList/"


def merge(target: Any, patch: Any) -> Any:
    """RFC 7386: null removes, maps merge, everything else replaces. Changes `target`."""
    if not isinstance(patch, dict):
        return thaw(patch)
    result = target if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge(result.get(key), value)
    return result


def json_patch(target: Any, operations: Any) -> Any:
    """RFC 6902. A failed test or a path that is not there is a 422, as from the real server. Changes `target`."""
    if not isinstance(operations, list):
        raise BadRequest("json: cannot unmarshal object into Go value of type jsonpatch.Patch")
    root = {"": target}
    for operation in operations:
        verb, path = operation.get("op"), operation.get("path")
        try:
            _operate(root, verb, path, operation)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            said = f"the server rejected our request due to an error in our request: {verb} {path}: {error}"
            raise ApiError(422, "Invalid", said) from error
    return root[""]


def _operate(root: Any, verb: Any, path: Any, operation: dict[str, Any]) -> None:
    if verb in ("add", "replace", "test") and "value" not in operation:
        raise ValueError("no value")
    if verb == "test":
        if _get(root, path) != operation["value"]:
            raise ValueError("testing value failed")
    elif verb == "remove":
        _remove(root, path)
    elif verb == "add":
        _add(root, path, thaw(operation["value"]))
    elif verb == "replace":
        owner, last = _owner(root, path)
        owner[last if isinstance(owner, dict) else _index(owner, last)]  # must be there
        owner[last if isinstance(owner, dict) else _index(owner, last)] = thaw(operation["value"])
    elif verb == "copy":
        _add(root, path, thaw(_get(root, operation["from"])))
    elif verb == "move":
        value = _get(root, operation["from"])
        _remove(root, operation["from"])
        _add(root, path, value)
    else:
        raise ValueError("unexpected operation")


def _steps(path: str) -> list[str]:
    if path and not path.startswith("/"):
        raise ValueError("a path starts with /")
    return [step.replace("~1", "/").replace("~0", "~") for step in path.split("/")]


def _owner(root: Any, path: str) -> tuple[Any, str]:
    *steps, last = _steps(path)
    for step in steps:
        root = root[_index(root, step)] if isinstance(root, list) else root[step]
    if not isinstance(root, dict | list):
        raise ValueError("there is no such place")
    return root, last


def _get(root: Any, path: str) -> Any:
    owner, last = _owner(root, path)
    return owner[_index(owner, last)] if isinstance(owner, list) else owner[last]


def _remove(root: Any, path: str) -> None:
    owner, last = _owner(root, path)
    del owner[_index(owner, last) if isinstance(owner, list) else last]


def _add(root: Any, path: str, value: Any) -> None:
    owner, last = _owner(root, path)
    if isinstance(owner, dict):
        owner[last] = value
    elif last == "-":
        owner.append(value)
    else:
        at = int(last)
        if not 0 <= at <= len(owner):
            raise IndexError("index out of range")
        owner.insert(at, value)


def _index(owner: list[Any], step: str) -> int:
    at = int(step)
    if not 0 <= at < len(owner):
        raise IndexError("index out of range")
    return at


def strategic(target: Any, patch: dict[str, Any], type_name: str | None) -> Any:
    """Kubernetes' own: lists with a merge key merge item by item; `$patch`, `$setElementOrder` and the like obeyed.

    Changes `target`. Custom kinds have no merge keys; the real server refuses this patch for them with 415.
    """
    known = fields(type_name) if type_name else None
    directive = patch.get("$patch")
    result: dict[str, Any] = target if isinstance(target, dict) and directive != "replace" else {}
    if directive == "delete":
        return {}
    retained = patch.get("$retainKeys")
    if retained is not None:
        for key in [k for k in result if k not in retained]:
            del result[key]
    for key, value in patch.items():
        if key.startswith(_PRIMITIVES):
            name = key.removeprefix(_PRIMITIVES)
            result[name] = [v for v in result.get(name) or () if v not in value]
    for key, value in patch.items():
        if key.startswith("$"):
            continue
        field = known.get(key) if known else None
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict):
            inner = field.of if field and not field.shape else None
            if value.get("$patch") == "delete" and field is not None:
                result.pop(key, None)
            elif field is not None and field.shape == "{":
                result[key] = strategic(result.get(key), value, field.of)
            else:
                result[key] = strategic(result.get(key), value, inner)
        elif isinstance(value, list) and field is not None and field.merge_key is not None:
            order = patch.get(_ORDER + key)
            result[key] = _merge_list(result.get(key) or [], value, field, field.merge_key, order)
        else:
            result[key] = thaw(value)
    for key, order in patch.items():
        name = key.removeprefix(_ORDER)
        if key.startswith(_ORDER) and name not in patch and name in result:
            field = known.get(name) if known else None
            result[name] = _ordered(result[name], order, (field.merge_key if field else "") or "")
    return result


def _merge_list(present: list[Any], patch: list[Any], field: Field, key: str, order: list[Any] | None) -> list[Any]:
    if not key:  # a set of scalars
        result = present + [v for v in patch if v not in present]
        return _ordered(result, order, "") if order else result
    if any(isinstance(item, dict) and item.get("$patch") == "replace" for item in patch):
        return [thaw(item) for item in patch if "$patch" not in item]
    result = list(present)
    for item in patch:
        if not isinstance(item, dict) or key not in item:
            raise BadRequest(f"map: {item} does not contain declared merge key: {key}")
        at = next((i for i, old in enumerate(result) if old.get(key) == item[key]), None)
        if item.get("$patch") == "delete":
            result = [old for old in result if old.get(key) != item[key]]
        elif at is None:
            result.append(strategic({}, item, field.of))
        else:
            result[at] = strategic(result[at], item, field.of)
    return _ordered(result, order, key) if order else result


def _ordered(items: list[Any], order: list[Any], key: str) -> list[Any]:
    """Items that the client ordered in its order; those it does not know stay behind the one they followed."""
    wanted = [o.get(key) if key and isinstance(o, dict) else o for o in order]
    groups: list[list[Any]] = []
    for item in items:
        identity = item.get(key) if key and isinstance(item, dict) else item
        if identity in wanted or not groups:
            groups.append([item])
        else:
            groups[-1].append(item)

    def rank(group: list[Any]) -> int:
        identity = group[0].get(key) if key and isinstance(group[0], dict) else group[0]
        return wanted.index(identity) if identity in wanted else -1

    return [item for group in sorted(groups, key=rank) for item in group]
