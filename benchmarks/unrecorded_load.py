"""`python -m loadtests` without its recorder: what is left when recording costs nothing. For benchmarks/load.py alone.

python benchmarks/unrecorded_load.py CONFIG.json
"""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import os  # noqa: E402
from typing import Any  # noqa: E402

from loadtests import control  # noqa: E402
from loadtests.__main__ import main  # noqa: E402


class Nothing:
    """Counts the rows, so that the load's books balance, and forgets them."""

    def __init__(self, *_: Any) -> None:
        self.written = 0

    def add(self, _: Any) -> None:
        """One more."""
        self.written += 1

    def flush(self) -> None:
        """There is nothing."""

    def close(self) -> None:
        """There is nothing."""


if __name__ == "__main__":
    control.Recorder = Nothing  # type: ignore[assignment, misc]
    os._exit(main())
