"""The Chaos Toolkit part of an experiment file, as strictly as Bulletproof takes it.

chaoslib lets unknown keys pass, so a misspelt `rollback:` silently loses the rollbacks. Here every key is known, and
what Chaos Toolkit has but Bulletproof does not carry out is refused by name instead of being ignored.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field

from harness.experiment.fields import Strict


class PythonProvider(Strict):
    """A Python function of an importable module."""

    type: Literal["python"]
    module: str = Field(min_length=1, description="Dotted path of the module: harness.faults, chaosk8s.pod.probes.")
    func: str = Field(min_length=1, description="Name of the function; `bulletproof list faults` shows ours.")
    arguments: dict[str, Any] = Field(default_factory=dict, description="Its arguments, by name.")
    secrets: tuple[str, ...] | None = Field(None, description="Names under `secrets` that the function gets.")


class ProcessProvider(Strict):
    """A program."""

    type: Literal["process"]
    path: str = Field(min_length=1, description="The program.")
    arguments: str | tuple[Any, ...] | dict[str, Any] = Field("", description="Its arguments.")
    timeout: float | str | None = Field(None, description="Seconds after which it is ended.")


class HttpProvider(Strict):
    """A call over HTTP."""

    type: Literal["http"]
    url: str = Field(min_length=1, description="What to call.")
    method: str = Field("GET", description="HTTP method.")
    headers: dict[str, Any] | None = Field(None, description="Request headers.")
    arguments: Any = Field(None, description="Query, form or JSON body.")
    timeout: float | str | list[float] | None = Field(None, description="Seconds.")
    max_retries: int = Field(0, description="Retries after an error.")
    verify_tls: bool = Field(True, description="Whether the server's certificate is checked.")


Provider = Annotated[PythonProvider | ProcessProvider | HttpProvider, Discriminator("type")]


class Pauses(Strict):
    """Waits around an activity."""

    before: float | None = Field(None, ge=0, description="Seconds before it.")
    after: float | None = Field(None, ge=0, description="Seconds after it.")


class Activity(Strict):
    """One step of the method or of the rollbacks."""

    type: Literal["action", "probe"] = Field(description="action changes something, probe looks.")
    name: str = Field(min_length=1, description="Its name in logs and reports.")
    provider: Provider
    pauses: Pauses | None = None
    background: bool = Field(False, description="Whether the next activity begins before this one has ended.")


class ChaosDocument(Strict):
    """A Chaos Toolkit experiment. `extensions` holds the block named bulletproof."""

    title: str = Field(min_length=1, description="The promise, as a product owner would say it.")
    description: str = Field(min_length=1, description="What is done, and what clients may lose by it.")
    tags: tuple[Annotated[str, Field(min_length=1)], ...] = Field((), description="Words to find it by.")
    contributions: dict[str, str] | None = Field(
        None, description="Chaos Toolkit's contributions: {reliability: high}."
    )
    configuration: dict[str, Any] | None = Field(None, description="Values for ${name} in arguments.")
    secrets: dict[str, Any] | None = Field(None, description="Secret values, by group.")
    method: tuple[Activity, ...] = Field(min_length=1, description="What is done to the platform, in order.")
    rollbacks: tuple[Activity, ...] = Field(
        (), description="For plain `chaos run`; Bulletproof undoes its faults from the journal in any case."
    )
    extensions: tuple[dict[str, Any], ...] = Field(min_length=1, description="One of them is named bulletproof.")


# Chaos Toolkit's own keys that we don't carry out, with what to do instead. Refused by name, never ignored.
NOT_CARRIED_OUT: dict[tuple[str, ...], str] = {
    ("steady-state-hypothesis",): "The steady state is the SLO, measured in the baseline; put probes into the method.",
    ("controls",): "Controls may swallow errors.",
    ("runtime",): "Faults are always undone; for plain Chaos Toolkit use: chaos run --rollback-strategy always.",
    ("dry",): "To see what would be touched, use: bulletproof plan FILE.",
    ("activity", "controls"): "Controls may swallow errors.",
    ("activity", "ref"): "Write the activity out.",
    ("activity", "tolerance"): "Chaos Toolkit never looks at the tolerance of a probe in the method; use expect.",
    ("activity", "dry"): "To see what would be touched, use: bulletproof plan FILE.",
    ("activity", "timeout"): "Chaos Toolkit never looks at it; bulletproof.phases.fault limits the method.",
}
