"""Something happens at an absolute moment, to within tens of microseconds, without spinning.

gevent's own sleeps round up to milliseconds (p50 0.6 ms late); a timerfd that the hub watches gives 0.06-0.09 ms.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from types import TracebackType
from typing import Self

import gevent

_CLOCK_MONOTONIC = 1
_TFD_NONBLOCK = os.O_NONBLOCK
_TFD_CLOEXEC = os.O_CLOEXEC
_TFD_TIMER_ABSTIME = 1
_PR_SET_TIMERSLACK = 29
_NS_PER_S = 1_000_000_000
_FIRST = 2  # of libev's priorities, the highest

_libc = ctypes.CDLL(None, use_errno=True)


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


class Timer:
    """Calls back from the hub at a moment of CLOCK_MONOTONIC, before anything else that is ready then."""

    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call
        self._fd = _libc.timerfd_create(_CLOCK_MONOTONIC, _TFD_NONBLOCK | _TFD_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create failed")
        self._spec = _Itimerspec()
        self._is_set = False
        self._watcher = gevent.get_hub().loop.io(self._fd, 1)
        self._watcher.priority = _FIRST
        self._watcher.start(self._expired)

    def set(self, moment_ns: int) -> None:
        """`call` will be called once, soon after `moment_ns`, and not at the moment that was set before.

        What expired just before this is called all the same: whoever is called looks at the clock.
        """
        self._is_set = True
        self._arm(max(1, moment_ns))  # 0 would disarm it

    def close(self) -> None:
        """Gives the descriptor back."""
        self._watcher.close()
        os.close(self._fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _arm(self, moment_ns: int) -> None:
        self._spec.value.seconds, self._spec.value.nanoseconds = divmod(moment_ns, _NS_PER_S)
        if _libc.timerfd_settime(self._fd, _TFD_TIMER_ABSTIME, ctypes.byref(self._spec), None) != 0:
            raise OSError(ctypes.get_errno(), "timerfd_settime failed")

    def _expired(self) -> None:
        self._is_set = False
        self._call()
        if not self._is_set:  # setting it again makes the descriptor unreadable, so does this
            self._arm(0)


def exact_timers() -> None:
    """The kernel wakes this thread on time instead of up to 50 µs later to save power."""
    if _libc.prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_TIMERSLACK) failed")


def real_time() -> str:
    """The scheduler that this thread has afterwards: SCHED_FIFO where that is permitted, else SCHED_OTHER.

    Under contention lateness is the scheduler's: p99 3-30 ms as a normal process, 0.2-0.4 ms with SCHED_FIFO. The
    lowest real-time priority is enough; threads and processes started from here are normal again (RESET_ON_FORK), and
    the kernel leaves 5 % of each second to normal processes whatever happens (sched_rt_runtime_us).
    """
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(1))
    except PermissionError:
        return "SCHED_OTHER"
    return "SCHED_FIFO"
