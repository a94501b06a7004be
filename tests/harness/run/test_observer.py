"""What ends a watch is on record: nothing that depends on it is judged from then on."""

from __future__ import annotations

from collections import Counter

import pytest

from harness.errors import InvalidRun
from harness.history.records import Note, Watched
from harness.run.observer import KINDS, Observer


def test_a_watch_that_a_full_disk_ended_is_lost_too(monkeypatch):
    """Nothing could be written then, the gap neither; as soon as something can, it is."""

    def breaking(cluster, kind, namespace, selector, on_event, stop):
        on_event("LISTED", {"metadata": {"name": kind}})

    monkeypatch.setattr("harness.run.observer.watch", breaking)
    records, refused = [], Counter()

    def full_for_a_while(record):
        kind = getattr(record, "kind", "")
        refused[kind] += 1
        if refused[kind] <= 3:
            raise OSError("No space left on device")
        records.append(record)

    observer = Observer(None, "inference", full_for_a_while)
    observer.start()
    for thread in observer._threads:
        thread.join(10)

    lost = [one.kind for one in records if isinstance(one, Watched) and one.verb == "LOST"]
    assert sorted(lost) == sorted(kind for kind, _ in KINDS)


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
