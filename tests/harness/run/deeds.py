"""Activities for the tests of the method: plain functions, as an experiment file names them."""

from __future__ import annotations

import threading

DONE: list[str] = []
RELEASE = threading.Event()


def note(text: str) -> str:
    """Leave a trace."""
    DONE.append(text)
    return text


def fail() -> None:
    """An activity that fails."""
    raise RuntimeError("the node did not answer")


def leave() -> None:
    """An activity that thinks it is a program."""
    raise SystemExit(1)


def block() -> None:
    """Block until released; a foreign activity that knows nothing of interrupts."""
    RELEASE.wait(30)
    DONE.append("released")
