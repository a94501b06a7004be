"""The experiments that come with Bulletproof, found by name; any other by its path."""

from __future__ import annotations

import difflib
from importlib.resources import files
from pathlib import Path

from harness.errors import UsageError


def folder() -> Path:
    """The folder `experiments`, beside the package `harness` in a checkout and in an installation alike.

    It is found from `harness` and not by its own name: a user's folder `experiments` must never be taken for it.
    """
    return Path(str(files("harness"))).parent / "experiments"


def experiment_files() -> dict[str, Path]:
    """The shipped experiments by name."""
    return {file.stem: file for file in sorted(folder().glob("*.yaml"))}


def suite_files() -> dict[str, Path]:
    """The shipped suites by name."""
    return {file.stem: file for file in sorted((folder() / "suites").glob("*.yaml"))}


def find(name: str) -> Path:
    """The file of a path, or of a shipped experiment's or suite's name. Raises UsageError with the nearest names.

    What exists as a file wins: a user's own file is what they see in their folder.
    """
    given = Path(name)
    if given.is_file():
        return given
    known = {**suite_files(), **experiment_files()}
    if name in known:
        return known[name]
    if given.is_dir():
        raise UsageError(f"{name} is a folder.", hint=f"Name the files: {name.rstrip('/')}/*.yaml")
    near = difflib.get_close_matches(given.stem, known, n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(near)}?" if near else f"Shipped are: {', '.join(known)}."
    raise UsageError(f'There is no file "{name}", and no shipped experiment of that name.', hint=hint)


def title(path: Path) -> str:
    """The title that stands in a shipped file."""
    import yaml

    return str(yaml.safe_load(path.read_text(encoding="utf-8"))["title"])
