"""INT, TERM and HUP become a flag that the run looks at; nothing is ever raised in the middle of an act or an undo."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Signals:
    """While this context is open, the first signal sets `interrupted`; `on_signal` hears each of them."""

    def __init__(self, on_signal: Callable[[str, int], None]) -> None:
        self.interrupted = threading.Event()
        self.name = ""
        self._count = 0
        self._on_signal = on_signal
        self._before: dict[int, object] = {}

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        self._count += 1
        if not self.name:
            self.name = signal.Signals(number).name
        self.interrupted.set()
        self._on_signal(signal.Signals(number).name, self._count)
