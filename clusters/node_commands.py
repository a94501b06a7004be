"""How the machine of a node is switched off and on: commands of whoever owns it, as the API has no such verb.

A command is a list of words, run without a shell. In each word these are filled in from the Node:

    {node}      its name
    {address}   its internal address
    {instance}  the last part of spec.providerID: the machine's name at the cloud
    {zone}      its label topology.kubernetes.io/zone
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

WORDS = ("node", "address", "instance", "zone")
_PLACE = re.compile(r"\{([^{}]*)\}")
# What is filled in comes from the cluster: nothing in it may be an option or a path of its own.
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]*")


class BadWordError(ValueError):
    """A word of a command cannot be filled in; the text says which and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeCommands:
    """`stop` returns when the node is off; `start` when it is on, or soon will be, and is harmless on one that runs."""

    stop: tuple[str, ...]
    start: tuple[str, ...]
    within_s: float = 120.0  # each, until it has ended
    origin: str = ""  # where they are written, for people


def words_of(node: Mapping[str, Any]) -> dict[str, str]:
    """What a Node gives to be filled in; a word that it has not is left out."""
    addresses = (node.get("status") or {}).get("addresses") or ()
    found = {
        "node": node["metadata"]["name"],
        "address": next((each["address"] for each in addresses if each["type"] == "InternalIP"), ""),
        "instance": str((node.get("spec") or {}).get("providerID") or "").rpartition("/")[2],
        "zone": (node["metadata"].get("labels") or {}).get("topology.kubernetes.io/zone", ""),
    }
    return {name: value for name, value in found.items() if value}


def filled(command: tuple[str, ...], words: Mapping[str, str]) -> list[str]:
    """The command for one node. Raises BadWordError."""

    def value(place: re.Match[str]) -> str:
        name = place[1]
        if name not in words:
            raise BadWordError(f"the node has no {{{name}}}; it has {', '.join(f'{{{each}}}' for each in words)}")
        if not _PLAIN.fullmatch(words[name]):
            raise BadWordError(f"{{{name}}} of the node is {words[name]!r}, which is no plain name")
        return words[name]

    return [_PLACE.sub(value, word) for word in command]
