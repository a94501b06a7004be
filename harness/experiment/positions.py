"""A YAML text, and the line of every field in it.

One parse gives both: the node tree has the positions, and the data is built from that same tree. What YAML would let
pass and nobody means is refused: a key that stands twice, a key that is not text, an anchor that refers to itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

import yaml

from harness.errors import FileError, FileErrors

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """One YAML document: its data, and the line (from 1) of each path in it."""

    file: str
    data: Any
    lines: dict[Path, int] = field(repr=False)

    def line(self, path: Path) -> int:
        """The line of `path`, or of the nearest thing around it that is there."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def at(self, path: Path) -> Any:
        """What stands at `path`; None where nothing does."""
        found = self.data
        for part in path:
            try:
                found = found[part]
            except (KeyError, IndexError, TypeError):
                return None
        return found


def read(file: FilePath, shown: str | None = None) -> list[Document]:
    """Every document of a file. Raises FileErrors; `shown` is the file's name in messages."""
    name = shown or str(file)
    try:
        return parse(file.read_text(encoding="utf-8"), name)
    except FileError as error:
        raise FileErrors([error]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise FileErrors([FileError(f"cannot be read: {error}.", file=name)]) from None


def parse(text: str, file: str) -> list[Document]:
    """Every document of `text`. Raises FileError with the line where YAML stops making sense."""
    try:
        nodes = list(yaml.compose_all(text, Loader=yaml.SafeLoader))
        return [_document(node, file) for node in nodes if node is not None]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else None
        raise FileError(f"this is not YAML: {error.problem or error}.", file=file, line=line) from None
    except yaml.YAMLError as error:
        raise FileError(f"this is not YAML: {error}.", file=file) from None
    except RecursionError:
        raise FileError("this is nested too deeply.", file=file) from None


def _document(node: yaml.Node, file: str) -> Document:
    lines: dict[Path, int] = {}
    for path, line in _walk(node, (), file, frozenset()):
        lines.setdefault(path, line)
    # SafeLoader wants a stream, and builds the data of nodes that it has not composed itself just as well.
    builder = yaml.SafeLoader("")
    try:
        data = builder.construct_document(node)
    except ValueError as error:  # a date such as 2026-13-01
        raise FileError(f"{error}.", file=file, line=node.start_mark.line + 1) from None
    finally:
        builder.dispose()
    return Document(file, data, lines)


def _walk(node: yaml.Node, path: Path, file: str, above: frozenset[int]) -> Iterator[tuple[Path, int]]:
    line = node.start_mark.line + 1
    if id(node) in above:
        raise FileError("this alias contains itself.", file=file, line=line)
    yield path, line
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            at = key.start_mark.line + 1
            if key.tag == "tag:yaml.org,2002:merge":
                continue
            if key.tag != "tag:yaml.org,2002:str":
                raise FileError(
                    f'the key "{getattr(key, "value", key)}" is not text. Put it in quotes.', file=file, line=at
                )
            if key.value in seen:
                raise FileError(f'"{key.value}" stands here and on line {seen[key.value]}.', file=file, line=at)
            seen[key.value] = at
            # The line of a field is where its name stands, which is where people look for it.
            yield (*path, key.value), at
            yield from _walk(value, (*path, key.value), file, above | {id(node)})
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _walk(item, (*path, index), file, above | {id(node)})
