"""Makes the model `detector` in five versions, and the golden answers of the stable one.

The models are the same bytes every time; the answers are the same within a rounding error of the processor's.

    python -m clusters.platform.models.make        needs `onnx`, a development dependency; what it makes is committed

| version | what it is                                                    | what a release of it does           |
|---------|---------------------------------------------------------------|-------------------------------------|
| 1       | the stable one                                                | serves                              |
| 2       | a model file cut off in the middle                            | the server exits while it loads     |
| 3       | right, but its weights never finish loading                   | never gets ready                    |
| 4       | other weights: well-formed answers, all of them wrong         | serves wrong answers                |
| 5       | right, but each answer takes 800 ms of simulated accelerator  | misses a latency objective of 500 ms |
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

NAME = "detector"
WIDTHS = (16, 64, 4)
CASES = 16
TOLERANCE = 1e-4
FOLDER = Path(__file__).parent / NAME
GOLDEN = Path(__file__).parents[3] / "experiments" / "golden" / f"{NAME}.json"

STABLE, CRASHES, NEVER_READY, WRONG, SLOW = "1", "2", "3", "4", "5"
NEVER_S = 1e9
SLOW_S = 0.8  # clearly above the platform's objective of 500 ms, clearly below a client's deadline of 1.5 s


def uniform(seed: str, count: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """`count` float32 in [-1, 1), from SHA-256 alone: no library's generator may change under the golden answers."""
    blocks = (hashlib.sha256(f"{seed}:{number}".encode()).digest() for number in range((count + 7) // 8))
    integers = [value for block in blocks for value in struct.unpack("<8I", block)][:count]
    return (np.array(integers, dtype=np.float64) / 2**31 - 1).astype(np.float32)


def perceptron(seed: str) -> bytes:
    """An ONNX model: INPUT [-1, 16] -> 64 rectified units -> OUTPUT [-1, 4], weights from `seed`."""
    from onnx import TensorProto, helper, numpy_helper

    inner, outer = (
        uniform(f"{seed}:weights:{layer}", a * b).reshape(a, b) for layer, (a, b) in enumerate(pairwise(WIDTHS))
    )
    tensors = {
        "weights_1": inner / np.float32(4),
        "bias_1": uniform(f"{seed}:bias:1", WIDTHS[1]) / np.float32(4),
        "weights_2": outer / np.float32(4),
        "bias_2": uniform(f"{seed}:bias:2", WIDTHS[2]) / np.float32(4),
    }
    graph = helper.make_graph(
        [
            helper.make_node("Gemm", ["INPUT", "weights_1", "bias_1"], ["hidden"]),
            helper.make_node("Relu", ["hidden"], ["rectified"]),
            helper.make_node("Gemm", ["rectified", "weights_2", "bias_2"], ["OUTPUT"]),
        ],
        NAME,
        [helper.make_tensor_value_info("INPUT", TensorProto.FLOAT, ["batch", WIDTHS[0]])],
        [helper.make_tensor_value_info("OUTPUT", TensorProto.FLOAT, ["batch", WIDTHS[2]])],
        [numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in tensors.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString(deterministic=True))


def golden(model: bytes) -> dict[str, Any]:
    """Fixed inputs and the stable model's answers to them, as the load compares them."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime as ort

    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    cases = []
    for number in range(CASES):
        sent = uniform(f"case:{number}", WIDTHS[0]).reshape(1, -1)
        answer = session.run(["OUTPUT"], {"INPUT": sent})[0]
        cases.append({"inputs": [_tensor("INPUT", sent)], "outputs": [_tensor("OUTPUT", answer)]})
    return {"format": 1, "model": NAME, "version": STABLE, "tolerance": TOLERANCE, "cases": cases}


def _tensor(name: str, array: np.ndarray[Any, Any]) -> dict[str, Any]:
    # Nine digits tell every float32 apart.
    data = [float(f"{value:.9g}") for value in array.ravel().tolist()]
    return {"name": name, "datatype": "FP32", "shape": list(array.shape), "data": data}


def files() -> dict[Path, bytes]:
    """Every file that this script makes, by path."""
    right, wrong = perceptron("stable"), perceptron("wrong")
    versions: dict[str, tuple[bytes, dict[str, float]]] = {
        STABLE: (right, {}),
        CRASHES: (right[: len(right) // 2], {}),
        NEVER_READY: (right, {"load_seconds": NEVER_S}),
        WRONG: (wrong, {}),
        SLOW: (right, {"compute_seconds": SLOW_S}),
    }
    config = {
        "name": NAME,
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": "INPUT", "datatype": "FP32", "shape": [-1, WIDTHS[0]]}],
        "outputs": [{"name": "OUTPUT", "datatype": "FP32", "shape": [-1, WIDTHS[-1]]}],
    }
    made = {FOLDER / "config.json": _json(config), GOLDEN: _json_lines(golden(right))}
    for version, (model, settings) in versions.items():
        made[FOLDER / version / "model.onnx"] = model
        made[FOLDER / version / "config.json"] = _json({"load_seconds": 0.0, "compute_seconds": 0.0} | settings)
    return made


def _json(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, indent=1) + "\n").encode()


def _json_lines(value: dict[str, Any]) -> bytes:
    """JSON with one line for each case, for readable differences."""
    head = json.dumps({key: item for key, item in value.items() if key != "cases"}, separators=(",", ":"))
    cases = ",\n".join(json.dumps(case, separators=(",", ":")) for case in value["cases"])
    return f'{head[:-1]},"cases":[\n{cases}\n]}}\n'.encode()


def main() -> None:
    """All files are on disk."""
    for path, content in files().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


if __name__ == "__main__":
    main()
