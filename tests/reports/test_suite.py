"""index.html of a suite: experiments and verdicts at a glance, and each one's course over earlier runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

import reports
from harness.verdict import Verdict, VerdictName
from reports import suite
from tests.course import WALL_NS, S
from tests.reports import verdicts
from tests.reports.page import Page, without_assets

DAY_NS = 86_400 * S


def run(base: Verdict, day: int, *, experiment: str = "gpu-pod-kill", platform: str = "healthy") -> Verdict:
    """`base` as the run of one day."""
    environment = base.environment | {
        "experiment": experiment,
        "platform": platform,
        "started_wall_ns": WALL_NS + day * DAY_NS,
    }
    return dataclasses.replace(base, run_id=f"{experiment}-{platform}-{day:02}", environment=environment)


def recorded(out: Path, *verdicts_: Verdict) -> None:
    """Folders of runs with their reports."""
    for verdict in verdicts_:
        (out / verdict.run_id).mkdir()
        reports.write_all(out / verdict.run_id, verdict, None)


def test_each_experiment_is_a_row_with_its_earlier_runs(tmp_path):
    """Oldest first, each a link to its report; this suite's run is marked."""
    today = run(verdicts.failed(), 3)
    recorded(tmp_path, run(verdicts.passed(), 1), run(verdicts.passed(), 2), today)

    page = Page(suite.render(tmp_path, [today]))

    assert page.wrong == []
    links = [link["href"] for link in page.all("a") if (link.get("class") or "").startswith("dot")]
    assert links == [f"gpu-pod-kill-healthy-{day:02}/report.html" for day in (1, 2, 3)]
    marked = [link["href"] for link in page.all("a") if "now" in (link.get("class") or "").split()]
    assert marked == ["gpu-pod-kill-healthy-03/report.html"]
    assert "0 of 1 run passed" in page.text


def test_earlier_runs_of_other_experiments_make_no_rows(tmp_path):
    """The overview is of this suite; what it did not run it does not show as its own."""
    today = run(verdicts.passed(), 3)
    recorded(tmp_path, run(verdicts.failed(), 1, experiment="pod-latency"), today)

    page = Page(suite.render(tmp_path, [today]))

    assert "pod-latency" not in page.text
    assert "1 of 1 run passed" in page.text


def test_the_worst_of_several_runs_stands_for_the_experiment(tmp_path):
    """A promise that holds sometimes is broken."""
    runs = [run(verdicts.passed(), 1), run(verdicts.failed(), 2), run(verdicts.passed(), 3)]

    text = Page(suite.render(tmp_path, runs)).text

    assert "2 of 3 runs passed; the worst one is shown" in text
    assert "✗ FAILED" in text


@pytest.mark.parametrize(("n", "bound"), [(2, "22.3 %"), (5, "54.9 %"), (14, "80.7 %")])
def test_repeats_claim_what_they_may(tmp_path, n, bound):
    """All N passed: a pass rate of at least 0.05^(1/N), rounded down."""
    text = Page(suite.render(tmp_path, [run(verdicts.passed(), day) for day in range(n)])).text

    assert f"all {n} runs passed: it passes at least {bound} of the time" in text


def test_several_platforms_make_a_table_of_experiments_by_platform(tmp_path):
    """What the truth table is: the same experiment on a healthy and on a planted platform."""
    runs = [
        run(verdicts.passed(), 1),
        run(verdicts.failed(), 2, platform="single-replica"),
        run(verdicts.passed(), 3, experiment="pod-latency"),
    ]

    page = Page(suite.render(tmp_path, runs))

    assert page.wrong == []
    assert any(table.get("class") == "matrix" for table in page.all("table"))
    assert "single-replica on sandbox" in page.text


def test_figures_of_runs_that_say_nothing_are_in_no_trend(tmp_path):
    """An INVALID run's recovery is no recovery."""
    runs = [run(verdicts.failed(), 1), run(dataclasses.replace(verdicts.failed(), verdict=VerdictName.INVALID), 2)]

    page = Page(suite.render(tmp_path, runs))

    assert page.all("polyline") == []


def test_an_unreadable_verdict_is_told_and_stops_nothing(tmp_path):
    """One broken folder does not take the overview away."""
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "verdict.json").write_text('{"format": 1')

    page = Page(suite.render(tmp_path, [run(verdicts.passed(), 1)]))

    assert "broken: JSONDecodeError" in page.text


def test_a_hostile_title_stays_text(tmp_path):
    """In the overview as in the report."""
    evil = "<script>alert(1)</script>"
    verdict = dataclasses.replace(run(verdicts.failed(), 1, experiment=evil), title=evil, why=evil)

    page = Page(suite.render(tmp_path, [verdict]))

    assert page.wrong == []
    assert page.loads == []
    assert page.scripts == []
    assert evil in page.text


def test_the_suite_is_one_junit_file(tmp_path):
    """A suite of suites, for CI."""
    written = reports.write_suite(
        tmp_path, [run(verdicts.passed(), 1), run(verdicts.failed(), 2, experiment="pod-latency"), verdicts.skipped()]
    )

    root = ElementTree.fromstring(written["junit.xml"].read_text(encoding="utf-8"))
    assert [one.get("name") for one in root.findall("testsuite")] == ["gpu-pod-kill", "pod-latency", "gpu-node-drain"]
    assert (root.get("failures"), root.get("errors"), root.get("skipped")) == ("1", "0", "1")
    assert "1 of 3 experiments passed" in written["summary.md"].read_text(encoding="utf-8")


def test_the_overview_looks_as_agreed(tmp_path, golden: Callable[[str, str], None]):
    """Two experiments, an earlier run, a skipped one."""
    today = [run(verdicts.passed(), 3), run(verdicts.failed(), 3, experiment="pod-latency"), verdicts.skipped()]
    recorded(tmp_path, run(verdicts.failed(), 1), *today)

    golden("index.html", without_assets(suite.render(tmp_path, today)))
