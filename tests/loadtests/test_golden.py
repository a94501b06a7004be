"""An answer is right by name, dtype, shape and value; what cannot tell right from wrong is refused."""

import json

import numpy as np
import pytest

from loadtests import golden
from tests.loadtests.conftest import GOLDEN


def document(**changes):
    case = {
        "inputs": [{"name": "IN", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}],
        "outputs": [{"name": "OUT", "datatype": "FP32", "shape": [2], "data": [10.0, 0.0]}],
    }
    return {"format": 1, "model": "m", "version": "1", "tolerance": 1e-3, "cases": [case | changes]}


def read(tmp_path, content):
    path = tmp_path / "golden.json"
    path.write_text(json.dumps(content))
    return golden.read(path)


@pytest.mark.parametrize(
    ("answer", "wrong"),
    [
        (np.array([10.0, 0.0], np.float32), None),
        (np.array([10.0109, 0.0009], np.float32), None),  # within 1e-3 + 1e-3 x 10, and within 1e-3
        (np.array([10.0112, 0.0], np.float32), "OUT differs"),
        (np.array([10.0, 0.0011], np.float32), "OUT differs"),
        (np.array([10.0, np.nan], np.float32), "OUT differs"),
        (np.array([np.inf, 0.0], np.float32), "OUT differs"),
        (np.array([10.0, 0.0], np.float64), "OUT is float64, not float32"),
        (np.array([[10.0, 0.0]], np.float32), "OUT has shape [1, 2], not [2]"),
        (None, "OUT is missing"),
    ],
)
def test_right_means_name_dtype_shape_and_value(tmp_path, answer, wrong):
    """The tolerance is absolute plus relative; NaN and infinity are never right."""
    (case,) = read(tmp_path, document())

    assert case.wrong({"OUT": answer}.get) == wrong


def test_integers_and_texts_must_be_equal(tmp_path):
    """No tolerance where none makes sense."""
    outputs = [
        {"name": "LABEL", "datatype": "BYTES", "shape": [2], "data": ["cat", "dog"]},
        {"name": "INDEX", "datatype": "INT64", "shape": [1], "data": [7]},
    ]
    (case,) = read(tmp_path, document(outputs=outputs))
    right = {"LABEL": np.array([b"cat", b"dog"], np.object_), "INDEX": np.array([7])}

    assert case.wrong(right.get) is None
    assert case.wrong((right | {"LABEL": np.array([b"cat", b"cow"], np.object_)}).get) == "LABEL differs"
    assert case.wrong((right | {"INDEX": np.array([8])}).get) == "INDEX differs"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (document() | {"format": 2}, "format 2 is not 1"),
        (document() | {"cases": []}, "no case"),
        (document(outputs=[]), "without values"),
        (document(outputs=[{"name": "OUT", "datatype": "FP32", "shape": [0], "data": []}]), "without values"),
        (document() | {"tolerance": float("inf")}, "tolerance of inf"),
        (document() | {"tolerance": float("nan")}, "tolerance of nan"),
        (document(outputs=[{"name": "OUT", "datatype": "FP9", "shape": [1], "data": [1]}]), "datatype FP9 is none of"),
        (document(outputs=[{"name": "OUT", "datatype": "FP32", "shape": [3], "data": [1]}]), "reshape"),
        ({"format": 1}, "KeyError"),
    ],
)
def test_a_file_that_could_not_tell_right_from_wrong_is_refused(tmp_path, content, said):
    """No data must never pass."""
    with pytest.raises(golden.GoldenError, match=said):
        read(tmp_path, content)


def test_the_shipped_golden_answers_are_usable():
    """Sixteen cases whose own outputs are right."""
    cases = golden.read(GOLDEN)

    assert len(cases) == 16
    for case in cases:
        assert case.wrong({tensor.name: tensor.data for tensor in case.outputs}.get) is None
