"""Any measurement becomes plain JSON: no numpy types, no NaN, no infinity, text keys, nothing lost."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from enum import Enum
from typing import Any


def jsonable(value: Any) -> Any:
    """`value` as dict, list, str, int, float, bool or None. NaN and infinities become None: JSON has none."""
    if isinstance(value, Enum):
        return jsonable(value.value)
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {_key(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((jsonable(item) for item in value), key=str)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: jsonable(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if hasattr(value, "tolist"):  # numpy scalars and arrays, without importing numpy for those who have none
        return jsonable(value.tolist())
    return str(value)


def _key(key: Any) -> str:
    plain = jsonable(key)
    return plain if isinstance(plain, str) else json.dumps(plain)


def dumps(value: Any, *, indent: int | None = None) -> str:
    """JSON text that every strict parser reads."""
    separators = None if indent else (",", ":")
    return json.dumps(jsonable(value), allow_nan=False, ensure_ascii=False, indent=indent, separators=separators)
