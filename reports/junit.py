"""junit.xml: a case for each check, so that any CI shows which promise broke and why.

FAILED is a `failure`; INVALID, ABORTED and RESIDUE are an `error` of that type; SKIPPED is `skipped`. The sentence
stands in the element's text as well as in its `message`, because GitLab once showed the text alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from xml.etree import ElementTree

from harness.verdict import CheckResult, Verdict, VerdictName
from reports import story

# XML 1.0 cannot carry these, not even escaped; an error message of a pod may hold them.
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_LONGEST = 4000  # characters of one sentence; GitLab refuses files over 30 MB


@dataclass(frozen=True, slots=True)
class _Case:
    name: str
    verdict: VerdictName
    sentence: str
    details: str


def render(verdict: Verdict) -> str:
    """junit.xml of one run."""
    return render_suite([verdict])


def render_suite(verdicts: Iterable[Verdict]) -> str:
    """junit.xml of several runs: one `testsuite` each, whose cases have the experiment as `classname`."""
    root = ElementTree.Element("testsuites", name="bulletproof")
    totals = {"tests": 0, "failures": 0, "errors": 0, "skipped": 0}
    seconds = 0.0
    for verdict in verdicts:
        suite = _suite(verdict)
        root.append(suite)
        for key in totals:
            totals[key] += int(suite.attrib[key])
        seconds += float(suite.attrib["time"])
    root.attrib.update({key: str(count) for key, count in totals.items()}, time=f"{seconds:.3f}")
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _suite(verdict: Verdict) -> ElementTree.Element:
    experiment = _clean(story.experiment_name(verdict))
    cases = _cases(verdict)
    seconds = (story.duration_ns(verdict) or 0) / 1e9
    suite = ElementTree.Element("testsuite", name=experiment, tests=str(len(cases)), time=f"{seconds:.3f}")
    started = story.started(verdict)
    if started is not None:
        suite.set("timestamp", started.strftime("%Y-%m-%dT%H:%M:%S"))
    endings = [_ENDING[case.verdict] for case in cases]
    for attribute, ending in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(attribute, str(endings.count(ending)))
    properties = ElementTree.SubElement(suite, "properties")
    known = dict(story.environment(verdict)) | {"run_id": verdict.run_id, "verdict": verdict.verdict.value}
    for key, value in known.items():
        ElementTree.SubElement(properties, "property", name=_clean(key), value=_clean(value))
    for case in cases:
        suite.append(_element(case, experiment))
    ElementTree.SubElement(suite, "system-out").text = _clean(f"{verdict.verdict.value}: {verdict.why}")
    return suite


_ENDING = {
    VerdictName.PASSED: "",
    VerdictName.FAILED: "failure",
    VerdictName.INVALID: "error",
    VerdictName.ABORTED: "error",
    VerdictName.RESIDUE: "error",
    VerdictName.SKIPPED: "skipped",
}


def _cases(verdict: Verdict) -> list[_Case]:
    cases = []
    names: dict[str, int] = {}
    for check in verdict.checks:
        names[check.name] = names.get(check.name, 0) + 1
        name = check.name if names[check.name] == 1 else f"{check.name} ({names[check.name]})"
        sentence = check.why or f"expected {check.expected}, seen {check.seen}"
        cases.append(_Case(name, check.verdict, sentence, _details(verdict, check)))
    # A run that ended otherwise than its checks say (crashed, skipped, no checks at all) must not look green.
    if verdict.verdict not in {case.verdict for case in cases}:
        cases.append(_Case("verdict", verdict.verdict, verdict.why, ""))
    return cases


def _details(verdict: Verdict, check: CheckResult) -> str:
    lines = [f"expected: {check.expected}", f"seen: {check.seen}"]
    where = story.where(verdict, check)
    if where:
        lines.append(f"where: {where} after the load began")
    if check.hint:
        lines.append(f"hint: {check.hint}")
    return "\n".join(lines)


def _element(case: _Case, experiment: str) -> ElementTree.Element:
    element = ElementTree.Element("testcase", classname=experiment, name=_clean(case.name), time="0")
    ending = _ENDING[case.verdict]
    if ending:
        sentence = _clean(case.sentence)
        bad = ElementTree.SubElement(element, ending, message=sentence)
        if ending != "skipped":
            bad.set("type", case.verdict.value)
        bad.text = f"{sentence}\n{_clean(case.details)}".rstrip()
    return element


def _clean(text: str) -> str:
    text = _NOT_XML.sub("\ufffd", text)
    return text if len(text) <= _LONGEST else text[:_LONGEST] + " …"
