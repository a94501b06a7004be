"""What pydantic found wrong, in words for the person who wrote the file: place, what is there, what is allowed.

All errors are told at once, each with its line, and with the nearest right spelling where one is near.
"""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from harness.errors import FileError
from harness.experiment.positions import Document, Path

# Pydantic's error types, as people would say them. {seen} is what stands there.
_WORDS = {
    "string_type": "{seen} is not text. Put it in quotes.",
    "int_type": "{seen} is not a whole number.",
    "int_parsing": "{seen} is not a whole number.",
    "int_from_float": "{seen} is not a whole number.",
    "float_type": "{seen} is not a number.",
    "float_parsing": "{seen} is not a number.",
    "bool_type": "{seen} is not true or false.",
    "bool_parsing": "{seen} is not true or false.",
    "tuple_type": "{seen} is not a list.",
    "list_type": "{seen} is not a list.",
    "dict_type": "{seen} is not a mapping of names to values.",
    "model_type": "{seen} is not a mapping of names to values.",
    "model_attributes_type": "{seen} is not a mapping of names to values.",
    "string_too_short": "is empty.",
    "too_short": "is empty.",
}


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word that `word` was probably meant to be, or ""."""
    matches = difflib.get_close_matches(str(word), list(known), n=1, cutoff=0.6)
    return matches[0] if matches else ""


def field_text(path: Path) -> str:
    """`("method", 0, "provider")` -> `method[0].provider`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def error_at(document: Document, path: Path, message: str, hint: str, *, shown: str | None = None) -> FileError:
    """One error in words of our own, at the line of its place."""
    return FileError(message, file=document.file, line=document.line(path), field=shown or field_text(path), hint=hint)


def told(
    error: ValidationError,
    model: type[BaseModel],
    document: Document,
    *,
    at: Path = (),
    shown: str | None = None,
    not_carried_out: Mapping[tuple[str, ...], str] | None = None,
) -> list[FileError]:
    """One FileError for each field that `error` complains about.

    `at` is where `model` stands in the document; `shown` what that place is called in messages.
    """
    found: dict[Path, FileError] = {}
    misspelt: set[Path] = set()
    for entry in error.errors():
        path, fields = _place(entry["loc"], document.at(at), model)
        whole = (*at, *path)
        if whole in found:  # each branch of a union complains about the same field
            continue
        if entry["type"] == "too_short" and document.at(whole):
            continue  # its items are wrong, which is told of each of them
        if entry["type"] == "extra_forbidden" and (near := nearest(str(path[-1]), fields)):
            misspelt.add((*whole[:-1], near))
        name = field_text(path)
        if shown is not None:
            name = f"{shown}.{name}" if name else shown
        message, hint = _message(dict(entry), path, fields, not_carried_out or {})
        found[whole] = FileError(message, file=document.file, line=document.line(whole), field=name, hint=hint)
    # Of a union each member complains: that a mapping is no text is noise beside what is wrong in the mapping.
    for whole in [place for place in found if any(other[: len(place)] == place != other for other in found)]:
        if document.at(whole) and found[whole].message.endswith(_WORDS["string_type"].partition("{seen}")[2]):
            del found[whole]
    for whole in misspelt & {place for place in found if document.at(place) is None}:
        del found[whole]  # "recover is missing" beside "recovr: did you mean recover?" says it twice
    return list(found.values())


