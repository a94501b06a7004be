"""report.html: one file, offline, that tells the whole story and lets no text become anything else."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import reports
from harness.history.columns import Coded
from harness.history.reader import History
from harness.history.records import Note, Stop
from harness.verdict import VerdictName
from reports import html
from tests.course import PODS, ZERO_NS, Course, S
from tests.reports import verdicts
from tests.reports.page import Page, without_assets
from tests.reports.requests import make_requests

EVIL = "</script><script>alert(1)</script><img src=http://evil.example/x onerror=alert(2)>'\"--><!-- {{ 7*7 }}"
TYPES = {"f8": "<f8", "f4": "<f4", "u4": "<u4", "u2": "<u2", "u1": "u1"}


def data_of(page: Page) -> dict[str, Any]:
    (text,) = [text for attributes, text in page.scripts if attributes.get("type") == "application/json"]
    found: dict[str, Any] = json.loads(text)
    return found


def unpack(packed: dict[str, str]) -> np.ndarray:
    return np.frombuffer(base64.b64decode(packed["base64"]), dtype=TYPES[packed["type"]])


@pytest.fixture
def failed(run_of) -> tuple[str, Page]:
    """The report of a pod kill that lost 0.8 s."""
    run_dir, history = run_of(Course(outage=(0.0, 0.8)))
    text = html.render(run_dir, verdicts.failed(), history)
    return text, Page(text)


def test_the_page_is_well_formed_and_loads_nothing(failed):
    """A report is read in a train, on an air-gapped machine, and years later."""
    text, page = failed

    assert page.wrong == []
    assert page.open == []
    assert page.loads == []
    for style in page.styles:
        assert "url(" not in style
        assert "@import" not in style
    for _, script in page.scripts:
        assert not re.search(r"\b(fetch|XMLHttpRequest|WebSocket|EventSource|importScripts|sendBeacon)\b", script)
    assert text.startswith("<!doctype html>")


def test_the_policy_allows_the_pages_own_scripts_and_nothing_else(failed):
    """Should an escape ever fail, the browser still runs nothing that is not ours."""
    _, page = failed
    (policy,) = [
        meta["content"] or "" for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"
    ]

    scripts = [text for attributes, text in page.scripts if attributes.get("type") != "application/json"]

    hashes = {f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in scripts}
    allowed = re.search(r"script-src ([^;]*)", policy)
    assert allowed is not None
    assert set(allowed[1].split()) == hashes
    assert "default-src 'none'" in policy


def test_the_story_comes_before_the_details(failed):
    """Verdict, why, promise, deed and what clients saw, in this order, above everything else."""
    _, page = failed

    order = [
        "FAILED",
        "0.80 s of service were lost",
        "Promised",
        "service back within 5 s",
        "Done",
        "proven 50 ms later",
        "Clients saw",
        "160 of them bad",
        "Checks",
    ]

    places = [page.text.index(words) for words in order]
    assert places == sorted(places)


def test_without_javascript_the_tables_and_pictures_are_there(failed):
    """The strip, the lanes with their marks and the stages are SVG and HTML."""
    _, page = failed

    assert len([svg for svg in page.all("svg") if svg.get("role") == "img"]) == 1 + 4  # the strip, four pods
    assert page.all("noscript")
    for words in (*PODS, "endpoint removed", "pod ready", "refused by the course", "pod-gone", "bulletproof judge"):
        assert words in page.text, words
    paths = [path["d"] for path in page.all("path") if path.get("class") == "bad"]
    assert paths[0], "the strip shows the outage"


def test_every_check_stands_with_what_was_expected_and_seen(failed):
    """And the broken one first, with its hint."""
    _, page = failed

    for check in verdicts.failed().checks:
        assert check.name in page.text.replace("_\n", "_")
        assert check.expected in page.text
        assert check.seen in page.text
    assert page.text.index("readiness probe") < page.text.index("delivered")


def test_every_bad_request_is_in_the_page(run_of):
    """By its number in the schedule."""
    run_dir, history = run_of(Course(outage=(0.0, 0.8), noise=0.002))
    requests = history.requests

    data = data_of(Page(html.render(run_dir, verdicts.failed(), history)))

    bad = set(requests.arrival[~requests.outcome.is_("ok")].tolist())
    drawn = unpack(data["latency"]["arrival"])[unpack(data["latency"]["class"]) > 0]
    assert bad
    assert set(drawn.tolist()) == bad
    assert sum(int(kind["count"]) for kind in data["classes"][1:]) == len(bad)


def hostile(history: History) -> tuple[History, Any]:
    """A run in which everything that can be named has the worst of names."""
    requests = history.requests
    count = len(requests)
    codes = np.zeros(count, dtype=np.int32)
    requests = dataclasses.replace(
        requests,
        pod=Coded(codes, [EVIL]),
        error=Coded(codes, [EVIL]),
        version=Coded((np.arange(count) % 2).astype(np.int32), [EVIL, f"{EVIL}2"]),
        outcome=Coded(np.where(np.arange(count) % 9 == 0, 1, 0).astype(np.int32), ["ok", EVIL]),
    )
    actions = [
        dataclasses.replace(
            record,
            **{
                name: EVIL
                for name in ("detail", "claim", "name", "target", "entry_id", "text")
                if hasattr(record, name)
            },
        )
        for record in history.actions
    ]
    actions += [Note(t_ns=ZERO_NS, text=EVIL, level=EVIL), Stop(t_ns=ZERO_NS, reason=EVIL, detail=EVIL)]
    experiment = history.experiment.model_copy(update={"title": EVIL, "description": EVIL})
    verdict = verdicts.failed()
    checks = tuple(
        dataclasses.replace(check, name=EVIL, expected=EVIL, seen=EVIL, why=EVIL, hint=EVIL) for check in verdict.checks
    )
    measured = json.loads(
        re.sub(
            r'"(pod/)?(detector-7d9f-\w+|pod-kill(-1)?(\.0)?|refused by the course|detector|endpoint removed)"',
            lambda _: json.dumps(EVIL),
            json.dumps(verdict.measurements),
        )
    )
    verdict = dataclasses.replace(
        verdict,
        title=EVIL,
        why=EVIL,
        run_id=EVIL,
        checks=checks,
        measurements=measured,
        environment={"experiment": EVIL, EVIL: EVIL, "command": EVIL},
    )
    return dataclasses.replace(history, requests=requests, actions=actions, experiment=experiment), verdict


def test_no_name_of_the_cluster_becomes_markup(run_of):
    """Pod names, errors, titles: all of them are text, in the page and in its data."""
    run_dir, history = run_of(Course(outage=(0.0, 0.8)))
    harmless = Page(html.render(run_dir, verdicts.failed(), history))

    page = Page(html.render(run_dir, *reversed(hostile(history))))

    assert page.wrong == []
    assert page.loads == []
    assert page.all("img") == []
    assert len(page.scripts) == len(harmless.scripts)
    assert EVIL in " ".join(page.text.split())
    assert "{{ 7*7 }}" in page.text
    assert data_of(page)["latency"]["pod"]["names"] == [EVIL]


@pytest.mark.parametrize("ending", list(VerdictName))
def test_a_run_without_any_history_is_reported(tmp_path, ending):
    """Killed, skipped, refused by the guard: the page says what is known."""
    verdict = dataclasses.replace(verdicts.skipped(), verdict=ending)

    page = Page(html.render(tmp_path, verdict, None))

    assert page.wrong == []
    assert ending.value in page.text
    assert "The cluster offers no eviction" in page.text


def test_a_run_that_was_killed_before_its_first_request_is_reported(run_of):
    """A history without requests: phases and deeds are told, no plot is drawn."""
    run_dir, history = run_of(Course())
    empty = dataclasses.replace(history, requests=make_requests([], [], []))
    for file in run_dir.glob("requests-*.arrows"):
        file.unlink()

    for gone in (empty, History.read(run_dir)):
        page = Page(html.render(run_dir, dataclasses.replace(verdicts.failed(), measurements={}), gone))
        assert page.wrong == []
        assert "no request was recorded" in page.text
    assert "The history has gaps." in page.text


@pytest.mark.parametrize("missing", sorted(verdicts.measurements(Course())))
def test_whatever_was_not_measured_is_left_out(run_of, missing):
    """Each measurement may be absent or null: a run that was cut short has not all of them."""
    run_dir, history = run_of(Course(outage=(0.0, 0.8), recover_s=3.0, baseline_s=3.0))
    verdict = verdicts.failed()
    without = {key: value for key, value in verdict.measurements.items() if key != missing}

    for measured in (without, without | {missing: None}):
        page = Page(html.render(run_dir, dataclasses.replace(verdict, measurements=measured), history))
        assert page.wrong == []


def test_a_million_requests_fit_in_three_megabytes_(run_of):
    """100,000 of them bad: none is lost, and the page can still be mailed."""
    run_dir, history = run_of(Course(baseline_s=2.0, recover_s=3.0, settle_s=1.0))
    rng = np.random.default_rng(5)
    n = 1_000_000
    outcomes = np.full(n, "ok", dtype=object)
    outcomes[400_000:500_000] = rng.choice(["timeout", "refused", "http_503", "not_sent"], 100_000)
    requests = make_requests(np.arange(n) / 1000, rng.gamma(4, 1, n) + 0.3, outcomes)
    history = dataclasses.replace(history, requests=requests)
    verdict = verdicts.failed()
    phases = [{"phase": "recover", "start_ns": ZERO_NS, "end_ns": ZERO_NS + 1000 * S}]
    verdict = dataclasses.replace(verdict, measurements=verdict.measurements | {"phases": phases})

    text = html.render(run_dir, verdict, history)

    assert len(text.encode()) < 3_000_000
    data = data_of(Page(text))
    cells = data["latency"]["cells"]
    assert unpack(cells["count"])[unpack(cells["class"]) > 0].sum() == 100_000


def test_all_reports_are_written_and_replaced_in_one_step(run_of):
    """Writing twice leaves the same files and nothing half done."""
    run_dir, history = run_of(Course())
    before = {file.name for file in run_dir.iterdir()}

    written = reports.write_all(run_dir, verdicts.passed(), history)
    again = reports.write_all(run_dir, verdicts.passed(), history)

    assert written == again
    assert set(written) == {"verdict.json", "junit.xml", "summary.md", "report.html"}
    assert {file.name for file in run_dir.iterdir()} == before | set(written)


def test_the_page_looks_as_agreed(golden: Callable[[str, str], None], run_of):
    """The template's part of a failed run, without scripts, styles and data."""
    run_dir, history = run_of(Course(outage=(0.0, 0.8)))

    text = html.render(run_dir, verdicts.failed(), history)

    golden("report.html", without_assets(text).replace(str(run_dir), "RUN_DIR"))
