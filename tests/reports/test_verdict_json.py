"""verdict.json: plain JSON that its published schema describes, whatever the judge measured."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable

import jsonschema
import numpy as np
import pytest

from harness.verdict import CheckKind, CheckResult, VerdictName
from reports import verdict_json
from tests.reports import verdicts

SCHEMA = json.loads(verdict_json.SCHEMA_FILE.read_text(encoding="utf-8"))


def test_the_schema_is_a_schema():
    """Editors and gates can use it."""
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize(
    "verdict", [verdicts.passed(), verdicts.failed(), verdicts.skipped()], ids=lambda v: v.verdict.value
)
def test_a_verdict_is_as_the_schema_says(verdict):
    """Every ending, with and without measurements."""
    jsonschema.validate(json.loads(verdict_json.render(verdict)), SCHEMA)


def test_a_verdict_that_lies_about_its_exit_code_is_refused():
    """The schema ties the exit code to the verdict, so that a program may read either."""
    data = verdict_json.to_dict(verdicts.failed()) | {"exit_code": 0}

    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(data, SCHEMA)


def test_numpy_nan_and_infinity_become_plain_json():
    """JSON has no NaN; a strict parser would refuse the whole file."""
    check = CheckResult(
        name="odd",
        kind=CheckKind.PROMISE,
        verdict=VerdictName.PASSED,
        expected="",
        seen="",
        at_ns=np.int64(7),  # type: ignore[arg-type]
        measured={
            "nan": float("nan"),
            "inf": np.float32("inf"),
            "array": np.array([1.5, np.nan]),
            "flag": np.bool_(True),
            3: {"key": (1, {2})},
            "name": VerdictName.FAILED,
        },
    )

    text = verdict_json.render(dataclasses.replace(verdicts.passed(), checks=(check,)))

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    seen = json.loads(text, parse_constant=refuse)["checks"][0]
    assert seen["at_ns"] == 7
    assert seen["measured"] == {
        "nan": None,
        "inf": None,
        "array": [1.5, None],
        "flag": True,
        "3": {"key": [1, [2]]},
        "name": "FAILED",
    }


def test_what_was_written_is_read_back():
    """The suite's overview reads earlier verdicts from their files."""
    verdict = verdicts.failed()

    again = verdict_json.from_dict(json.loads(verdict_json.render(verdict)))

    assert again == verdict


def test_another_format_is_refused():
    """A later version's verdict is not half understood."""
    data = verdict_json.to_dict(verdicts.passed()) | {"format": 2}

    with pytest.raises(ValueError, match="format 2"):
        verdict_json.from_dict(data)


def test_verdict_json_looks_as_agreed(golden: Callable[[str, str], None]):
    """The file that gates read."""
    golden("verdict.json", verdict_json.render(verdicts.failed()))
