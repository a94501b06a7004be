"""What an image name stands for here: a program of this machine with an environment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

import clusters

SHIPPED = Path(clusters.__file__).parent / "platform" / "images.yaml"
_ROOT = str(Path(clusters.__file__).parent.parent)


@dataclass(frozen=True, slots=True)
class Image:
    """A program: `entrypoint` runs when the manifest gives no command."""

    name: str
    entrypoint: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    workdir: str = "/"

    @property
    def digest(self) -> str:
        """Stands where a real kubelet reports the image's digest."""
        return f"sandbox://{self.name}"


class Images:
    """The images of this cluster, from files that are read again when they change."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = tuple(file for file in (SHIPPED, *files) if file in files or file.exists())
        self._read: dict[Path, tuple[int, dict[str, Image]]] = {}

    def find(self, name: str) -> Image | None:
        """The image of that name (`:latest` may be left out); None when there is none. Later files win."""
        for file in reversed(self._files):
            images = self._images(file)
            for spelling in (name, f"{name}:latest", name.removesuffix(":latest")):
                if spelling in images:
                    return images[spelling]
        return None

    def names(self) -> list[str]:
        """Every image, for the node's status."""
        return sorted({name for file in self._files for name in self._images(file)})

    def _images(self, file: Path) -> dict[str, Image]:
        changed = file.stat().st_mtime_ns
        known = self._read.get(file)
        if known is None or known[0] != changed:
            content: dict[str, Any] = yaml.safe_load(file.read_text()) or {}
            images = {name: _image(name, entry or {}) for name, entry in (content.get("images") or {}).items()}
            self._read[file] = known = (changed, images)
        return known[1]


def _image(name: str, entry: dict[str, Any]) -> Image:
    unknown = set(entry) - {"entrypoint", "env", "workdir"}
    if unknown:
        raise ValueError(f"image {name}: unknown fields {sorted(unknown)}; known are entrypoint, env, workdir")
    return Image(
        name,
        tuple(_rooted(word) for word in entry.get("entrypoint") or ()),
        {key: _rooted(value) for key, value in (entry.get("env") or {}).items()},
        _rooted(entry.get("workdir") or "/"),
    )


def _rooted(text: object) -> str:
    return str(text).replace("{root}", _ROOT)
