"""What the gate says, for people, JSON, JUnit and GitHub's step summary."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from harness.gate import Decision, Ruling

_SAYS = {
    Ruling.PASS: "PASS: everything that the policy asks for is there and holds",
    Ruling.HOLD: "HOLD: it cannot be said that every promise holds",
    Ruling.BLOCK: "BLOCK: a promise is broken, or kept with less room than asked for",
}


def text(decision: Decision) -> str:
    """For people: the ruling first, then each experiment with its reason."""
    lines = [f"{_SAYS[decision.ruling]}  ({decision.policy.title})", ""]
    width = max(len(finding.name) for finding in decision.findings)
    for finding in decision.findings:
        lines.append(f"{finding.ruling.value:<6} {finding.name:<{width}}  {finding.kind}: {finding.why}")
        if finding.hint:
            lines.append(f"{'':<7}{'':<{width}}  hint: {finding.hint}")
    lines += [f"note   {note}" for note in decision.notes]
    return "\n".join(lines)


def to_json(decision: Decision) -> dict[str, Any]:
    """For programs."""
    return {
        "format": 1,
        "ruling": decision.ruling.value,
        "exit_code": decision.exit_code,
        "policy": {
            "file": decision.policy.file,
            "title": decision.policy.title,
            "images": decision.policy.images,
        },
        "findings": [
            {
                "experiment": finding.name,
                "ruling": finding.ruling.value,
                "kind": finding.kind,
                "why": finding.why,
                "hint": finding.hint,
                "runs": list(finding.runs),
            }
            for finding in decision.findings
        ],
        "notes": list(decision.notes),
    }


def junit(decision: Decision) -> str:
    """A case for each required experiment: block is a failure, hold an error."""
    counts = {ruling: sum(finding.ruling is ruling for finding in decision.findings) for ruling in Ruling}
    root = ElementTree.Element("testsuites", name="bulletproof gate")
    suite = ElementTree.SubElement(
        root,
        "testsuite",
        name=decision.policy.title,
        tests=str(len(decision.findings)),
        failures=str(counts[Ruling.BLOCK]),
        errors=str(counts[Ruling.HOLD]),
        skipped="0",
    )
    for finding in decision.findings:
        case = ElementTree.SubElement(suite, "testcase", classname="gate", name=finding.name)
        if finding.ruling is not Ruling.PASS:
            tag = "failure" if finding.ruling is Ruling.BLOCK else "error"
            element = ElementTree.SubElement(case, tag, message=_clean(finding.why), type=finding.kind)
            # GitLab once showed the text alone, GitHub's readers show the message alone.
            element.text = _clean(f"{finding.why}\n{finding.hint}".strip())
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def markdown(decision: Decision) -> str:
    """For GitHub's step summary."""
    rows = [f"## Gate: {_SAYS[decision.ruling]}", "", "| | experiment | why |", "|---|---|---|"]
    marks = {Ruling.PASS: "✅", Ruling.HOLD: "✋", Ruling.BLOCK: "❌"}
    for finding in decision.findings:
        why = _clean(finding.why).replace("|", "\\|").replace("\n", " ")
        rows.append(f"| {marks[finding.ruling]} | {finding.name} | {finding.kind}: {why} |")
    return "\n".join(rows) + "\n"


def write_step_summary(decision: Decision) -> None:
    """Added to $GITHUB_STEP_SUMMARY where that is set, as in GitHub Actions."""
    from reports.github import append_step_summary

    file = os.environ.get("GITHUB_STEP_SUMMARY")
    if file:
        append_step_summary(Path(file), markdown(decision))


def _clean(value: str) -> str:
    return "".join(char if char.isprintable() or char == "\n" else " " for char in value)
