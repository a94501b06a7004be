"""A folder for experiments."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.experiment.shipped import folder
from tests.harness.experiment.files import SHIPPED


@pytest.fixture
def place(tmp_path):
    """A folder with the SLO and golden files of the shipped experiments, and a function that writes an experiment."""
    for name in ("slos/detector.yaml", "golden/detector.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((folder() / name).read_bytes())

    def write(*changes: tuple[str, str], name: str = "experiment.yaml", source: Path = SHIPPED) -> Path:
        text = source.read_text()
        for old, new in changes:
            assert old in text, old
            text = text.replace(old, new, 1)
        path = tmp_path / name
        path.write_text(text)
        return path

    return write
