"""Options with a unit: `--recovery 1s`, `--pass-rate 90%`. A number without its unit is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from harness import units

if TYPE_CHECKING:
    _ParamType = click.ParamType[int | float, object]
else:
    _ParamType = click.ParamType  # generic only for type checkers, and only in newer versions of click


class _Quantity(_ParamType):
    def __init__(self, name: str, parse: Callable[[object], int | float]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int | float:
        """The number; click.UsageError with how to write it."""
        if not isinstance(value, str):
            return self._parse(value)
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


DURATION = _Quantity("duration", units.parse_duration_ns)
SHARE = _Quantity("share", units.parse_share)
