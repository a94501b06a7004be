"""The JSON paths that printer columns use: `.spec.size`, `.items[0]`, `.conditions[?(@.type=="Ready")].status`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_STEP = re.compile(
    r"""\.(?P<name>[\w-]+(?:\\\.[\w-]+)*)|\[(?P<index>-?\d+)\]|\['(?P<quoted>[^']+)'\]|
    \[\?\(@\.(?P<key>[\w-]+)\s*==\s*["'](?P<value>[^"']*)["']\)\]|\[(?P<all>\*)\]""",
    re.VERBOSE,
)


def find(obj: Any, path: str) -> Any:
    """The first value at the path; None when there is none, or the path is of a kind that is not known here."""
    found, at = [obj], 0
    text = path if path.startswith((".", "[")) else f".{path}"
    while at < len(text):
        step = _STEP.match(text, at)
        if step is None:
            return None
        found, at = [inner for one in found for inner in _step(one, step)], step.end()
    return found[0] if found else None


def _step(obj: Any, step: re.Match[str]) -> list[Any]:
    name = step["name"] or step["quoted"]
    if name is not None:
        name = name.replace("\\.", ".")
        return [obj[name]] if isinstance(obj, Mapping) and name in obj else []
    if not isinstance(obj, list):
        return []
    if step["all"]:
        return obj
    if step["index"] is not None:
        return obj[int(step["index"]) :][:1]
    return [one for one in obj if isinstance(one, Mapping) and str(one.get(step["key"])) == step["value"]]
