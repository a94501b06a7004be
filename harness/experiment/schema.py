"""The published JSON schema of experiment files, and the reference page, both made from the types.

`python -m harness.experiment.schema` writes both; a test fails when they are not as the types say.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from harness.experiment.chaos import ChaosDocument
from harness.experiment.model import Extension

ROOT = Path(__file__).resolve().parent.parent.parent
SCHEMA_FILE = ROOT / "experiments" / "schema" / "experiment.schema.json"
REFERENCE_FILE = ROOT / "docs" / "experiment-reference.md"


def schema() -> dict[str, Any]:
    """JSON schema (2020-12) of an experiment file, for editors: completion, and most errors while typing."""
    document = _readable(ChaosDocument.model_json_schema(by_alias=True))
    block = _readable(Extension.model_json_schema(by_alias=True))
    definitions = {**document.pop("$defs", {}), **block.pop("$defs", {}), "Bulletproof": block}
    document["properties"]["extensions"] = {
        "description": document["properties"]["extensions"]["description"],
        "type": "array",
        "items": {
            "type": "object",
            "required": ["name"],
            "if": {"properties": {"name": {"const": "bulletproof"}}},
            "then": {"$ref": "#/$defs/Bulletproof"},
        },
        "contains": {"properties": {"name": {"const": "bulletproof"}}, "required": ["name"]},
        "minContains": 1,
        "maxContains": 1,
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **document,
        "title": "Bulletproof experiment",
        "description": "A Chaos Toolkit experiment with the block named bulletproof under extensions.",
        "$defs": definitions,
    }


def schema_text() -> str:
    """The bytes of the published file."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def reference() -> str:
    """docs/experiment-reference.md: every field, what it takes, and what it is when left out."""
    whole = schema()
    definitions = whole["$defs"]
    block = definitions["Bulletproof"]
    parts = [_HEAD, _table(block["properties"], definitions, block.get("required", ()), skip=("name",))]
    for name, field in block["properties"].items():
        inner = _target(field, definitions)
        if inner is not None:
            parts.append(f"\n## bulletproof.{name}\n\n{inner.get('description', '')}\n")
            parts.append(_table(inner["properties"], definitions, inner.get("required", ())))
    parts.append("\n## The Chaos Toolkit part\n\n" + _CHAOS)
    parts.append(_table(whole["properties"], definitions, whole.get("required", ()), skip=("extensions",)))
    activity = definitions["Activity"]
    parts.append(f"\n### An activity\n\n{activity['description']}\n")
    parts.append(_table(activity["properties"], definitions, activity.get("required", ())))
    for kind in ("PythonProvider", "ProcessProvider", "HttpProvider"):
        provider = definitions[kind]
        parts.append(f"\n### provider, type: {provider['properties']['type']['const']}\n\n{provider['description']}\n")
        parts.append(_table(provider["properties"], definitions, provider.get("required", ()), skip=("type",)))
    return "\n".join(parts).rstrip() + "\n"


_HEAD = """\
<!-- Made by `python -m harness.experiment.schema` from the types of harness/experiment/: change those, not this. -->

# Experiment reference

An experiment is a [Chaos Toolkit](https://chaostoolkit.org) experiment in YAML whose `extensions` hold a block named
`bulletproof`. Every quantity has its unit in its value: `15s`, `500ms`, `200/s`, `99.9%`. A wrong field is refused
before anything is touched, with file, line, the field's path, what is allowed and the nearest right spelling; all
errors are told at once. `bulletproof validate FILE` does only that. Paths in a file are relative to the file.

For completion in an editor, put this line first, with the path of the schema from the file:

```yaml
# yaml-language-server: $schema=schema/experiment.schema.json
```

## bulletproof
"""

