"""Experiment x platform: what each must come out as, and which check must say so.

A healthy platform keeps every promise. Each planted weakness breaks the one promise that it should, in the experiment
that should notice. These are real runs, with shorter phases than the shipped files have: on the sandbox, or on the
cluster that `--cluster context:NAME` names (`make real`). With `--bulletproof-out DIR` their folders are kept, as
`python -m tests.truth.parity` reads them.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.truth.rows import ROWS, Row
from tests.truth.shortened import run_until_measured, shortened

pytestmark = [pytest.mark.slow, pytest.mark.timeout(540)]

# Its nodes are missed after 16 s instead of 50: the verdict must not hang on it, the time of this table does.
QUICK_CLOCKS = Path(__file__).with_name("quick-clocks.yaml")
INSTRUMENT = ("load_delivered", "baseline_steady", "fault_proven", "undo_verified")


@pytest.fixture
def on(request) -> tuple[str, ...]:
    """The cluster's arguments for `bulletproof run`."""
    cluster = request.config.getoption("--cluster") or "sandbox"
    config = request.config.getoption("--cluster-config") or (QUICK_CLOCKS if cluster == "sandbox" else None)
    return ("--cluster", cluster, *(("--cluster-config", str(config)) if config else ()))


@pytest.fixture
def out(request, tmp_path) -> Path:
    """Where the run's folder is."""
    kept = request.config.getoption("--bulletproof-out")
    return Path(kept).resolve() if kept else tmp_path / "runs"


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_the_verdict_is_the_platforms(row: Row, on, out, tmp_path):
    """A healthy platform PASSED; a planted weakness FAILED, by the check that names it. Nothing is left behind."""
    path = shortened(row.experiment, tmp_path / "files", phases=row.phases)

    ended = run_until_measured(path, out / row.name, "--platform", row.platform, *on)

    for name in INSTRUMENT:
        assert ended.check(name)["verdict"] == "PASSED", ended.output
    failed = {name for name, verdict in ended.not_passed().items() if verdict == "FAILED"}
    if not row.fails:
        assert (ended.exit_code, ended.not_passed(), ended.verdict["verdict"]) == (0, {}, "PASSED"), ended.output
    else:
        assert (ended.exit_code, ended.verdict["verdict"]) == (1, "FAILED"), ended.output
        assert failed & row.fails, ended.not_passed()
        assert any(name in ended.verdict["why"] for name in failed), ended.verdict["why"]