def _message(
    entry: dict[str, Any], path: Path, fields: list[str], not_carried_out: Mapping[tuple[str, ...], str]
) -> tuple[str, str]:
    kind, seen, context = entry["type"], entry["input"], entry.get("ctx", {})
    if kind == "missing":
        return "is missing.", ""
    if kind == "extra_forbidden":
        last = str(path[-1])
        place = ("activity", last) if len(path) > 1 else (last,)
        if place in not_carried_out:
            return "Bulletproof does not carry this out.", not_carried_out[place]
        near = nearest(last, fields)
        return "is no field here.", f"Did you mean {near}?" if near else f"Fields here: {', '.join(fields)}."
    if seen is None:
        return "is empty. Give it a value or leave it out.", ""
    if kind in ("literal_error", "enum", "union_tag_invalid"):
        allowed = [
            _yaml_word(word.strip(" '"))
            for word in str(context.get("expected") or context["expected_tags"]).replace(" or ", ", ").split(",")
        ]
        value = context.get("tag", seen)
        near = nearest(str(value), allowed)
        return f"{_quoted(value)} is not allowed.", f"Did you mean {near}?" if near else f"Write {_either(allowed)}."
    if kind == "union_tag_not_found":
        return "has no type.", "Write type: python, process or http."
    if kind == "value_error":
        return str(context["error"]), ""
    if kind in ("greater_than_equal", "greater_than", "less_than", "less_than_equal"):
        word = {"greater_than_equal": "at least", "greater_than": "more than", "less_than": "less than"}.get(
            kind, "at most"
        )
        limit = context.get("ge", context.get("gt", context.get("lt", context.get("le"))))
        return f"{_quoted(seen)} must be {word} {limit:g}.", ""
    if kind in _WORDS:
        return _WORDS[kind].format(seen=_quoted(seen)), ""
    return f"{entry['msg']}.", ""


def _quoted(value: Any) -> str:
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    return f'"{_yaml_word(value)}"'


def _yaml_word(value: Any) -> str:
    """As the file has it: `true`, where Python says True."""
    text = str(value)
    return text.lower() if text in ("True", "False") else text


def _either(words: list[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}" if len(words) > 1 else words[0]


def _place(location: tuple[int | str, ...], data: Any, model: type[BaseModel]) -> tuple[Path, list[str]]:
    """Pydantic's location without the union members that it puts in, and the field names allowed at its end."""
    path: list[str | int] = []
    current: Any = data
    kind: Any = model
    fields = _fields(kind)
    for part in location:
        if isinstance(current, dict) and part not in current and current.get("type") == part:
            kind = _variant(kind, str(part))  # the tag of a discriminated union
            fields = _fields(kind)
            continue
        if isinstance(current, dict) and part not in current and (member := _named(kind, str(part))) is not None:
            kind = member  # the name of a union's member
            fields = _fields(kind)
            continue
        if not isinstance(current, dict | list) or part in ("str", "int"):
            break
        path.append(part)
        fields = _fields(kind) or fields
        kind = _inner(kind, part)
        if isinstance(current, dict):
            current = current.get(part)
        else:
            current = current[part] if isinstance(part, int) and part < len(current) else None
    return tuple(path), fields


def _fields(kind: Any) -> list[str]:
    for candidate in _members(kind):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return [field.alias or name for name, field in candidate.model_fields.items()]
    return []


def _members(kind: Any) -> list[Any]:
    """The types that a value of `kind` may have, with Annotated and unions taken apart."""
    origin = typing.get_origin(kind)
    if origin is typing.Annotated:
        return _members(typing.get_args(kind)[0])
    if origin in (typing.Union, types.UnionType):
        return [member for argument in typing.get_args(kind) for member in _members(argument)]
    return [kind]


def _variant(kind: Any, tag: str) -> Any:
    for candidate in _members(kind):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            tagged = candidate.model_fields.get("type")
            if tagged is not None and tag in typing.get_args(tagged.annotation):
                return candidate
    return kind


def _named(kind: Any, name: str) -> Any:
    """The member of a union that has this class name, where `kind` is one."""
    members = _members(kind)
    return (
        next((member for member in members if getattr(member, "__name__", "") == name), None)
        if len(members) > 1
        else None
    )


def _inner(kind: Any, part: str | int) -> Any:
    for candidate in _members(kind):
        if isinstance(part, int) and typing.get_origin(candidate) in (tuple, list):
            return typing.get_args(candidate)[0]
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            for name, field in candidate.model_fields.items():
                if part in (name, field.alias):
                    return field.annotation
    return None
