"""What a run says of itself: into its history, into its run.json, and to the person who watches."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from harness.history.records import ClockAnchor, Note, Phase, PhaseStart, Stop
from harness.history.writer import Recorder
from harness.run import environment
from harness.run.progress import Progress


class Account:
    """One run's account. What is said is on record before it is shown."""

    def __init__(self, run_dir: Path, description: dict[str, Any], recorder: Recorder, progress: Progress) -> None:
        self._run_dir = run_dir
        self._description = description
        self.record = recorder.record
        self.progress = progress

    def describe(self, **more: Any) -> None:
        """run.json tells this too."""
        self._description |= more
        environment.write_run(self._run_dir, self._description)

    def stopped(self, reason: str, detail: str) -> None:
        """The run ends here, before its time."""
        self.record(Stop(t_ns=time.monotonic_ns(), reason=reason, detail=detail))
        self.progress.note(f"{reason}: {detail}")

    def phase(self, phase: Phase, ends_ns: int | None, *, at_ns: int | None = None) -> None:
        """A phase has begun; `ends_ns` is its planned end, where it has one."""
        self.record(PhaseStart(t_ns=at_ns or time.monotonic_ns(), phase=phase))
        if phase is not Phase.END:
            self.progress.phase(phase, ends_ns)

    def note(self, text: str, level: str = "info") -> None:
        """On record, and told."""
        self.record(Note(t_ns=time.monotonic_ns(), text=text, level=level))
        self.progress.note(text)

    def anchor(self) -> None:
        """The wall clock and the run's own, at one moment."""
        self.record(ClockAnchor(t_ns=time.monotonic_ns(), wall_ns=time.time_ns(), process="harness"))
