"""What the judge's tests ask of a verdict."""

from __future__ import annotations

import yaml

from harness.verdict import VerdictName

PASSED, FAILED, INVALID = VerdictName.PASSED, VerdictName.FAILED, VerdictName.INVALID


def ended(verdict):
    """Names of the checks that did not pass."""
    return {check.name: check.verdict for check in verdict.checks if check.verdict is not PASSED}


def check(verdict, name):
    """One check of a verdict."""
    return next(one for one in verdict.checks if one.name == name)


def alter_experiment(run_dir, alter):
    file = run_dir / "experiment.yaml"
    document = yaml.safe_load(file.read_text(encoding="utf-8"))
    alter(document)
    file.write_text(yaml.safe_dump(document), encoding="utf-8")
