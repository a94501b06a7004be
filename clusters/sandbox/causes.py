"""What is wrong with an object: the causes of a Status, in the API server's words."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


class Faults:
    """Collects what is wrong with one object."""

    def __init__(self) -> None:
        self.causes: list[tuple[str, str, str]] = []

    def invalid(self, path: str, value: Any, why: str) -> None:
        shown = f'"{value}"' if isinstance(value, str) else str(value)
        self.causes.append((path, "FieldValueInvalid", f"Invalid value: {shown}: {why}"))

    def required(self, path: str, why: str = "") -> None:
        self.causes.append((path, "FieldValueRequired", "Required value" + (f": {why}" if why else "")))

    def duplicate(self, path: str, value: Any) -> None:
        self.causes.append((path, "FieldValueDuplicate", f'Duplicate value: "{value}"'))

    def unsupported(self, path: str, value: Any, supported: Iterable[str]) -> None:
        known = ", ".join(f'"{s}"' for s in supported)
        said = f'Unsupported value: "{value}": supported values: {known}'
        self.causes.append((path, "FieldValueNotSupported", said))

    def forbidden(self, path: str, why: str) -> None:
        self.causes.append((path, "FieldValueForbidden", f"Forbidden: {why}"))
