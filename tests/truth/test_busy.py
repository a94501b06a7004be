"""Which endings are the machine's: only those may be tried again."""

from __future__ import annotations

from harness.judge import judge
from reports import verdict_json
from tests.histories import build_run
from tests.truth.busy import too_busy

LATE = {"late": [(-5.0, -4.9, 20.0)]}
BLIND = {"late": [(9.0, 9.005, 60.0)]}


def as_json(run_dir):
    """The verdict on a folder, as its report has it."""
    return verdict_json.to_dict(judge(run_dir))


def test_only_a_late_load_makes_a_run_worth_another(tmp_path):
    """Late in the baseline, or a single blind request: again. Whatever else is wrong, or a platform that failed: no."""
    again = [LATE, BLIND]
    final = [
        {},
        {"outage": (0.0, 9.0)},
        {"strikes": False},
        {"noise": 0.02},
        {"target": 0.9999},
    ]
    seen = [too_busy(as_json(build_run(tmp_path / str(n), **course))) for n, course in enumerate(again + final)]

    assert seen == [True] * len(again) + [False] * len(final)
