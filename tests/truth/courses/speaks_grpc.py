"""KServe v2 over gRPC: HTTP/2 without sockets (h2), so that the server can break off, reset and fall silent anywhere.

A grpc server would do none of this at a moment that is known: its transport lives in threads of its own.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import h2.config
import h2.connection
import h2.events
import h2.exceptions
from hyperframe.frame import GoAwayFrame

from clusters.platform.server.stubs import messages
from tests.truth.courses.answers import Answer, Answers
from tests.truth.courses.speech import Asked, Talk

_CONFIG = h2.config.H2Configuration(
    client_side=False,
    header_encoding=None,
    validate_inbound_headers=False,
    normalize_inbound_headers=False,
    validate_outbound_headers=False,
    normalize_outbound_headers=False,
)
_HEADERS = ((b":status", b"200"), (b"content-type", b"application/grpc"))
_FINE = ((b"grpc-status", b"0"),)
_UNAVAILABLE = (*_HEADERS, (b"grpc-status", b"14"), (b"grpc-message", b"by script"))
_PREFIX = struct.Struct(">BI")  # of a message: not compressed, its length
_WINDOW = 1 << 30  # bytes that the client may send over all requests of a connection, more than any will
_NO_STREAM_ENDS = (1 << 31) - 1  # in a GOAWAY: whatever is under way is answered


class GrpcAsked(Asked):
    """One call. What it was given up by its client for is not sent."""

    def __init__(self, talk: GrpcTalk, stream: int, body: bytes) -> None:
        self.who = "load"
        self._talk = talk
        self._h2 = talk.h2
        self._stream = stream
        self._body = body

    def answer(self, kind: str) -> bytes:
        message = self._message(kind)
        return self._said(_HEADERS, _PREFIX.pack(0, len(message)) + message, _FINE)

    def unavailable(self) -> bytes:
        return self._said(_UNAVAILABLE, b"", ())

    def half(self) -> bytes:
        message = self._message("")
        return self._said(_HEADERS, _PREFIX.pack(0, len(message)) + message[: len(message) * 2 // 3], None)

    def drops(self) -> Iterator[bytes]:
        message = self._message("")
        yield self._said(_HEADERS, _PREFIX.pack(0, len(message)), None)
        for at in range(len(message) - 1):
            yield self._said((), message[at : at + 1], None)

    def _message(self, kind: str) -> bytes:
        request = messages.ModelInferRequest.FromString(self._body[_PREFIX.size :])
        return self._talk.answers.of(kind, self._talk.backend, b"".join(request.raw_input_contents))

    def _said(self, headers: tuple[Any, ...], data: bytes, trailers: tuple[Any, ...] | None) -> bytes:
        """Frames of this call. Trailers end it: none where the headers say everything, None where it goes on."""
        try:
            if headers:
                self._h2.send_headers(self._stream, headers, end_stream=trailers == ())
            if data:
                self._h2.send_data(self._stream, data)
            if trailers:
                self._h2.send_headers(self._stream, trailers, end_stream=True)
        except h2.exceptions.ProtocolError:  # the client has ended the call, or says goodbye
            return b""
        return bytes(self._h2.data_to_send())


class GrpcTalk(Talk):
    """One connection: many calls at once, as far as the client wants them."""

    serial: ClassVar[bool] = False

    def __init__(self, answers: Answers, backend: int) -> None:
        self.answers = answers
        self.backend = backend
        self.h2 = h2.connection.H2Connection(_CONFIG)
        self._bodies: dict[int, bytes] = {}

    def greeting(self) -> bytes:
        self.h2.initiate_connection()
        self.h2.increment_flow_control_window(_WINDOW)
        return bytes(self.h2.data_to_send())

    def hear(self, data: bytes) -> tuple[list[Asked], bytes]:
        complete: dict[int, Asked] = {}
        for event in self.h2.receive_data(data):
            if isinstance(event, h2.events.RequestReceived):
                self._bodies[event.stream_id] = b""
            elif isinstance(event, h2.events.DataReceived):
                self._bodies[event.stream_id] += event.data
            elif isinstance(event, h2.events.StreamEnded):
                complete[event.stream_id] = GrpcAsked(self, event.stream_id, self._bodies.pop(event.stream_id))
            elif isinstance(event, h2.events.StreamReset):
                # Asked and given up before it was read: after a freeze. Nobody was ever served here.
                self._bodies.pop(event.stream_id, None)
                complete.pop(event.stream_id, None)
        return list(complete.values()), bytes(self.h2.data_to_send())

    def goodbye(self) -> bytes:
        # By hand: h2 takes a connection for closed after its own.
        return bytes(GoAwayFrame(0, last_stream_id=_NO_STREAM_ENDS, error_code=0).serialize())

    def half_heard(self) -> bool:
        return bool(self._bodies)


def answers(golden: Path) -> Answers:
    """Serialized ModelInferResponse messages."""
    return Answers(golden, _message)


def _message(answer: Answer) -> bytes:
    message = messages.ModelInferResponse(model_name=answer.model, model_version=answer.version)
    message.parameters["pod"].string_param = answer.pod
    for one in answer.outputs:
        message.outputs.add(name=one.name, datatype=one.datatype, shape=one.shape)
        message.raw_output_contents.append(one.data)
    return bytes(message.SerializeToString())
