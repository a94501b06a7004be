"""KServe v2 over HTTP with as little work as an honest client can do: for high rates.

The same requests, connections, checks and outcomes as kserve_http; requests are put together once, answers are parsed
here. What it leaves out is generality: no proxies, TLS, compression or redirects.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gevent.socket
import numpy as np
from tritonclient.utils import deserialize_bytes_tensor, serialize_byte_tensor, triton_to_np_dtype

from loadtests.config import LoadConfig
from loadtests.connection import Connection
from loadtests.golden import Array, Case
from loadtests.outcome import Attempt, StatusError, TruncatedError, WrongAnswerError

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)
_JSON_LENGTH = re.compile(rb"\r\ninference-header-content-length:[ \t]*(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[^\r]*chunked", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection:[^\r]*close", re.IGNORECASE)

# Heads, and right answers, are the same for all answers of one pod and version (a head until its date changes): looked
# into once, found again by all of their bytes.
_KNOWN_LIMIT = 1000
_KNOWN_BYTES = 16384


@dataclass(frozen=True, slots=True)
class _Head:
    """What the head of an answer says."""

    status: str
    length: int | None  # of the body
    chunked: bool
    closes: bool  # the server closes the connection after the answer
    json_length: int | None  # of the body's first part; None: the body is all JSON

    @classmethod
    def parse(cls, head: bytes) -> _Head:
        length, json_length = _LENGTH.search(head), _JSON_LENGTH.search(head)
        return cls(
            head[9:12].decode("latin-1"),
            int(length[1]) if length else None,
            _CHUNKED.search(head) is not None,
            _CLOSE.search(head) is not None,
            int(json_length[1]) if json_length else None,
        )


class Answers:
    """What is known of answers by their bytes, for all users of a process."""

    def __init__(self, cases: tuple[Case, ...]) -> None:
        self._cases = cases
        self._heads: dict[bytes, _Head] = {}
        # Case, length of the JSON, body -> pod and version of a right answer.
        self._right: dict[tuple[int, int | None, bytes], tuple[str | None, str | None]] = {}

    def head(self, data: bytes) -> _Head:
        """The head in the bytes."""
        head = self._heads.get(data)
        if head is None:
            head = _Head.parse(data)
            _keep(self._heads, data, head, len(data))
        return head

    def check(self, case: int, json_length: int | None, body: bytes, attempt: Attempt) -> None:
        """Raises WrongAnswerError, and ValueError for what is no answer; pod and version are known before that."""
        key = (case, json_length, body)
        found = self._right.get(key)
        if found is not None:
            attempt.pod, attempt.version = found
            return
        split = len(body) if json_length is None else json_length
        answer = _parse(body[:split])
        attempt.version = answer.get("model_version")
        attempt.pod = (answer.get("parameters") or {}).get("pod")
        if wrong := self._cases[case].wrong(_Outputs(answer, body[split:]).get):
            raise WrongAnswerError(wrong)
        _keep(self._right, key, (attempt.pod, attempt.version), len(body))


def _keep(known: dict[Any, Any], key: Any, value: Any, size: int) -> None:
    """Servers decide what they send: it must not fill the memory."""
    if size > _KNOWN_BYTES:
        return
    if len(known) >= _KNOWN_LIMIT:
        known.clear()
    known[key] = value


class RawHttp:
    """One user's client: a kept connection, and a connection of its own for every new one."""

    def __init__(self, config: LoadConfig, answers: Answers, requests: list[bytes], address: tuple[Any, ...]) -> None:
        self._source_address = config.source_address
        self._answers = answers
        self._requests = requests
        self._address = address
        self._kept: Connection | None = None
        self._closes = False  # the server said that it closes the connection after the answer

    def infer(self, case: int, kept: bool, attempt: Attempt) -> None:
        if kept:
            self._infer_kept(case, attempt)
            return
        connection = self._open()
        try:
            self._connect(connection, attempt)
            self._exchange(connection, case, attempt)
        finally:
            connection.close()

    def _infer_kept(self, case: int, attempt: Attempt) -> None:
        if self._kept is not None and not self._kept.idle():
            self.drop()
        if self._kept is None:
            self._kept = self._open()
            self._connect(self._kept, attempt)
        else:
            attempt.local_port = self._kept.local_port
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

    def _open(self) -> Connection:
        return Connection(self._address[0], self._source_address)

    def _connect(self, connection: Connection, attempt: Attempt) -> None:
        try:
            connection.connect(self._address[1])
        finally:  # a connection that was refused or never answered has its port too
            attempt.local_port = connection.local_port

    def _exchange(self, connection: Connection, case: int, attempt: Attempt) -> None:
        """One request and its answer. Raises what classify() knows."""
        self._closes = False
        connection.send(self._requests[case])
        data = connection.receive()
        if not data:
            raise ConnectionResetError("closed before an answer")
        attempt.first_byte_ns = time.monotonic_ns()
        while (end := data.find(b"\r\n\r\n")) < 0:
            data += _more(connection)
        head = self._answers.head(data[:end])
        body = data[end + 4 :]
        self._closes = head.closes
        if head.length is not None:
            while len(body) < head.length:
                body += _more(connection)
        elif head.chunked:
            body = _unchunk(connection, body)
        else:  # the end of the connection is the end of the answer
            self._closes = True
            while more := connection.receive():
                body += more
        if head.status != "200":
            raise StatusError(head.status, _message(body))
        self._answers.check(case, head.json_length, body, attempt)


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


def _more(connection: Connection) -> bytes:
    data = connection.receive()
    if not data:
        raise TruncatedError("closed in the answer")
    return data


def _unchunk(connection: Connection, data: bytes) -> bytes:
    body = b""
    while True:
        while (end := data.find(b"\r\n")) < 0:
            data += _more(connection)
        size = int(data[:end].split(b";")[0], 16)
        data = data[end + 2 :]
        while len(data) < size + 2:
            data += _more(connection)
        body += data[:size]
        data = data[size + 2 :]
        if size == 0:
            return body


def _parse(json_bytes: bytes) -> dict[str, Any]:
    answer = json.loads(json_bytes)
    if not isinstance(answer, dict):
        raise ValueError("the answer is not a JSON object")
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
    answers = Answers(cases)
    return lambda: RawHttp(config, answers, requests, (family, address))


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
