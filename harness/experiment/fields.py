"""Which text a field takes, and the number it becomes: units at the edge, numbers with units in their names inside."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, StringConstraints, WithJsonSchema

from harness import units

DurationNs = Annotated[
    int,
    BeforeValidator(units.parse_duration_ns),
    WithJsonSchema({"type": "string", "pattern": units.DURATION_PATTERN, "examples": ["500ms", "15s", "2m"]}),
]
RatePerS = Annotated[
    float,
    BeforeValidator(units.parse_rate_per_s),
    WithJsonSchema({"type": "string", "pattern": units.RATE_PATTERN, "examples": ["200/s"]}),
]
Share = Annotated[
    float,
    BeforeValidator(units.parse_share),
    WithJsonSchema({"type": "string", "pattern": units.SHARE_PATTERN, "examples": ["99.9%"]}),
]
BurnRate = Annotated[
    float,
    BeforeValidator(units.parse_burn_rate),
    WithJsonSchema({"type": "string", "pattern": units.BURN_PATTERN, "examples": ["14.4x"]}),
]
Quantile = Annotated[str, StringConstraints(pattern=r"^p[1-9]\d?(\.\d+)?$")]


class Strict(BaseModel):
    """A mapping in which every field is known."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Named(Strict):
    """One whose fields have two names: an alias in the file (`baseline`), one with its unit here (`baseline_ns`)."""

    model_config = ConfigDict(populate_by_name=True)
