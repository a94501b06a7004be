"""KServe v2 over HTTP with as little work as an honest client can do: for high rates.

The same requests, connections, checks and outcomes as kserve_http; requests are put together once, answers are parsed
here. What it leaves out is generality: no proxies, TLS, compression or redirects.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from typing import Any

import gevent.socket
import numpy as np
from tritonclient.utils import deserialize_bytes_tensor, serialize_byte_tensor, triton_to_np_dtype

from loadtests.config import LoadConfig
from loadtests.golden import Array, Case
from loadtests.idle import idle
from loadtests.outcome import Attempt, StatusError, TruncatedError, WrongAnswerError

_BLOCK = 65536
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)
_JSON_LENGTH = re.compile(rb"\r\ninference-header-content-length:[ \t]*(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[^\r]*chunked", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection:[^\r]*close", re.IGNORECASE)

# The JSON of an answer is the same for all answers of one pod and version: parsed once, found again by its bytes.
_PARSED_LIMIT = 1000
_parsed: dict[bytes, dict[str, Any]] = {}


class RawHttp:
    """One user's client: a kept socket, and a socket of its own for every new connection."""

    def __init__(
        self, config: LoadConfig, cases: tuple[Case, ...], requests: list[bytes], address: tuple[Any, ...]
    ) -> None:
        self._source_address = config.source_address
        self._cases = cases
        self._requests = requests
        self._address = address
        self._kept: Any = None
        self._closes = False  # the server said that it closes the connection after the answer

    def infer(self, case: int, kept: bool, attempt: Attempt) -> None:
        if not kept:
            sock = self._open()
            try:
                self._connect(sock, attempt)
                self._exchange(sock, case, attempt)
            finally:
                sock.close()
            return
        if self._kept is not None and not idle(self._kept):
            self.drop()
        if self._kept is None:
            self._kept = self._open()
            self._connect(self._kept, attempt)
        else:
            attempt.local_port = self._kept.getsockname()[1]
        try:
            self._exchange(self._kept, case, attempt)
        finally:
            if self._closes:
                self.drop()

    def drop(self) -> None:
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    def close(self) -> None:
        self.drop()

    def _open(self) -> Any:
        sock = gevent.socket.socket(self._address[0], gevent.socket.SOCK_STREAM)
        sock.setsockopt(gevent.socket.IPPROTO_TCP, gevent.socket.TCP_NODELAY, 1)
        if self._source_address is not None:
            sock.bind((self._source_address, 0))
        return sock

    def _connect(self, sock: Any, attempt: Attempt) -> None:
        try:
            sock.connect(self._address[1])
        finally:  # a connection that was refused or never answered has its port too
            attempt.local_port = sock.getsockname()[1] or None

    def _exchange(self, sock: Any, case: int, attempt: Attempt) -> None:
        """One request and its answer. Raises what classify() knows."""
        self._closes = False
        sock.sendall(self._requests[case])
        data = sock.recv(_BLOCK)
        if not data:
            raise ConnectionResetError("closed before an answer")
        attempt.first_byte_ns = time.monotonic_ns()
        while (end := data.find(b"\r\n\r\n")) < 0:
            data += _more(sock)
        head, body = data[:end], data[end + 4 :]
        self._closes = _CLOSE.search(head) is not None
        if length := _LENGTH.search(head):
            while len(body) < int(length[1]):
                body += _more(sock)
        elif _CHUNKED.search(head):
            body = _unchunk(sock, body)
        else:  # the end of the connection is the end of the answer
            self._closes = True
            while more := sock.recv(_BLOCK):
                body += more
        status = head[9:12].decode("latin-1")
        if status != "200":
            raise StatusError(status, _message(body))
        split = _JSON_LENGTH.search(head)
        json_bytes = body[: int(split[1])] if split else body
        answer = _parse(json_bytes)
        attempt.version = answer.get("model_version")
        attempt.pod = (answer.get("parameters") or {}).get("pod")
        if wrong := self._cases[case].wrong(_Outputs(answer, body[len(json_bytes) :]).get):
            raise WrongAnswerError(wrong)


