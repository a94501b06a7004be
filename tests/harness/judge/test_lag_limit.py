"""How late a request may be sent: what the experiment says, else a twentieth of the shortest limit that is judged."""

from __future__ import annotations

import pytest

from harness.judge import judge
from harness.verdict import VerdictName
from tests.histories import build_run

PASSED, INVALID = VerdictName.PASSED, VerdictName.INVALID


@pytest.mark.parametrize(
    ("changes", "limit"),
    [
        ({"within": "250ms"}, "12.5 ms"),
        ({"within": "400ms"}, "20 ms"),
        ({"within": "400ms", "lag_limit": "2ms"}, "2 ms"),
        ({"within": "50ms"}, "5 ms"),  # never less
        ({"within": "1s"}, "25 ms"),  # never more
        ({"within": None, "timeout_s": 0.3}, "15 ms"),  # what took longer is bad, SLO or not
        ({"within": "400ms", "expect": {"latency": {"p50": "1s", "p99": "200ms"}}}, "10 ms"),
    ],
)
def test_the_limit_is_a_twentieth_of_what_is_judged(tmp_path, changes, limit):
    """As the check itself says it, in a history that someone wrote."""
    (check,) = (one for one in judge(build_run(tmp_path, **{"lag_limit": None, **changes})).checks
                if one.name == "load_delivered")  # fmt: skip

    assert check.expected == f"99.9 % sent within {limit} of schedule"


@pytest.mark.parametrize(("within", "verdict"), [("450ms", PASSED), ("350ms", INVALID)])
def test_the_same_lateness_is_too_much_where_less_is_promised(tmp_path, within, verdict):
    """20 ms late are less than a twentieth of 450 ms, and more than one of 350 ms."""
    late = {"late": [(-5.0, -4.9, 20.0)], "lag_limit": None}

    found = judge(build_run(tmp_path, within=within, **late))

    assert {one.name: one.verdict for one in found.checks}["load_delivered"] is verdict
    assert found.verdict is verdict
