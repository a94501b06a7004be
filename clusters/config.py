"""The configuration file of a cluster: what the kubeconfig cannot say of it.

    # clusters/staging.yaml
    context: staging
    node_stop: [gcloud, compute, instances, stop, "{node}", "--zone={zone}", --quiet]
    node_start: [gcloud, compute, instances, start, "{node}", "--zone={zone}", --quiet]
    node_within: 180s

Of the files `clusters/*.yaml` of the current folder the one counts that names the context; `--cluster-config FILE`
names one wherever it is. For a sandbox it can set Kubernetes' clocks:

    clocks: {node_monitor_grace: 16s}

docs/clusters.md has examples.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clusters.node_commands import WORDS, NodeCommands
from clusters.provider import ClusterError

FOLDER = Path("clusters")
CLOCKS = ("node_lease_renew", "node_monitor_grace", "default_toleration")
_FIELDS = ("context", "node_stop", "node_start", "node_within", "clocks")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0}


class ConfigError(ClusterError):
    """The file is wrong: where, what, and what would be right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterConfig:
    """One file, read."""

    file: Path
    context: str | None
    node_commands: NodeCommands | None
    clocks: dict[str, float]  # of CLOCKS, in seconds


def find(context: str, file: Path | None = None) -> ClusterConfig | None:
    """The configuration of a context: the named file, else the one of `clusters/*.yaml` that names the context.

    Raises ConfigError for a file that is wrong, one that is about another context, and two that are about this one.
    """
    if file is not None:
        config = read(file)
        if config.context not in (None, context):
            raise ConfigError(
                f'{file} is about the context "{config.context}", the run is about "{context}".',
                hint="Name the file of that cluster, or take the line context out.",
            )
        return config
    found = [config for config in map(read, _files()) if config.context == context]
    if len(found) > 1:
        names = " and ".join(str(config.file) for config in found)
        raise ConfigError(f'{names} are both about the context "{context}".', hint="Name one with --cluster-config.")
    return found[0] if found else None


def read(file: Path) -> ClusterConfig:
    """One file. Raises ConfigError."""
    import yaml

    try:
        data = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is no YAML: {error}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{file}: a mapping is expected.", hint=f"Its fields are {', '.join(_FIELDS)}.")
    for name in data:
        if name not in _FIELDS:
            near = difflib.get_close_matches(str(name), _FIELDS, n=1)
            raise ConfigError(
                f'{file}: there is no field "{name}".',
                hint=f"Did you mean {near[0]}?" if near else f"There are {', '.join(_FIELDS)}.",
            )
    context = data.get("context")
    if context is not None and not isinstance(context, str):
        raise ConfigError(f"{file}: context: {context!r} is no name of a context.")
    return ClusterConfig(
        file=file, context=context, node_commands=_node_commands(file, data), clocks=_clocks(file, data.get("clocks"))
    )


def _files() -> list[Path]:
    """The YAML files of `clusters/` that are cluster configurations: those that have a line `context:`."""
    found = sorted(path for path in FOLDER.glob("*.yaml") if path.is_file())
    return [path for path in found if re.search(r"^context:", path.read_text(encoding="utf-8"), re.MULTILINE)]


def _node_commands(file: Path, data: dict[str, Any]) -> NodeCommands | None:
    given = [name for name in ("node_stop", "node_start") if name in data]
    if not given:
        if "node_within" in data:
            raise ConfigError(f"{file}: node_within says nothing without node_stop and node_start.")
        return None
    if len(given) == 1:
        missing = "node_start" if given[0] == "node_stop" else "node_stop"
        raise ConfigError(f"{file}: {given[0]} needs {missing}: what is switched off must come back.")
    return NodeCommands(
        stop=_command(file, "node_stop", data["node_stop"]),
        start=_command(file, "node_start", data["node_start"]),
        within_s=_seconds(file, "node_within", data.get("node_within", "120s")),
        origin=str(file),
    )


def _command(file: Path, name: str, given: Any) -> tuple[str, ...]:
    if not isinstance(given, list) or not given or not all(isinstance(word, str) and word for word in given):
        raise ConfigError(
            f"{file}: {name}: {given!r} is no list of words.",
            hint=f'Write {name}: [command, argument, "{{node}}"]; no shell is involved.',
        )
    for place in re.findall(r"\{([^{}]*)\}", " ".join(given)):
        if place not in WORDS:
            known = ", ".join(f"{{{word}}}" for word in WORDS)
            raise ConfigError(f"{file}: {name}: there is no {{{place}}} to fill in.", hint=f"There are {known}.")
    if not any("{" in word for word in given):
        raise ConfigError(f"{file}: {name} names no node.", hint='One of its words must hold "{node}".')
    return tuple(given)


def _clocks(file: Path, given: Any) -> dict[str, float]:
    if given is None:
        return {}
    if not isinstance(given, dict) or not set(given) <= set(CLOCKS):
        raise ConfigError(f"{file}: clocks: {given!r} is not understood.", hint=f"There are {', '.join(CLOCKS)}.")
    return {name: _seconds(file, f"clocks.{name}", value) for name, value in given.items()}


def _seconds(file: Path, name: str, given: Any) -> float:
    match = _DURATION.fullmatch(given) if isinstance(given, str) else None
    if match is None or float(match[1]) == 0:
        raise ConfigError(f"{file}: {name}: {given!r} is no duration.", hint="Write 120s or 3m.")
    return float(match[1]) * _SECONDS[match[2]]
