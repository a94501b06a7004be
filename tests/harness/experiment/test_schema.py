"""The published schema and the reference page say what the loader does."""

from __future__ import annotations

import json

import jsonschema
import pytest
import yaml

from harness.experiment import schema
from harness.experiment.shipped import experiment_files


def test_the_published_files_are_fresh():
    """`python -m harness.experiment.schema` writes them again."""
    assert schema.SCHEMA_FILE.read_text() == schema.schema_text()
    assert schema.REFERENCE_FILE.read_text() == schema.reference()


def test_the_schema_is_one():
    """Editors refuse a schema that is none."""
    jsonschema.Draft202012Validator.check_schema(json.loads(schema.schema_text()))


@pytest.mark.parametrize("name", experiment_files())
def test_a_shipped_experiment_is_valid_by_the_schema(name):
    """What the loader takes, an editor takes."""
    jsonschema.validate(yaml.safe_load(experiment_files()[name].read_text()), json.loads(schema.schema_text()))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("recovers_within: 5s", "recovers_within: 5"),
        ("recovers_within: 5s", "recover_within: 5s"),
        ("kserve-v2-http", "kserve-http"),
        ("rate: 200/s", "rate: 200"),
        ("method:", "methods:"),
        ("rollbacks:", "rollback:"),
        ("name: bulletproof", "name: bulletprof"),
        ("type: python", "type: pyton"),
    ],
)
def test_what_the_loader_refuses_the_schema_refuses(old, new):
    """As far as a schema can: while typing."""
    text = experiment_files()["gpu-pod-kill"].read_text()
    assert old in text

    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yaml.safe_load(text.replace(old, new, 1)), json.loads(schema.schema_text()))


def test_every_field_is_described():
    """A field without a sentence is a riddle in an editor."""
    definitions = json.loads(schema.schema_text())["$defs"]
    blocks = [
        name for name in definitions if name in ("Workload", "Load", "Phases", "Expect", "BlastRadius", "AbortWhen")
    ]

    assert len(blocks) == 6
    for block in blocks:
        for name, field in definitions[block]["properties"].items():
            assert field.get("description"), f"{block}.{name}"