class _Outputs:
    """The tensors of an answer by name."""

    def __init__(self, answer: dict[str, Any], raw: bytes) -> None:
        self._answer = answer
        self._raw = raw

    def get(self, name: str) -> Array | None:
        """The array; None when the answer has none of that name. Raises WrongAnswerError when it is malformed."""
        start = 0
        try:
            for output in self._answer.get("outputs") or ():
                size = (output.get("parameters") or {}).get("binary_data_size")
                if output["name"] == name:
                    return self._array(output, None if size is None else self._raw[start : start + size])
                start += size or 0
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise WrongAnswerError(f"{name} is malformed: {error}") from error
        return None

    @staticmethod
    def _array(output: dict[str, Any], raw: bytes | None) -> Array:
        dtype = triton_to_np_dtype(output["datatype"])
        array: Array
        if raw is None:
            values = output["data"]
            if output["datatype"] == "BYTES":
                values = [str(value).encode() for value in values]
            array = np.array(values, dtype=dtype)
        elif output["datatype"] == "BYTES":
            array = deserialize_bytes_tensor(raw)
        else:
            array = np.frombuffer(raw, dtype=dtype)
        return array.reshape(output["shape"])


def _more(sock: Any) -> bytes:
    data: bytes = sock.recv(_BLOCK)
    if not data:
        raise TruncatedError("closed in the answer")
    return data


def _unchunk(sock: Any, data: bytes) -> bytes:
    body = b""
    while True:
        while (end := data.find(b"\r\n")) < 0:
            data += _more(sock)
        size = int(data[:end].split(b";")[0], 16)
        data = data[end + 2 :]
        while len(data) < size + 2:
            data += _more(sock)
        body += data[:size]
        data = data[size + 2 :]
        if size == 0:
            return body


def _parse(json_bytes: bytes) -> dict[str, Any]:
    answer = _parsed.get(json_bytes)
    if answer is None:
        answer = json.loads(json_bytes)
        if not isinstance(answer, dict):
            raise ValueError("the answer is not a JSON object")
        if len(_parsed) >= _PARSED_LIMIT:
            _parsed.clear()
        _parsed[json_bytes] = answer
    return answer


def _message(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"])
    except (ValueError, TypeError, KeyError):
        return body[:200].decode("latin-1")


def client_factory(config: LoadConfig, cases: tuple[Case, ...]) -> Callable[[], RawHttp]:
    """Makes the users' clients; the requests are put together once, byte by byte."""
    family, _, _, _, address = gevent.socket.getaddrinfo(config.host, config.port, type=gevent.socket.SOCK_STREAM)[0]
    requests = [_request(config, case) for case in cases]
    return lambda: RawHttp(config, cases, requests, (family, address))


def _request(config: LoadConfig, case: Case) -> bytes:
    tensors, raw = [], b""
    for tensor in case.inputs:
        data = serialize_byte_tensor(tensor.data).item() if tensor.datatype == "BYTES" else tensor.data.tobytes()
        tensors.append(
            {
                "name": tensor.name,
                "datatype": tensor.datatype,
                "shape": list(tensor.data.shape),
                "parameters": {"binary_data_size": len(data)},
            }
        )
        raw += data
    outputs = [{"name": tensor.name, "parameters": {"binary_data": True}} for tensor in case.outputs]
    header = json.dumps({"inputs": tensors, "outputs": outputs}).encode()
    head = (
        f"POST /v2/models/{config.model}/infer HTTP/1.1\r\n"
        f"Host: {config.target}\r\n"
        "Content-Type: application/octet-stream\r\n"
        f"Inference-Header-Content-Length: {len(header)}\r\n"
        f"Content-Length: {len(header) + len(raw)}\r\n\r\n"
    )
    return head.encode() + header + raw
