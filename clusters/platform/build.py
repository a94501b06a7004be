"""The platform's image, built on this machine from the files of this installation."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from clusters.programs import engine, run
from clusters.provider import IMAGE
from clusters.reference import qualified

BUILD_S = 3600.0
# In the image beside the platform itself; as in the Containerfile.
_ALSO = ("clusters/__init__.py", "loadtests", "harness/__init__.py", "harness/history")
_INDEX = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST")
_ROOT = Path(__file__).parents[2]


def build(chosen: str | None, tag: str | None, progress: Callable[[str], None]) -> str:
    """The name of the image, which the engine now has. Raises ClusterError with the engine's own words."""
    with tempfile.TemporaryDirectory(prefix="bulletproof-image-") as folder:
        context(Path(folder))
        name = qualified(tag or IMAGE)
        program = engine(chosen)
        progress(f"{program} builds {name}: minutes the first time")
        asked = [word for variable in _INDEX if variable in os.environ for word in ("--build-arg", variable)]
        file = str(Path(folder) / "clusters" / "platform" / "Containerfile")
        run(program, "build", "--file", file, "--tag", name, *asked, folder, timeout_s=BUILD_S)
    return name


def context(folder: Path) -> None:
    """The folder holds what the Containerfile copies: no more of a checkout, and the same from an installed package."""
    for name in ("clusters/platform", *_ALSO):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (_ROOT / name).is_dir():
            shutil.copytree(_ROOT / name, target, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
        else:
            shutil.copy(_ROOT / name, target)
    # The versions with which this installation works, and no others.
    installed = {each.name.lower(): each.version for each in importlib.metadata.distributions() if each.name}
    lines = "".join(f"{name}=={version}\n" for name, version in sorted(installed.items()) if name != "bulletproof")
    (folder / "constraints.txt").write_text(lines, encoding="utf-8")
