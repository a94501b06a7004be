"""KServe v2 over HTTP/1.1, with binary tensors."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from tests.truth.courses.answers import Answer, Answers
from tests.truth.courses.speech import Asked, Talk

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)
_UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: 21\r\n\r\n"
_UNAVAILABLE += b'{"error":"by script"}'
_READY = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
_BYSTANDER = b"\r\nX-Bystander: "
_HEAD = 40  # bytes of an answer that come at once, before the rest drips


class HttpAsked(Asked):
    """One request."""

    def __init__(self, talk: HttpTalk, request: bytes, head_end: int) -> None:
        self._talk = talk
        self._request = request
        self.who = "load"
        if _BYSTANDER in request[: head_end + 2]:
            self.who = request[:head_end].split(_BYSTANDER)[1].split(b"\r\n")[0].decode()

    def answer(self, kind: str) -> bytes:
        if self._request.startswith(b"GET "):
            return _READY
        answers = self._talk.answers
        return answers.of(kind, self._talk.backend, self._request[-answers.size :])

    def unavailable(self) -> bytes:
        return _UNAVAILABLE

    def half(self) -> bytes:
        whole = self.answer("")
        return whole[: len(whole) * 2 // 3]

    def drops(self) -> Iterator[bytes]:
        whole = self.answer("")
        yield whole[:_HEAD]
        for at in range(_HEAD, len(whole) - 1):
            yield whole[at : at + 1]


class HttpTalk(Talk):
    """One connection: requests come one after the other."""

    serial: ClassVar[bool] = True

    def __init__(self, answers: Answers, backend: int) -> None:
        self.answers = answers
        self.backend = backend
        self._data = b""

    def greeting(self) -> bytes:
        return b""

    def hear(self, data: bytes) -> tuple[list[Asked], bytes]:
        self._data += data
        asked: list[Asked] = []
        while (end := self._data.find(b"\r\n\r\n")) >= 0:
            length = _LENGTH.search(self._data, 0, end)
            size = end + 4 + (int(length[1]) if length else 0)
            if len(self._data) < size:
                break
            request, self._data = self._data[:size], self._data[size:]
            asked.append(HttpAsked(self, request, end))
        return asked, b""

    def goodbye(self) -> bytes:
        return b""

    def half_heard(self) -> bool:
        return bool(self._data)


def answers(golden: Path) -> Answers:
    """Whole responses."""
    return Answers(golden, _response)


def _response(answer: Answer) -> bytes:
    told = [
        {
            "name": one.name,
            "datatype": one.datatype,
            "shape": one.shape,
            "parameters": {"binary_data_size": len(one.data)},
        }
        for one in answer.outputs
    ]
    head = json.dumps(
        {
            "model_name": answer.model,
            "model_version": answer.version,
            "parameters": {"pod": answer.pod},
            "outputs": told,
        }
    ).encode()
    body = head + b"".join(one.data for one in answer.outputs)
    return (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n"
        + f"Inference-Header-Content-Length: {len(head)}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        + body
    )
