"""Which fields an object of a kind has, and how lists of them merge: Kubernetes' own OpenAPI document, cut down.

A type in schema.json is written `string`, `bytes` (base64), `int32`, `Type`, `{Type` (a map), `[Type` (a list); then
`@key` (strategic merge by that key; `@` alone: a set), `#a,b` (server-side apply's map keys; `#` alone: a set),
`!` (retainKeys) and `*` (required).
"""

from __future__ import annotations

import functools
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clusters.sandbox.amounts import canonical
from clusters.sandbox.errors import BadRequest
from clusters.sandbox.kinds import Kind

_WRITTEN = re.compile(r"([\[{]*)([\w.-]+)(?:@(\w*))?(?:#([\w,]*))?!?(\*?)")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")


@dataclass(frozen=True, slots=True)
class Field:
    """What one field holds."""

    shape: str  # "" one value, "[" list, "{" map
    of: str  # type name or scalar
    merge_key: str | None  # strategic merge: the key, "" for sets of scalars, None replaces
    map_keys: tuple[str, ...] | None  # server-side apply: keys, () for a set, None is atomic
    required: bool


@functools.cache
def _document() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(Path(__file__).with_name("schema.json").read_text())
    return document


@functools.cache
def fields(type_name: str) -> dict[str, Field] | None:
    """The fields of a type; None for scalars and for free-form data."""
    written = _document()["types"].get(type_name)
    return None if written is None else {name: _parse(text) for name, text in written.items()}


def _parse(text: str) -> Field:
    match = _WRITTEN.fullmatch(text)
    assert match, text
    shape, of, merge_key, map_keys, required = match.groups()
    keys = None if map_keys is None else tuple(k for k in map_keys.split(",") if k)
    return Field(shape[:1], shape[1:] + of, merge_key, keys, bool(required))


def type_of(kind: Kind, version: str | None = None) -> str | None:
    """The type of a built-in kind; None for custom ones."""
    name: str | None = _document()["roots"].get(f"{kind.group}/{version or kind.version}/{kind.kind}")
    return name if not kind.custom else "CustomObject"


def type_named(root: str) -> str:
    """The type of a kind that is no resource: `policy/v1/Eviction`, `autoscaling/v1/Scale`."""
    return str(_document()["roots"][root])


class Decoder:
    """Reads an object as the API server does: wrong types are refused, unknown fields dropped and remembered."""

    def __init__(self, kind: str, version: str) -> None:
        self._kind, self._version = kind, version
        self.unknown: list[str] = []

    def decode(self, obj: Any, type_name: str) -> dict[str, Any]:
        """The object without unknown fields and nulls, quantities in their canonical form."""
        decoded: dict[str, Any] = self._value(obj, type_name, "", "")
        return decoded

    def refuse_unknown(self) -> None:
        """With fieldValidation=Strict, what was dropped is an error."""
        if self.unknown:
            said = ", ".join(f'unknown field "{path}"' for path in self.unknown)
            raise BadRequest(self._cannot(f"strict decoding error: {said}"))

    def _cannot(self, why: str) -> str:
        return f'{self._kind} in version "{self._version}" cannot be handled as a {self._kind}: {why}'

    def _wrong(self, value: Any, owner: str, path: str, go: str) -> BadRequest:
        seen = {dict: "object", list: "array", str: "string", bool: "bool"}.get(type(value), f"number {value}")
        seen = "number" if seen.startswith("number") and go not in ("int32", "int64") else seen
        return BadRequest(
            self._cannot(f"json: cannot unmarshal {seen} into Go struct field {owner}.{path} of type {go}")
        )

    def _value(self, value: Any, type_name: str, owner: str, path: str) -> Any:
        known = fields(type_name)
        if known is None:
            return self._scalar(value, type_name, owner, path)
        if not isinstance(value, dict):
            raise self._wrong(value, owner, path, f"v1.{type_name.split('.')[-1]}")
        result = {}
        for name, inner in value.items():
            field, inner_path = known.get(name), f"{path}.{name}" if path else name
            if field is None:
                self.unknown.append(inner_path)
            elif inner is not None:
                result[name] = self._field(inner, field, type_name.split(".")[-1], inner_path)
        return result

    def _field(self, value: Any, field: Field, owner: str, path: str) -> Any:
        if field.shape == "[":
            if not isinstance(value, list):
                raise self._wrong(value, owner, path, f"[]{_go(field.of)}")
            return [self._value(v, field.of, owner, f"{path}[{i}]") for i, v in enumerate(value)]
        if field.shape == "{":
            if not isinstance(value, dict):
                raise self._wrong(value, owner, path, f"map[string]{_go(field.of)}")
            if field.of.startswith("["):
                return value
            return {k: self._value(v, field.of, owner, path) for k, v in value.items() if v is not None}
        return self._value(value, field.of, owner, path)

    def _scalar(self, value: Any, type_name: str, owner: str, path: str) -> Any:
        match type_name:
            case "string" | "bytes":
                good = isinstance(value, str)
            case "boolean":
                good = isinstance(value, bool)
            case "int32" | "int64":
                good = isinstance(value, int) and not isinstance(value, bool)
            case "number":
                good = isinstance(value, int | float) and not isinstance(value, bool)
            case "int-or-string":
                good = isinstance(value, int | str) and not isinstance(value, bool)
            case "object":
                good = isinstance(value, dict)
            case "time":
                if isinstance(value, str) and not _TIME.fullmatch(value):
                    raise BadRequest(self._cannot(f'parsing time "{value}" as "2006-01-02T15:04:05Z07:00"'))
                good = isinstance(value, str)
            case "quantity":
                try:
                    return canonical(value)
                except ValueError as error:
                    raise BadRequest(self._cannot(f"{error}")) from None
            case _:
                return value
        if not good:
            raise self._wrong(value, owner, path, _go(type_name))
        return value


def _go(type_name: str) -> str:
    return {"boolean": "bool", "bytes": "[]uint8", "number": "float64", "int-or-string": "intstr.IntOrString"}.get(
        type_name, type_name
    )
