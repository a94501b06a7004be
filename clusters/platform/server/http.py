"""KServe v2 over HTTP, with Triton's binary tensors, as `tritonclient.http` speaks it."""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web

from clusters.platform.server.gate import Gate
from clusters.platform.server.model import DTYPES, Array, InferenceError, Model, invalid

HEADER_LENGTH = "Inference-Header-Content-Length"
MAX_BODY_BYTES = 64 * 1024 * 1024
EXTENSIONS = ["binary_tensor_data", "model_repository", "model_configuration", "statistics"]


class HttpApi:
    """The routes of one server. Paths that Triton does not have: GET /v2/group (group.py)."""

    def __init__(self, model: Model, gate: Gate, *, pod: str) -> None:
        self._model = model
        self._gate = gate
        self._parameters = {"pod": pod}

    def app(self) -> web.Application:
        """The application, to be run by aiohttp."""
        app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[self._envelope])
        route = app.router
        route.add_get("/v2", self._server)
        route.add_get("/v2/health/live", self._live)
        route.add_get("/v2/health/ready", self._ready)
        route.add_get("/v2/group", self._group)
        route.add_get("/v2/models/stats", self._statistics)
        route.add_post("/v2/repository/index", self._index)
        route.add_post("/v2/repository/models/{name}/load", self._load)
        route.add_post("/v2/repository/models/{name}/unload", self._load)
        for prefix in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}"):
            route.add_post(f"{prefix}/infer", self._infer)
            route.add_get(prefix, self._metadata)
            route.add_get(f"{prefix}/ready", self._model_ready)
            route.add_get(f"{prefix}/config", self._config)
            route.add_get(f"{prefix}/stats", self._statistics)
        return app

    @web.middleware
    async def _envelope(self, request: web.Request, handler: Any) -> web.StreamResponse:
        """Counts the request, words errors as Triton does, and tells kept connections to close while draining."""
        with self._gate.answering():
            try:
                response: web.StreamResponse = await handler(request)
            except InferenceError as error:
                response = web.json_response({"error": error.message}, status=error.status)
            except web.HTTPNotFound:
                response = web.json_response({"error": "Not Found"}, status=404)
            except web.HTTPException as error:
                response = web.json_response({"error": error.reason}, status=error.status)
            if self._gate.draining:
                response.force_close()
            return response

    async def _server(self, _: web.Request) -> web.Response:
        return web.json_response({"name": "bulletproof-reference-server", "version": "1", "extensions": EXTENSIONS})

    async def _live(self, _: web.Request) -> web.Response:
        return web.Response()

    async def _ready(self, _: web.Request) -> web.Response:
        return web.Response(status=200 if self._gate.ready else 400)

    async def _group(self, _: web.Request) -> web.Response:
        if self._gate.group_formed_s is None:
            raise web.HTTPNotFound
        return web.json_response({"formed_seconds": self._gate.group_formed_s})

    async def _model_ready(self, request: web.Request) -> web.Response:
        self._known(request)
        return web.Response(status=200 if self._gate.ready else 400)

    async def _metadata(self, request: web.Request) -> web.Response:
        self._known(request)
        return web.json_response(self._model.metadata())

    async def _config(self, request: web.Request) -> web.Response:
        self._known(request)
        return web.json_response(self._model.config())

    async def _statistics(self, request: web.Request) -> web.Response:
        if "name" in request.match_info:
            self._known(request)
        return web.json_response(self._model.statistics())

    async def _index(self, _: web.Request) -> web.Response:
        state = "READY" if self._model.ready else "LOADING"
        return web.json_response([{"name": self._model.name, "version": self._model.version, "state": state}])

    async def _load(self, _: web.Request) -> web.Response:
        raise invalid("explicit model load / unload is not allowed if polling is enabled")

    def _known(self, request: web.Request) -> None:
        """Raises 404 for another model or version; one that is still loading is known."""
        try:
            self._model.check(request.match_info["name"], request.match_info.get("version", ""))
        except InferenceError as error:
            if error.status == 404:
                raise

    async def _infer(self, request: web.Request) -> web.Response:
        model = self._model
        model.check(request.match_info["name"], request.match_info.get("version", ""))
        header, raw = _split(await request.read(), request.headers.get(HEADER_LENGTH))
        inputs = self._inputs(header, raw)
        wanted, binary = _wanted(header)
        names = model.requested(wanted)
        arrays = await model.infer(inputs, names)
        answer: dict[str, Any] = {
            "model_name": model.name,
            "model_version": model.version,
            "parameters": self._parameters,
            "outputs": [],
        }
        if "id" in header:
            answer["id"] = header["id"]
        blobs: list[bytes] = []
        for name, array in zip(names, arrays, strict=True):
            spec = next(spec for spec in model.outputs if spec.name == name)
            output: dict[str, Any] = {"name": name, "datatype": spec.datatype, "shape": list(array.shape)}
            if binary.get(name, binary[""]):
                blobs.append(array.astype(DTYPES[spec.datatype], copy=False).tobytes())
                output["parameters"] = {"binary_data_size": len(blobs[-1])}
            else:
                output["data"] = array.ravel().tolist()
            answer["outputs"].append(output)
        text = json.dumps(answer, separators=(",", ":")).encode()
        if not blobs:
            return web.Response(body=text, content_type="application/json")
        return web.Response(
            body=b"".join([text, *blobs]),
            content_type="application/octet-stream",
            headers={HEADER_LENGTH: str(len(text))},
        )

    def _inputs(self, header: dict[str, Any], raw: bytes) -> dict[str, Array]:
        inputs: dict[str, Array] = {}
        offset = 0
        for tensor in _list(header, "inputs"):
            name, datatype, shape = tensor.get("name"), tensor.get("datatype"), tensor.get("shape")
            if not isinstance(name, str) or not isinstance(datatype, str) or not isinstance(shape, list):
                raise invalid("an input needs 'name', 'datatype' and 'shape'")
            if not all(isinstance(size, int) and size >= 0 for size in shape):
                raise invalid(f"unexpected shape for input '{name}': {shape}")
            size = (tensor.get("parameters") or {}).get("binary_data_size")
            data: Any = tensor.get("data")
            if isinstance(size, int):
                data = raw[offset : offset + size]
                offset += size
            elif not isinstance(data, list):
                raise invalid(f"failed to parse the request JSON: input '{name}' has no data")
            inputs[name] = self._model.tensor(self._model.input(name), datatype, shape, data)
        if offset != len(raw):
            raise invalid(f"unexpected additional input data for model '{self._model.name}'")
        return inputs


