"""What ends a watch is on record: nothing that depends on it is judged from then on."""

from __future__ import annotations

import pytest

from harness.errors import InvalidRun
from harness.history.records import Note, Watched
from harness.run.observer import KINDS, Observer


@pytest.mark.parametrize("error", [InvalidRun("forbidden"), KeyError("metadata")])
def test_a_watch_that_ends_is_lost_whatever_ended_it(error, monkeypatch):
    """Also an error of ours: a gap that nobody wrote down would pass for a quiet cluster."""

    def breaking(cluster, kind, namespace, selector, on_event, stop):
        on_event("LISTED", {"metadata": {"name": kind}})
        raise error

    monkeypatch.setattr("harness.run.observer.watch", breaking)
    records = []
    observer = Observer(None, "inference", records.append)

    observer.start()
    for thread in observer._threads:
        thread.join(10)

    for kind, _ in KINDS:
        assert [one.verb for one in records if isinstance(one, Watched) and one.kind == kind] == ["LISTED", "LOST"]
        assert sum(isinstance(one, Note) and f"the watch on {kind} ended" in one.text for one in records) == 1
