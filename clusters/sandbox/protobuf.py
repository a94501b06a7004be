"""Objects that arrive as protobuf: what Go clients send for built-in kinds since Kubernetes 1.32. Answers are JSON."""

from __future__ import annotations

import base64
import datetime
import functools
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from clusters.sandbox.errors import ApiError, BadRequest
from clusters.sandbox.schema import Field, fields, type_named

_MAGIC = b"k8s\0"


def decode(raw: bytes) -> dict[str, Any]:
    """The object as JSON would have it. An unreadable one is a BadRequest, an unknown kind a 415."""
    if not raw.startswith(_MAGIC):
        raise BadRequest("the body is no protobuf object of Kubernetes")
    try:
        envelope = dict(_split(raw[len(_MAGIC) :]))
        meta = {number: value.decode() for number, value in _split(envelope[1])}
        api, kind = meta.get(1, ""), meta.get(2, "")
        group, _, version = api.rpartition("/")
        root = "/v1/DeleteOptions" if kind == "DeleteOptions" else f"{group}/{version}/{kind}"
        return {"apiVersion": api, "kind": kind} | _message(envelope.get(2, b""), type_named(root))
    except KeyError as error:
        said = f"no protobuf for {error}: the body of the request was in an unknown format"
        raise ApiError(
            415, "UnsupportedMediaType", f"{said} - accepted media types include: application/json"
        ) from error
    except (IndexError, ValueError, AttributeError, TypeError, OverflowError, OSError, struct.error) as error:
        raise BadRequest(f"unreadable protobuf: {error}") from error


@functools.cache
def _numbers() -> dict[str, dict[str, str]]:
    numbers: dict[str, dict[str, str]] = json.loads(Path(__file__).with_name("protobuf.json").read_text())
    return numbers


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = raw[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not byte & 0x80:
            return value, at


def _split(raw: bytes) -> Iterator[tuple[int, Any]]:
    """Number and value of each field: bytes, or an integer (signed), or a float."""
    at = 0
    while at < len(raw):
        tag, at = _varint(raw, at)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, at = _varint(raw, at)
            yield number, value - (1 << 64) if value >> 63 else value
        elif wire == 1:
            yield number, struct.unpack_from("<d", raw, at)[0]
            at += 8
        elif wire == 2:
            length, at = _varint(raw, at)
            if at + length > len(raw):
                raise ValueError("a field is cut off")
            yield number, raw[at : at + length]
            at += length
        else:
            raise ValueError(f"wire type {wire}")


def _message(raw: bytes, type_name: str, numbers_of: str | None = None) -> dict[str, Any]:
    """A message as an object; fields of inlined messages are its own."""
    numbers, known = _numbers()[numbers_of or type_name], fields(type_name) or {}
    result: dict[str, Any] = {}
    for number, value in _split(raw):
        name = numbers.get(str(number))
        if name is None:
            continue
        if name.startswith("+"):
            result |= _message(value, type_name, name[1:])
            continue
        field = known.get(name.removeprefix("~"))
        if field is None:  # in protobuf alone
            continue
        if name.startswith("~") and value in (0, b""):
            continue
        name = name.removeprefix("~")
        if field.shape == "[":
            result.setdefault(name, []).append(_value(value, field.of))
        elif field.shape == "{":
            result.setdefault(name, {}).update([_entry(value, field)])
        else:
            decoded = _value(value, field.of)
            if decoded is not None:
                result[name] = decoded
    return result


def _entry(raw: bytes, field: Field) -> tuple[str, Any]:
    parts = dict(_split(raw))
    return parts.get(1, b"").decode(), _value(parts.get(2, b""), field.of)


def _value(value: Any, of: str) -> Any:
    match of:
        case "string":
            return value.decode()
        case "bytes":
            return base64.b64encode(value).decode()
        case "boolean":
            return bool(value)
        case "int32" | "int64" | "number":
            return value
        case "quantity":
            return dict(_split(value)).get(1, b"0").decode() or "0"
        case "int-or-string":
            parts = dict(_split(value))
            return parts.get(3, b"").decode() if parts.get(1) else parts.get(2, 0)
        case "time":
            return _time(dict(_split(value)))
        case "any":
            return json.loads(dict(_split(value)).get(1, b"null"))
    return _message(value, of)


def _time(parts: dict[int, int]) -> str | None:
    """RFC 3339; None for Go's zero time."""
    if not parts.get(1) or parts[1] < 0:
        return None
    whole = datetime.datetime.fromtimestamp(parts[1], datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{whole}.{parts[2] // 1000:06d}Z" if parts.get(2) else f"{whole}Z"
