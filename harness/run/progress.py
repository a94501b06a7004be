"""What a person sees while a run is under way: a live line in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from typing import IO, TYPE_CHECKING, Any, Protocol

from harness.history.records import Phase

if TYPE_CHECKING:
    from rich.live import Live

LINE_EVERY_S = 5.0  # plain output: one line of figures this often


class Progress(Protocol):
    """Hears of the run. Called from several threads."""

    def phase(self, phase: Phase, ends_ns: int | None) -> None:
        """A phase has begun; `ends_ns` is its planned end, where it has one."""

    def live(self, figures: dict[str, Any]) -> None:
        """The load generator's latest counts."""

    def note(self, text: str) -> None:
        """Something happened that the user wants to know."""

    def close(self) -> None:
        """Nothing follows."""


class Silent:
    """Says nothing (tests, --json)."""

    def phase(self, phase: Phase, ends_ns: int | None) -> None:
        """Unheard."""

    def live(self, figures: dict[str, Any]) -> None:
        """Unheard."""

    def note(self, text: str) -> None:
        """Unheard."""

    def close(self) -> None:
        """Unheard."""


def figures_text(figures: dict[str, Any], before: dict[str, Any]) -> str:
    """`198 requests/s, 99.8 % good, 4 in flight`, from two live lines."""
    seconds = (figures.get("t_ns", 0) - before.get("t_ns", 0)) / 1e9
    if seconds <= 0:
        return ""
    ok = figures.get("ok", 0) - before.get("ok", 0)
    bad = figures.get("bad", 0) - before.get("bad", 0)
    share = f"{100 * ok / (ok + bad):.1f} % good" if ok + bad else "nothing answered"
    return f"{(ok + bad) / seconds:.0f} requests/s, {share}, {figures.get('in_flight', 0)} in flight"


class PlainLines:
    """Lines with the seconds since the start in front, for CI logs and files."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._began = time.monotonic()
        self._before: dict[str, Any] = {}
        self._phase = ""

    def phase(self, phase: Phase, ends_ns: int | None) -> None:
        """One line a phase."""
        self._phase = phase.value
        left = f" ({(ends_ns - time.monotonic_ns()) / 1e9:.0f} s)" if ends_ns else ""
        self._line(f"{phase.value}{left}")

    def live(self, figures: dict[str, Any]) -> None:
        """One line every LINE_EVERY_S seconds."""
        if not self._before:
            self._before = figures
        elif figures["t_ns"] - self._before["t_ns"] >= LINE_EVERY_S * 1e9:
            self._line(f"{self._phase}: {figures_text(figures, self._before)}")
            self._before = figures

    def note(self, text: str) -> None:
        """One line."""
        self._line(text)

    def close(self) -> None:
        """Nothing is held back."""

    def _line(self, text: str) -> None:
        self._stream.write(f"[{time.monotonic() - self._began:5.1f} s] {text}\n")
        self._stream.flush()


class TerminalLive:
    """One line that is renewed: phase, time left, requests/s, share of good requests. Notes scroll above it."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = Console(stderr=True)
        self._began = time.monotonic()
        self._phase = Phase.PREPARE
        self._ends_ns: int | None = None
        self._history: list[dict[str, Any]] = []
        self._view: Live = Live(get_renderable=self._line, console=self._console, refresh_per_second=5, transient=True)
        self._view.start()

    def phase(self, phase: Phase, ends_ns: int | None) -> None:
        """Shown in the live line."""
        self._phase, self._ends_ns = phase, ends_ns

    def live(self, figures: dict[str, Any]) -> None:
        """The figures cover the last second."""
        self._history = [*self._history[-10:], figures]

    def note(self, text: str) -> None:
        """Printed above the live line, with the seconds since the start."""
        self._console.print(f"[dim]{time.monotonic() - self._began:5.1f} s[/dim]  {_escaped(text)}", highlight=False)

    def close(self) -> None:
        """The line is gone after this."""
        self._view.stop()

    def _line(self) -> str:
        left = ""
        if self._ends_ns is not None:
            left = f" [dim]{max(0.0, (self._ends_ns - time.monotonic_ns()) / 1e9):4.0f} s left[/dim]"
        figures = figures_text(self._history[-1], self._history[0]) if len(self._history) > 1 else ""
        return f"[bold]{self._phase.value:<9}[/bold]{left}  {figures}"


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)
