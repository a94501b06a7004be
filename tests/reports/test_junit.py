"""junit.xml: CI shows which promise broke and why, and never green by absence."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from xml.etree import ElementTree

import pytest

from harness.verdict import CheckKind, CheckResult, VerdictName
from reports import junit
from tests.reports import verdicts


def parse(text: str) -> ElementTree.Element:
    return ElementTree.fromstring(text)


@pytest.mark.parametrize(
    ("ending", "tag", "type_"),
    [
        (VerdictName.FAILED, "failure", "FAILED"),
        (VerdictName.INVALID, "error", "INVALID"),
        (VerdictName.ABORTED, "error", "ABORTED"),
        (VerdictName.RESIDUE, "error", "RESIDUE"),
        (VerdictName.SKIPPED, "skipped", None),
    ],
)
def test_each_ending_has_its_element_with_the_sentence_in_its_text(ending, tag, type_):
    """GitLab once showed the text and not the message."""
    check = CheckResult(
        name="undo", kind=CheckKind.PROMISE, verdict=ending, expected="clean", seen="not", why="It is left."
    )
    root = parse(junit.render(dataclasses.replace(verdicts.passed(), verdict=ending, checks=(check,))))

    element = root.find(f"./testsuite/testcase[@name='undo']/{tag}")

    assert element is not None
    assert element.get("message") == "It is left."
    assert element.get("type") == type_
    assert (element.text or "").startswith("It is left.")


@pytest.mark.parametrize("ending", [name for name in VerdictName if name is not VerdictName.PASSED])
def test_a_run_without_checks_is_never_green(ending):
    """A crash before the first check, a skipped run: the verdict itself is a case."""
    root = parse(junit.render(dataclasses.replace(verdicts.passed(), verdict=ending, why="No reason.", checks=())))

    suite = root.find("testsuite")
    assert suite is not None
    assert int(suite.get("failures", 0)) + int(suite.get("errors", 0)) + int(suite.get("skipped", 0)) == 1
    assert suite.get("tests") == "1"


def test_an_invalid_run_whose_checks_passed_is_an_error():
    """The verdict may be worse than any check."""
    root = parse(
        junit.render(dataclasses.replace(verdicts.passed(), verdict=VerdictName.INVALID, why="The history is cut."))
    )

    assert root.get("errors") == "1"
    assert root.find("./testsuite/testcase[@name='verdict']/error") is not None


def test_names_are_unique_and_totals_add_up():
    """Viewers drop a second case of the same name."""
    verdict = verdicts.failed()
    root = parse(junit.render_suite([dataclasses.replace(verdict, checks=verdict.checks * 2), verdicts.passed()]))

    cases = root.findall("./testsuite/testcase")
    names = [case.get("name") for case in root.findall("./testsuite[1]/testcase")]
    assert len(names) == len(set(names))
    assert root.get("tests") == str(len(cases))
    assert root.get("failures") == str(len(root.findall(".//failure"))) == "2"


def test_what_xml_cannot_carry_is_replaced():
    """An error message of a pod may hold any byte."""
    check = CheckResult(
        name="odd\x00name",
        kind=CheckKind.PROMISE,
        verdict=VerdictName.FAILED,
        expected="<&>\"'",
        seen="\x1b[31m\ud800]]>",
        why="\x07" * 9000,
    )

    root = parse(junit.render(dataclasses.replace(verdicts.failed(), checks=(check,))))

    case = root.find("./testsuite/testcase")
    assert case is not None
    assert case.get("name") == "odd\ufffdname"
    assert len(case[0].text or "") < 5000


def test_junit_looks_as_agreed(golden: Callable[[str, str], None]):
    """A failed pod kill."""
    golden("junit.xml", junit.render(verdicts.failed()))
