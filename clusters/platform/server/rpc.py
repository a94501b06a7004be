"""KServe v2 over gRPC, as `tritonclient.grpc` speaks it."""

from __future__ import annotations

from typing import Any

import grpc
import grpc.aio

from clusters.platform.server.gate import Gate
from clusters.platform.server.http import EXTENSIONS
from clusters.platform.server.model import DTYPES, Array, InferenceError, Model, invalid
from clusters.platform.server.stubs import messages, services

# The typed tensor contents that stand in for raw bytes, by datatype.
_CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
}

_OPTIONS = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.so_reuseport", 0),  # a second server on the same port is an error, not a silent half of the traffic
    # Clients find a dead server by pings of a second or less; Triton's default (one in 5 min) answers them with GOAWAY.
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 100),
    ("grpc.http2.max_ping_strikes", 0),
]


class RpcApi(services.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """The calls of one server. What is not here answers UNIMPLEMENTED."""

    def __init__(self, model: Model, gate: Gate, *, pod: str) -> None:
        self._model = model
        self._gate = gate
        self._pod = pod

    def server(self) -> Any:
        """A grpc.aio server with these calls, not yet started."""
        server = grpc.aio.server(options=_OPTIONS)
        services.add_GRPCInferenceServiceServicer_to_server(self, server)
        return server

    async def ServerLive(self, request: Any, context: Any) -> Any:  # noqa: N802 - the names of the protocol
        return messages.ServerLiveResponse(live=True)

    async def ServerReady(self, request: Any, context: Any) -> Any:  # noqa: N802
        return messages.ServerReadyResponse(ready=self._gate.ready)

    async def ModelReady(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self._known(request, context)
        return messages.ModelReadyResponse(ready=self._gate.ready)

    async def ServerMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        return messages.ServerMetadataResponse(name="bulletproof-reference-server", version="1", extensions=EXTENSIONS)

    async def ModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self._known(request, context)
        return messages.ModelMetadataResponse(**self._model.metadata())

    async def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802
        with self._gate.answering():
            try:
                return await self._infer(request)
            except InferenceError as error:
                await context.abort(grpc.StatusCode[error.code], error.message)

    async def _known(self, request: Any, context: Any) -> None:
        try:
            self._model.check(request.name, request.version)
        except InferenceError as error:
            if error.status == 404:
                await context.abort(grpc.StatusCode[error.code], error.message)

    async def _infer(self, request: Any) -> Any:
        model = self._model
        model.check(request.model_name, request.model_version)
        names = model.requested([output.name for output in request.outputs])
        arrays = await model.infer(self._inputs(request), names)
        response = messages.ModelInferResponse(model_name=model.name, model_version=model.version, id=request.id)
        response.parameters["pod"].string_param = self._pod
        for name, array in zip(names, arrays, strict=True):
            spec = next(spec for spec in model.outputs if spec.name == name)
            response.outputs.add(name=name, datatype=spec.datatype, shape=array.shape)
            response.raw_output_contents.append(array.astype(DTYPES[spec.datatype], copy=False).tobytes())
        return response

    def _inputs(self, request: Any) -> dict[str, Array]:
        raw = list(request.raw_input_contents)
        if raw and len(raw) != len(request.inputs):
            raise invalid(f"expected {len(request.inputs)} raw inputs, got {len(raw)}")
        inputs: dict[str, Array] = {}
        for number, tensor in enumerate(request.inputs):
            spec = self._model.input(tensor.name)
            field = _CONTENTS.get(tensor.datatype)
            data = raw[number] if raw else list(getattr(tensor.contents, field)) if field else []
            inputs[tensor.name] = self._model.tensor(spec, tensor.datatype, list(tensor.shape), data)
        return inputs
