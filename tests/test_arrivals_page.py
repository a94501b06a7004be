"""What docs/arrivals.md says is true: its snippets load, and its program makes the trace that is shipped."""

from __future__ import annotations

import contextlib
import io
import re
import shutil
from pathlib import Path

import pytest

from harness.experiment.contradictions import warnings
from harness.experiment.loader import load

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "arrivals.md").read_text(encoding="utf-8")
LOAD = "load: {rate: 200/s, arrivals: poisson, timeout: 1.5s, seed: 7}"


@pytest.mark.parametrize("snippet", re.findall(r"```yaml\n(load: .*?)\n```", PAGE, re.S))
def test_a_snippet_is_the_load_of_an_experiment(tmp_path, snippet):
    """In the place of the load of the first shipped experiment it is valid, and nothing about it disappoints."""
    shutil.copytree(ROOT / "experiments", tmp_path, dirs_exist_ok=True)
    text = (ROOT / "experiments" / "gpu-pod-kill.yaml").read_text(encoding="utf-8")
    assert LOAD in text
    text = text.replace(LOAD, snippet)
    if "trace" in snippet:
        text = text.replace("lost: 0.5s", "lost_requests: 50")
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")

    experiment = load(path)

    assert warnings(experiment) == []
    assert experiment.offered(10**9).expected(10**9) > 0


def test_the_shipped_trace_is_what_the_page_makes():
    """Whoever doubts where it comes from makes it again."""
    program = re.search(r"```python\n(.*?)```", PAGE, re.S)[1]
    made = io.StringIO()

    with contextlib.redirect_stdout(made):
        exec(program, {})

    assert made.getvalue() == (ROOT / "experiments" / "traces" / "bursty.csv").read_text(encoding="utf-8")
