"""From a recorded run to its reports, through the judge: what both count is the same."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import jsonschema
import numpy as np
import pytest

import reports
from harness.history.records import Stop
from harness.judge import judge_history
from harness.verdict import VerdictName
from reports import downsample, verdict_json
from tests.course import PODS, ZERO_NS, Course, S
from tests.reports.page import Page

COURSES = {
    "nothing lost": (Course(), VerdictName.PASSED),
    "lost too much": (Course(outage=(0.0, 0.8)), VerdictName.FAILED),
    "one in three hangs": (Course(outage=(0.0, 9.0), outage_share=1 / 3, outcome="timeout"), VerdictName.FAILED),
    "one pod is slow": (
        Course(
            fault="pod-latency",
            claims={"latency-added": None},
            slow_ms=400,
            slow_pod=PODS[0],
            silent=False,
            new_pod_ready_s=None,
        ),
        VerdictName.FAILED,
    ),
    "the load was late": (Course(not_sent=[(14, 14.2)], late=[(12, 12.3, 80)], noise=0.001), VerdictName.INVALID),
    "something is left": (Course(undo_verified=False, differences=("node/gpu-1: cordoned",)), VerdictName.RESIDUE),
    "killed": (Course(stop=Stop(t_ns=ZERO_NS + 20 * S, reason="killed")), VerdictName.ABORTED),
    "never back": (Course(outage=(0.0, 100.0)), VerdictName.FAILED),
}


@pytest.mark.parametrize(("course", "ending"), list(COURSES.values()), ids=list(COURSES))
def test_reports_say_what_the_judge_said(run_of, course, ending):
    """Verdict, checks and the number of bad requests agree in every file."""
    run_dir, history = run_of(course)
    verdict = judge_history(history)

    written = reports.write_all(run_dir, verdict, history)

    assert verdict.verdict is ending
    data = json.loads(written["verdict.json"].read_text(encoding="utf-8"))
    jsonschema.validate(data, json.loads(verdict_json.SCHEMA_FILE.read_text(encoding="utf-8")))
    assert verdict_json.from_dict(data).verdict is ending
    cases = ElementTree.parse(written["junit.xml"]).findall("./testsuite/testcase")
    assert {case.get("name") for case in cases} >= {check.name for check in verdict.checks}
    page = Page(written["report.html"].read_text(encoding="utf-8"))
    assert page.wrong == []
    assert ending.value in page.text
    assert ending.value in written["summary.md"].read_text(encoding="utf-8")
    drawn = downsample.classify(history.requests, history.experiment.slos, ZERO_NS)
    assert int(np.isin(drawn.codes, drawn.bad_classes).sum()) == verdict.measurements["requests"]["bad"]
