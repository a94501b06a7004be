"""Structural schemas of custom resources: unknown fields go, defaults come, what breaks the schema is named."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from clusters.sandbox.objects import thaw

Schema = dict[str, Any]
Cause = tuple[str, str, str]  # field, reason, message

_KEPT = "x-kubernetes-preserve-unknown-fields"
_INT_OR_STRING = "x-kubernetes-int-or-string"
_EMBEDDED = "x-kubernetes-embedded-resource"
_OF_ROOT = ("apiVersion", "kind", "metadata")


def prune(schema: Schema, obj: Any, path: str = "", *, root: bool = True) -> Iterator[str]:
    """Takes out of `obj` what the schema does not know; yields the path of each such field."""
    if isinstance(obj, list):
        for i, item in enumerate(obj):
            yield from prune(schema.get("items") or {}, item, f"{path}[{i}]", root=False)
    if not isinstance(obj, dict):
        return
    known, more = schema.get("properties") or {}, schema.get("additionalProperties")
    for name in tuple(obj):
        inner = f"{path}.{name}" if path else name
        if name in _OF_ROOT and (root or schema.get(_EMBEDDED)):
            continue
        if name in known:
            yield from prune(known[name], obj[name], inner, root=False)
        elif more:
            yield from prune(more if isinstance(more, dict) else {_KEPT: True}, obj[name], inner, root=False)
        elif not schema.get(_KEPT):
            del obj[name]
            yield inner


def fill(schema: Schema, obj: Any) -> None:
    """Puts defaults where fields are missing, or null where null is not allowed."""
    if isinstance(obj, list):
        for item in obj:
            fill(schema.get("items") or {}, item)
    if not isinstance(obj, dict):
        return
    known, more = schema.get("properties") or {}, schema.get("additionalProperties")
    for name, field in known.items():
        if "default" in field and (name not in obj or (obj[name] is None and not field.get("nullable"))):
            obj[name] = thaw(field["default"])
        if name in obj:
            fill(field, obj[name])
    if isinstance(more, dict):
        for name in obj.keys() - known.keys():
            fill(more, obj[name])


def faults(schema: Schema, value: Any, path: str = "") -> Iterator[Cause]:
    """Everything that breaks the schema, in the words of the real server."""
    if value is None and schema.get("nullable"):
        return
    kind = _type(value)
    wanted = schema.get("type", "")
    if schema.get(_INT_OR_STRING):
        if kind not in ("integer", "string"):
            yield _invalid(path, kind, f'must be of type integer,string: "{kind}"', "FieldValueTypeInvalid")
        return
    if wanted and kind != wanted and not (wanted == "number" and kind == "integer"):
        yield _invalid(path, kind, f'must be of type {wanted}: "{kind}"', "FieldValueTypeInvalid")
        return
    allowed = schema.get("enum")
    if allowed is not None and value not in allowed:
        said = ", ".join(f'"{one}"' if isinstance(one, str) else f'"{json.dumps(one)}"' for one in allowed)
        shown = f'"{value}"' if isinstance(value, str) else json.dumps(value)
        yield path, "FieldValueNotSupported", f"Unsupported value: {shown}: supported values: {said}"
    yield from _of_kind(schema, value, kind, path)
    yield from _combined(schema, value, path)


def _of_kind(schema: Schema, value: Any, kind: str, path: str) -> Iterator[Cause]:
    match kind:
        case "integer" | "number":
            yield from _number(schema, value, path)
        case "string":
            yield from _string(schema, value, path)
        case "array":
            least, most = schema.get("minItems", 0), schema.get("maxItems")
            if len(value) < least:
                yield _invalid(path, len(value), f"should have at least {least} items")
            if most is not None and len(value) > most:
                yield path, "FieldValueTooMany", f"Too many: {len(value)}: must have at most {most} items"
            if schema.get("uniqueItems") and any(item in value[:i] for i, item in enumerate(value)):
                yield _invalid(path, "", "shouldn't contain duplicates")
            for i, item in enumerate(value):
                yield from faults(schema.get("items") or {}, item, f"{path}[{i}]")
        case "object":
            for name in schema.get("required") or ():
                if name not in value:
                    yield (f"{path}.{name}" if path else name), "FieldValueRequired", "Required value"
            known, more = schema.get("properties") or {}, schema.get("additionalProperties")
            least, most = schema.get("minProperties", 0), schema.get("maxProperties")
            if len(value) < least:
                yield _invalid(path, len(value), f"should have at least {least} properties")
            if most is not None and len(value) > most:
                yield path, "FieldValueTooMany", f"Too many: {len(value)}: must have at most {most} items"
            for name, inner in value.items():
                field = known.get(name, more if isinstance(more, dict) else None)
                if field is not None and (path or name not in _OF_ROOT):
                    yield from faults(field, inner, f"{path}.{name}" if path else name)


def _number(schema: Schema, value: float, path: str) -> Iterator[Cause]:
    least, most, factor = schema.get("minimum"), schema.get("maximum"), schema.get("multipleOf")
    if most is not None:
        if schema.get("exclusiveMaximum") and value >= most:
            yield _invalid(path, value, f"should be less than {most}")
        elif value > most:
            yield _invalid(path, value, f"should be less than or equal to {most}")
    if least is not None:
        if schema.get("exclusiveMinimum") and value <= least:
            yield _invalid(path, value, f"should be greater than {least}")
        elif value < least:
            yield _invalid(path, value, f"should be greater than or equal to {least}")
    if factor and value % factor:
        yield _invalid(path, value, f"should be a multiple of {factor}")


def _string(schema: Schema, value: str, path: str) -> Iterator[Cause]:
    least, most, pattern = schema.get("minLength", 0), schema.get("maxLength"), schema.get("pattern")
    if len(value) < least:
        yield _invalid(path, value, f"should be at least {least} chars long")
    if most is not None and len(value) > most:
        yield path, "FieldValueTooLong", f"Too long: may not be more than {most} bytes"
    if pattern and not re.search(pattern, value):
        yield _invalid(path, value, f"should match '{pattern}'")


def _combined(schema: Schema, value: Any, path: str) -> Iterator[Cause]:
    def good(one: Schema) -> bool:
        return next(faults(one, value, path or "."), None) is None

    said = ""
    if any(not good(one) for one in schema.get("allOf") or ()):
        said = "must validate all the schemas (allOf)"
    if (listed := schema.get("anyOf")) and not any(map(good, listed)):
        said = "must validate at least one schema (anyOf)"
    if (listed := schema.get("oneOf")) and (count := sum(map(good, listed))) != 1:
        found = f"{count} valid alternatives" if count else "none valid"
        said = f"must validate one and only one schema (oneOf). Found {found}"
    if (one := schema.get("not")) and good(one):
        said = "must not validate the schema (not)"
    if said:
        yield path, "FieldValueInvalid", f'Invalid value: "": "{path}" {said}'


def _type(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, float) and value.is_integer():
        return "integer"
    names = {dict: "object", list: "array", str: "string", int: "integer", float: "number"}
    return names.get(type(value), "null")


def _invalid(path: str, value: Any, why: str, reason: str = "FieldValueInvalid") -> Cause:
    shown = f'"{value}"' if isinstance(value, str) else str(value)
    return path, reason, f"Invalid value: {shown}: {path} in body {why}"


def definition_faults(version: Schema, path: str) -> Iterator[Cause]:
    """What keeps one entry of a definition's versions from being served."""
    schema = (version.get("schema") or {}).get("openAPIV3Schema")
    at = f"{path}.schema.openAPIV3Schema"
    if schema is None:
        yield at, "FieldValueRequired", "Required value"
    elif schema.get("type") != "object":
        given = schema.get("type", "")
        if given:
            yield f"{at}.type", "FieldValueInvalid", f'Invalid value: "{given}": must be object at the root'
        else:
            yield f"{at}.type", "FieldValueRequired", "Required value: must not be empty at the root"
    else:
        yield from _structural(schema, at)


def _structural(schema: Schema, path: str) -> Iterator[Cause]:
    if not schema.get("type") and not schema.get(_INT_OR_STRING) and not schema.get(_KEPT):
        yield f"{path}.type", "FieldValueRequired", "Required value: must not be empty for specified object fields"
    for name, field in (schema.get("properties") or {}).items():
        yield from _structural(field, f"{path}.properties[{name}]")
    for part in ("items", "additionalProperties"):
        if isinstance(schema.get(part), dict):
            yield from _structural(schema[part], f"{path}.{part}")
    if schema.get("type") == "array" and not schema.get("items"):
        yield f"{path}.items", "FieldValueRequired", "Required value: must be specified"
    if "default" in schema:
        yield from faults(schema, schema["default"], f"{path}.default")
