"""Golden files: what a report looked like when a person last agreed with it. `make golden` renews them for review."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.history.reader import History
from tests.course import Course
from tests.histories import write_course

GOLDEN = Path(__file__).parent / "golden"
RENEW = "BULLETPROOF_GOLDEN"


@pytest.fixture
def golden() -> Callable[[str, str], None]:
    """Compare a text with `golden/NAME`, or write that file when BULLETPROOF_GOLDEN=1."""

    def compare(name: str, text: str) -> None:
        file = GOLDEN / name
        if os.environ.get(RENEW) == "1":
            file.write_text(text, encoding="utf-8")
        assert file.is_file(), f"{file} is missing; {RENEW}=1 writes it"
        assert text == file.read_text(encoding="utf-8"), f"{name} changed; if that is right, {RENEW}=1 renews it"

    return compare


@pytest.fixture
def run_of(tmp_path: Path) -> Callable[[Course], tuple[Path, History]]:
    """A recorded run of a course: its folder and what is read from it."""

    def build(course: Course) -> tuple[Path, History]:
        run_dir = write_course(tmp_path / "run", course)
        return run_dir, History.read(run_dir)

    return build
