"""A signal becomes a flag, and what handled it before handles it afterwards."""

from __future__ import annotations

import os
import signal

from harness.run.signals import Signals


def test_the_first_signal_sets_the_flag_and_each_is_heard():
    """The second Ctrl-C is counted, not obeyed: the undo goes on."""
    heard = []
    before = signal.getsignal(signal.SIGTERM)

    with Signals(lambda name, count: heard.append((name, count))) as signals:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGHUP)

        assert signals.interrupted.is_set()
        assert signals.name == "SIGTERM"

    assert heard == [("SIGTERM", 1), ("SIGHUP", 2)]
    assert signal.getsignal(signal.SIGTERM) == before
