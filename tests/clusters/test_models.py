"""The committed models and golden answers are what the script makes, and each bad version is bad in its own way."""

from __future__ import annotations

import json

import numpy as np
import onnxruntime as ort
import pytest

from clusters.platform.models import make
from tests.clusters.platform_kit import GOLDEN, golden_input, is_golden


def answers(version):
    session = ort.InferenceSession(str(make.FOLDER / version / "model.onnx"))
    return [session.run(["OUTPUT"], {"INPUT": golden_input(case)})[0] for case in GOLDEN["cases"]]


def test_the_committed_files_are_what_the_script_makes():
    """Models and configurations byte for byte; golden answers within a rounding error of the processor."""
    for path, content in make.files().items():
        if path != make.GOLDEN:
            assert path.read_bytes() == content, path
    made = json.loads(make.files()[make.GOLDEN])
    for made_case, case in zip(made["cases"], GOLDEN["cases"], strict=True):
        assert made_case["inputs"] == case["inputs"]
        np.testing.assert_allclose(made_case["outputs"][0]["data"], case["outputs"][0]["data"], atol=1e-6)


def test_the_stable_and_the_slow_version_give_every_golden_answer():
    for version in (make.STABLE, make.SLOW, make.NEVER_READY):
        assert all(is_golden(answer, case) for answer, case in zip(answers(version), GOLDEN["cases"], strict=True))


def test_the_wrong_version_gives_no_golden_answer():
    """And not narrowly: no rounding makes it right."""
    for answer, case in zip(answers(make.WRONG), GOLDEN["cases"], strict=True):
        wanted = np.array(case["outputs"][0]["data"], np.float32)
        assert np.abs(answer - wanted).max() > 100 * GOLDEN["tolerance"]


def test_golden_answers_tell_the_cases_apart():
    """An answer to another case is a wrong answer."""
    outputs = [np.array(case["outputs"][0]["data"]) for case in GOLDEN["cases"]]
    for number, one in enumerate(outputs):
        for other in outputs[number + 1 :]:
            assert np.abs(one - other).max() > 100 * GOLDEN["tolerance"]


def test_the_crashing_version_is_no_model():
    with pytest.raises(Exception, match=r"(?i)protobuf|parsing|invalid"):
        ort.InferenceSession(str(make.FOLDER / make.CRASHES / "model.onnx"))