def _split(body: bytes, header_length: str | None) -> tuple[dict[str, Any], bytes]:
    """The JSON header and the raw tensors behind it."""
    if header_length is None:
        length = len(body)
    elif header_length.isdigit() and int(header_length) <= len(body):
        length = int(header_length)
    else:
        raise invalid(f"Unable to parse {HEADER_LENGTH}, got: {header_length}")
    try:
        header = json.loads(body[:length])
    except ValueError as error:
        raise invalid(f"failed to parse the request JSON buffer: {error}") from error
    if not isinstance(header, dict):
        raise invalid("failed to parse the request JSON buffer: it is no object")
    return header, body[length:]


def _wanted(header: dict[str, Any]) -> tuple[list[str], dict[str, bool]]:
    """The outputs asked for by name, and whether each (by name; "": the others) shall be binary."""
    everything = bool((header.get("parameters") or {}).get("binary_data_output", False))
    names: list[str] = []
    binary = {"": everything}
    for output in _list(header, "outputs") if "outputs" in header else []:
        name = output.get("name")
        if not isinstance(name, str):
            raise invalid("an output needs a 'name'")
        names.append(name)
        binary[name] = bool((output.get("parameters") or {}).get("binary_data", everything))
    return names, binary


def _list(header: dict[str, Any], key: str) -> list[dict[str, Any]]:
    value = header.get(key)
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise invalid(f"Unable to parse '{key}': attempt to access JSON non-array as array")
    return value
