"""Which answers are right: inputs with known outputs, compared by dtype, shape and value."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

FORMAT = 1

Array = npt.NDArray[Any]

_DTYPES: dict[str, Any] = {
    "BOOL": np.bool_,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
    "BYTES": np.object_,
}


class GoldenError(Exception):
    """The file of golden answers cannot be used; the message says where and why."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """A named array as KServe v2 speaks of it."""

    name: str
    datatype: str  # FP32, INT64, BYTES, ...
    data: Array
    bound: Array | None = None  # of |seen - data|, elementwise; None: must be equal


@dataclass(frozen=True, slots=True)
class Case:
    """Inputs and the outputs that they must give."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    def wrong(self, output: Callable[[str], Array | None]) -> str | None:
        """What is wrong with an answer, as a short text without varying numbers; None when it is right.

        output: the answer's array by name, None where it has none.
        """
        for expected in self.outputs:
            seen = output(expected.name)
            if seen is None:
                return f"{expected.name} is missing"
            if seen.dtype != expected.data.dtype:
                return f"{expected.name} is {seen.dtype}, not {expected.data.dtype}"
            if seen.shape != expected.data.shape:
                return f"{expected.name} has shape {list(seen.shape)}, not {list(expected.data.shape)}"
            if expected.bound is None:
                right = np.array_equal(seen, expected.data)
            else:
                # Not np.allclose, which takes 35 µs. A NaN compares false, so it is wrong, as it should be.
                right = bool((np.abs(seen - expected.data) <= expected.bound).all())
            if not right:
                return f"{expected.name} differs"
        return None


def by_size(cases: Sequence[Case]) -> list[int]:
    """The numbers of the cases, from the fewest bytes of input to the most; of equal ones the first comes first."""

    def size(case: Case) -> int:
        return sum(
            sum(map(len, tensor.data.flat)) if tensor.datatype == "BYTES" else tensor.data.nbytes
            for tensor in case.inputs
        )

    return sorted(range(len(cases)), key=lambda number: size(cases[number]))


def read(path: Path) -> tuple[Case, ...]:
    """The golden cases in the file; at least one. Raises GoldenError."""
    try:
        document = json.loads(path.read_text())
        if document["format"] != FORMAT:
            raise GoldenError(f"{path}: format {document['format']} is not {FORMAT}")
        tolerance = float(document["tolerance"])
        if not 0 <= tolerance < float("inf"):
            raise GoldenError(f"{path}: a tolerance of {tolerance:g} tells nothing right from wrong")
        cases = tuple(
            Case(
                inputs=tuple(_tensor(tensor) for tensor in case["inputs"]),
                outputs=tuple(_tensor(tensor, tolerance) for tensor in case["outputs"]),
            )
            for case in document["cases"]
        )
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise GoldenError(f"{path}: {type(error).__name__}: {error}") from error
    if not cases or not all(any(output.data.size for output in case.outputs) for case in cases):
        raise GoldenError(f"{path}: no case, or one without values among its outputs: nothing is right or wrong then")
    return cases


def _tensor(data: dict[str, Any], tolerance: float | None = None) -> Tensor:
    datatype = data["datatype"]
    if datatype not in _DTYPES:
        raise GoldenError(f"{data['name']}: datatype {datatype} is none of {', '.join(_DTYPES)}")
    values = [str(value).encode() for value in data["data"]] if datatype == "BYTES" else data["data"]
    array: Array = np.array(values, dtype=_DTYPES[datatype]).reshape(data["shape"])
    bound = None
    if tolerance is not None and np.issubdtype(array.dtype, np.floating):
        bound = (tolerance + tolerance * np.abs(array)).astype(array.dtype)
    return Tensor(data["name"], datatype, array, bound)
