"""One loaded model: what it takes, what it gives, and the errors of a real Triton for what it does not take."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

DTYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype("?"),
    "UINT8": np.dtype("u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}


class InferenceError(Exception):
    """Why there is no answer: HTTP status, gRPC code by name, and Triton's message."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


def invalid(message: str) -> InferenceError:
    """The request is wrong: 400, INVALID_ARGUMENT."""
    return InferenceError(400, "INVALID_ARGUMENT", message)


@dataclass(frozen=True, slots=True)
class Spec:
    """One input or output: -1 in the shape stands for any length."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    def takes(self, shape: tuple[int, ...]) -> bool:
        """Whether a tensor of this shape fits."""
        return len(shape) == len(self.shape) and all(
            want in (-1, have) for want, have in zip(self.shape, shape, strict=True)
        )


class Model:
    """`name` in one version. `ready` once its weights are loaded."""

    def __init__(
        self, folder: Path, version: str, *, load_s: float | None = None, compute_s: float | None = None
    ) -> None:
        config = json.loads((folder / "config.json").read_text())
        own = json.loads((folder / version / "config.json").read_text())
        self.name: str = config["name"]
        self.version = version
        self.platform: str = config["platform"]
        self.inputs = [Spec(item["name"], item["datatype"], tuple(item["shape"])) for item in config["inputs"]]
        self.outputs = [Spec(item["name"], item["datatype"], tuple(item["shape"])) for item in config["outputs"]]
        self.versions = sorted(path.parent.name for path in folder.glob("*/model.onnx"))
        self.ready = False
        self.answers = 0
        self.pending = 0
        self._file = folder / version / "model.onnx"
        self._load_s: float = own["load_seconds"] if load_s is None else load_s
        self._compute_s: float = own["compute_seconds"] if compute_s is None else compute_s
        self._session: Any = None

    async def load(self) -> None:
        """The model is ready. Raises what onnxruntime raises when the file is broken."""
        # It reads this when it is imported: without it, it writes a device ID into the home folder.
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
        import onnxruntime as ort

        options = ort.SessionOptions()
        # One thread: the pods of a sandbox share two cores, and a run of this model takes 6.5 µs.
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = ort.InferenceSession(str(self._file), options, providers=["CPUExecutionProvider"])
        await asyncio.sleep(self._load_s)
        self.ready = True

    def check(self, name: str, version: str) -> None:
        """The request is for this model, and it can answer. Empty version: the one there is."""
        if name != self.name:
            raise InferenceError(404, "NOT_FOUND", f"Request for unknown model: '{name}' is not found")
        if version and version != self.version:
            raise InferenceError(
                404, "NOT_FOUND", f"Request for unknown model: '{name}' version {version} is not found"
            )
        if not self.ready:
            raise InferenceError(400, "UNAVAILABLE", f"Request for unknown model: '{name}' has no available versions")

    def input(self, name: str) -> Spec:
        """The input of this name."""
        for spec in self.inputs:
            if spec.name == name:
                return spec
        raise invalid(f"unexpected inference input '{name}' for model '{self.name}'")

    def requested(self, names: list[str]) -> list[str]:
        """The outputs to give: those asked for, or all."""
        known = [spec.name for spec in self.outputs]
        for name in names:
            if name not in known:
                raise invalid(f"unexpected inference output '{name}' for model '{self.name}'")
        return names or known

    def tensor(self, spec: Spec, datatype: str, shape: list[int], data: bytes | list[Any]) -> Array:
        """Raw bytes or (nested) numbers become an array of the right type and shape."""
        if datatype != spec.datatype:
            raise invalid(
                f"inference input '{spec.name}' data-type is '{datatype}', "
                f"but model '{self.name}' expects '{spec.datatype}'"
            )
        if not spec.takes(tuple(shape)):
            want, have = ",".join(map(str, spec.shape)), ",".join(map(str, shape))
            raise invalid(
                f"unexpected shape for input '{spec.name}' for model '{self.name}'. Expected [{want}], got [{have}]"
            )
        dtype = DTYPES[spec.datatype]
        try:
            flat = np.frombuffer(data, dtype) if isinstance(data, bytes) else np.asarray(data, dtype).ravel()
        except (ValueError, TypeError, OverflowError) as error:
            raise invalid(f"failed to parse the data of input '{spec.name}': {error}") from error
        want_count = int(np.prod(shape))
        have_bytes, want_bytes = flat.size * dtype.itemsize, want_count * dtype.itemsize
        if flat.size != want_count:
            raise invalid(f"unexpected total byte size {have_bytes} for input '{spec.name}', expecting {want_bytes}")
        return flat.reshape(shape)

    async def infer(self, inputs: dict[str, Array], outputs: list[str]) -> list[Array]:
        """The answers, in the order of `outputs`."""
        missing = [spec.name for spec in self.inputs if spec.name not in inputs]
        if missing:
            raise invalid(
                f"expected {len(self.inputs)} inputs but got {len(inputs)} inputs for model '{self.name}'. "
                f"Got input(s) {sorted(inputs)}, but missing required input(s) {missing}. "
                "Please provide all required input(s)."
            )
        if self._compute_s:
            self.pending += 1
            try:
                await asyncio.sleep(self._compute_s)  # the accelerator works; this process does not
            finally:
                self.pending -= 1
        answer: list[Array] = self._session.run(outputs, inputs)
        self.answers += 1
        return answer

    def metadata(self) -> dict[str, Any]:
        """As GET v2/models/NAME answers."""
        return {
            "name": self.name,
            "versions": [self.version],
            "platform": self.platform,
            "inputs": [_described(spec) for spec in self.inputs],
            "outputs": [_described(spec) for spec in self.outputs],
        }

    def config(self) -> dict[str, Any]:
        """As GET v2/models/NAME/config answers, as far as clients read it."""
        return {
            "name": self.name,
            "platform": self.platform,
            "backend": "onnxruntime",
            "max_batch_size": 0,
            "input": [_configured(spec) for spec in self.inputs],
            "output": [_configured(spec) for spec in self.outputs],
            "instance_group": [{"name": f"{self.name}_0", "kind": "KIND_CPU", "count": 1}],
        }

    def statistics(self) -> dict[str, Any]:
        """As GET v2/models/NAME/stats answers, as far as it is counted; `pending_count` is ours."""
        counts = {"inference_count": self.answers, "execution_count": self.answers, "pending_count": self.pending}
        return {"model_stats": [{"name": self.name, "version": self.version, **counts}]}


def _described(spec: Spec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)}


def _configured(spec: Spec) -> dict[str, Any]:
    return {"name": spec.name, "data_type": f"TYPE_{spec.datatype}", "dims": [str(size) for size in spec.shape]}
