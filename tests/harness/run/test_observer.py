"""What ends a watch is on record: nothing that depends on it is judged from then on."""

from __future__ import annotations

import pytest

from harness.errors import InvalidRun
from harness.history.records import Note, Watched
from harness.run.observer import KINDS, Observer


class Breaking:
    """A cluster whose watches tell one object, then end with an error."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def watch(self, kind, namespace, selector, on_event, stop):
        on_event("LISTED", {"metadata": {"name": kind}})
        raise self.error


@pytest.mark.parametrize("error", [InvalidRun("forbidden"), KeyError("metadata")])
def test_a_watch_that_ends_is_lost_whatever_ended_it(error):
    """Also an error of ours: a gap that nobody wrote down would pass for a quiet cluster."""
    records = []
    observer = Observer(Breaking(error), "inference", records.append)

    observer.start()
    for thread in observer._threads:
        thread.join(10)

    for kind, _ in KINDS:
        assert [one.verb for one in records if isinstance(one, Watched) and one.kind == kind] == ["LISTED", "LOST"]
        assert sum(isinstance(one, Note) and f"the watch on {kind} ended" in one.text for one in records) == 1
