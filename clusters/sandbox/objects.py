"""An object is the JSON of the wire as a dict: shared and never changed once it is stored, copied by who changes it."""

from __future__ import annotations

import datetime
import json
from typing import Any

Object = dict[str, Any]


def now() -> str:
    """The present as metav1.Time (whole seconds, UTC)."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def thaw(value: Any) -> Any:
    """A deep copy of JSON data, free to change."""
    if isinstance(value, dict):
        return {k: thaw(v) for k, v in value.items()}
    if isinstance(value, list):
        return [thaw(v) for v in value]
    return value


class Stored(dict[str, Any]):
    """An object in the store, with its JSON once somebody asked for it."""

    __slots__ = ("_item",)

    def item(self) -> bytes:
        """As JSON without apiVersion and kind, as it stands in the list of a built-in kind; made once."""
        try:
            return self._item  # type: ignore[has-type, no-any-return]
        except AttributeError:
            bare = {k: v for k, v in self.items() if k not in ("apiVersion", "kind")}
            self._item = json.dumps(bare, separators=(",", ":")).encode()
            return self._item

    def wire(self, api_version: str = "") -> bytes:
        """The whole object as JSON; custom ones under the version that was asked for."""
        head = f'{{"kind":"{self["kind"]}","apiVersion":"{api_version or self["apiVersion"]}",'
        return head.encode() + self.item()[1:]
