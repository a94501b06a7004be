"""Millions of requests are judged some at a time: that changes no verdict and no figure."""

from __future__ import annotations

import pytest

from harness.checks import load_delivered
from harness.history import columns
from harness.judge import judge
from tests.course import ZERO_NS, S
from tests.course_requests import alter_requests
from tests.histories import build_run, read_history

SMALL = {"baseline_s": 4.0, "recover_s": 6.0, "settle_s": 2.0, "target": 0.98}


def hole(rows):
    """A second of the schedule is missing, and so are the numbers."""
    kept = [row for row in rows if not ZERO_NS + 5 * S <= row["scheduled_ns"] < ZERO_NS + 6 * S]
    return [{**row, "arrival": number} for number, row in enumerate(kept)]


def impossible(rows):
    """Answered before they were sent, and numbered twice."""
    return [*rows[:70], {**rows[70], "arrival": 69, "first_byte_ns": rows[70]["sent_ns"] - 5}, *rows[71:]]


@pytest.mark.parametrize(
    ("course", "alter"),
    [
        ({}, None),
        ({"outage": (0.0, 0.8), "outcome": "timeout", "kept": "0%"}, None),
        ({"not_sent": [(2.0, 2.1)]}, None),
        ({"shape": "spike to 300/s at 6s for 1s", "expect": {"lost_requests": 5}}, None),
        ({}, hole),
        ({}, impossible),
    ],
)
def test_a_verdict_is_the_same_whatever_the_blocks(tmp_path, monkeypatch, course, alter):
    """One block, many, and one that ends with the last request or just before or after it."""
    run_dir = build_run(tmp_path, **SMALL, **course)
    if alter is not None:
        alter_requests(run_dir, alter)
    whole, requests = judge(run_dir), len(read_history(run_dir).requests)

    for block in (7, requests - 1, requests, requests + 1):
        monkeypatch.setattr(columns, "BLOCK_ROWS", block)
        monkeypatch.setattr(load_delivered, "BLOCK_ROWS", block)

        assert judge(run_dir) == whole, block