_CHAOS = """\
Activities are executed by Chaos Toolkit's library, in order. What Chaos Toolkit has and Bulletproof does not carry out
is refused by name instead of being ignored: `steady-state-hypothesis` (the steady state is the SLO, measured in the
baseline), `controls`, `dry`, `runtime`, and of an activity `ref`, `tolerance` and `timeout`. The method needs at least
one action: a run without a fault can prove nothing. A program that ends with another exit code than 0 has failed, and
so has an HTTP call that is answered with 400 or more; what else a probe finds is recorded, and judged by nobody.

`${name}` in arguments stands for a value of `configuration` or `secrets`; a name that is not defined there is refused.
"""


def _table(properties: dict[str, Any], definitions: dict[str, Any], required: Any, skip: tuple[str, ...] = ()) -> str:
    rows = ["| field | takes | when left out | what it says |", "|---|---|---|---|"]
    for name, field in properties.items():
        if name in skip:
            continue
        default = "**required**" if name in required else _default(name, field, definitions)
        rows.append(f"| `{name}` | {_takes(field, definitions)} | {default} | {field.get('description', '')} |")
    return "\n".join(rows) + "\n"


def _target(field: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any] | None:
    """The definition of a block that the field holds; None for a plain value."""
    for candidate in (field, *field.get("anyOf", ()), *field.get("allOf", ())):
        name = str(candidate.get("$ref", "")).removeprefix("#/$defs/")
        if name in definitions:
            found: dict[str, Any] = definitions[name]
            return found
    return None


def _takes(field: dict[str, Any], definitions: dict[str, Any]) -> str:
    if "enum" in field or "const" in field:
        return ", ".join(f"`{value}`" for value in field.get("enum", [field.get("const")]))
    if "examples" in field:
        return ", ".join(f"`{value}`" for value in field["examples"])
    if _target(field, definitions) is not None:
        return "a block, below"
    if "anyOf" in field:
        kinds = [_takes(one, definitions) for one in field["anyOf"] if one.get("type") != "null"]
        return " or ".join(dict.fromkeys(kinds))
    if field.get("type") == "array":
        items = field.get("items", {})
        return f"list of {_takes(items, definitions)}" if items and "$ref" not in items else "list"
    if "discriminator" in field:
        return "a block by its `type`, below"
    return _WORDS.get(str(field.get("type")), "anything")


_WORDS = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "`true`, `false`",
    "object": "mapping",
}


def _default(name: str, field: dict[str, Any], definitions: dict[str, Any]) -> str:
    if _target(field, definitions) is not None:
        return "its defaults" if name in _WITH_DEFAULTS else "none"
    value = field.get("default")
    if value is None or value in ("", [], {}):
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return ", ".join(f"`{one}`" for one in (value if isinstance(value, list) else [value]))


# Blocks that may be left out whole, and then are what their fields' defaults say.
_WITH_DEFAULTS = {
    field.alias or name for name, field in Extension.model_fields.items() if isinstance(field.default, BaseModel)
}


def _readable(value: Any) -> Any:
    """The schema that pydantic makes, without what is of no use to people.

    Every field has a title that repeats its name. Defaults are nanoseconds, per second and shares, as the program keeps
    them, where a file has text with a unit; those of whole blocks are left out, being those of their fields.
    """
    if isinstance(value, list):
        return [_readable(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    cleaned = {}
    for key, inner in value.items():
        if key == "title" and isinstance(inner, str):
            continue
        if key == "default":
            if inner is None or isinstance(inner, dict):
                continue
            cleaned[key] = _with_unit(inner, value)
        else:
            cleaned[key] = _readable(inner)
    return cleaned


def _with_unit(value: Any, field: dict[str, Any]) -> Any:
    example = (field.get("examples") or [""])[0]
    if example.endswith("ms"):
        return f"{value / 1e9:g}s" if value >= 10**9 else f"{value / 1e6:g}ms"
    if example.endswith("/s"):
        return f"{value:g}/s"
    if example.endswith("%"):
        return f"{value * 100:g}%"
    return value


def write() -> list[Path]:
    """Both files are as the types say; returns their paths."""
    for path, text in ((SCHEMA_FILE, schema_text()), (REFERENCE_FILE, reference())):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return [SCHEMA_FILE, REFERENCE_FILE]


if __name__ == "__main__":
    write()
