"""JSON pointers (RFC 6901) into objects, and the JSON patches (RFC 6902) that change one field safely."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ABSENT: dict[str, Any] = {"absent": True}


def value(of: Any) -> dict[str, Any]:
    """A value as undo data holds it."""
    return {"value": of}


def join(*parts: str) -> str:
    """`/metadata/annotations/bulletproof.dev~1run`."""
    return "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in parts)


def read(obj: Any, at: str) -> dict[str, Any]:
    """The value at the pointer, or ABSENT. Empty maps count as absent: the API server drops them."""
    for part in at.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(obj, list):
            if not key.isdigit() or int(key) >= len(obj):
                return ABSENT
            obj = obj[int(key)]
        elif isinstance(obj, Mapping) and key in obj:
            obj = obj[key]
        else:
            return ABSENT
    return ABSENT if obj is None or obj == {} else value(obj)


def change(at: str, current: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The patch from one value to another. It fails as a whole when the field has another value than `current` by then.

    (An absent field cannot be tested in a JSON patch; there the mark or the caller's read has to do.)
    """
    if current == wanted:
        return []
    if "absent" in current:
        return [{"op": "add", "path": at, "value": wanted["value"]}]
    test = {"op": "test", "path": at, "value": current["value"]}
    if "absent" in wanted:
        return [test, {"op": "remove", "path": at}]
    return [test, {"op": "replace", "path": at, "value": wanted["value"]}]
