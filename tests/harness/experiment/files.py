"""The shipped experiment that tests change, and what a file's errors say."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import FileErrors
from harness.experiment.loader import load
from harness.experiment.shipped import folder

SHIPPED = folder() / "gpu-pod-kill.yaml"


def errors_of(path: Path) -> list[str]:
    """The errors of a file, without its folder."""
    with pytest.raises(FileErrors) as caught:
        load(path)
    return [str(error).replace(f"{path.parent}/", "") for error in caught.value.errors]
