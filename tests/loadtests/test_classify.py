"""Exceptions that the clients were seen to raise, by the outcome that they mean."""

import socket

import pytest
from geventhttpclient._parser import HTTPParseError
from geventhttpclient.response import HTTPConnectionClosed
from tritonclient.utils import InferenceServerException

from loadtests.outcome import Attempt, classify, signature

_GRPC = "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:8001: "


def unavailable(text):
    return InferenceServerException(text, status="StatusCode.UNAVAILABLE")


@pytest.mark.parametrize(
    ("error", "answered", "outcome"),
    [
        (ConnectionRefusedError(111, "Connection refused"), False, "refused"),
        (TimeoutError("timed out"), False, "timeout"),
        (HTTPConnectionClosed("connection closed."), False, "reset"),
        (ConnectionResetError(104, "Connection reset by peer"), False, "reset"),
        (ConnectionResetError(104, "Connection reset by peer"), True, "truncated"),
        (BrokenPipeError(32, "Broken pipe"), False, "reset"),
        (HTTPParseError("Incomplete response."), True, "truncated"),
        (HTTPParseError("connection closed before end of the headers"), True, "truncated"),
        (HTTPParseError("Invalid HTTP version"), True, "error"),
        (socket.gaierror(-2, "Name or service not known"), False, "unreachable"),
        (OSError(113, "No route to host"), False, "unreachable"),
        (OSError(101, "Network is unreachable"), False, "unreachable"),
        (OSError(24, "Too many open files"), False, "error"),
        (InferenceServerException("unknown model", status="404"), True, "http_404"),
        (InferenceServerException("overloaded", status="503"), True, "http_503"),
        (InferenceServerException("Deadline Exceeded", status="StatusCode.DEADLINE_EXCEEDED"), False, "timeout"),
        (InferenceServerException("no such model", status="StatusCode.NOT_FOUND"), False, "grpc_NOT_FOUND"),
        (unavailable(_GRPC + "Failed to connect to remote host: Connection refused"), False, "refused"),
        (unavailable(_GRPC + "recvmsg:Connection reset by peer"), False, "reset"),
        (unavailable("Socket closed"), False, "reset"),
        (unavailable("GOAWAY received; Error code: 0; Debug Text: shutting down"), False, "reset"),
        (unavailable("ping timeout"), False, "timeout"),
        (unavailable("keepalive watchdog timeout"), False, "timeout"),
        (unavailable(_GRPC + "No route to host"), False, "unreachable"),
        (unavailable("DNS resolution failed for detector:8001"), False, "unreachable"),
        (unavailable(_GRPC + "connection attempt timed out before receiving SETTINGS frame"), False, "timeout"),
        (unavailable("the model is being unloaded"), False, "grpc_UNAVAILABLE"),
        (InferenceServerException("inconsistent", status=None), False, "grpc_UNKNOWN"),
        (ValueError("anything else"), False, "error"),
    ],
)
def test_an_exception_has_its_outcome(error, answered, outcome):
    """What the judge counts apart (refused, reset, timeout, ...) is told apart here."""
    attempt = Attempt(first_byte_ns=1 if answered else None)

    classify(error, attempt)

    assert attempt.outcome == outcome
    assert attempt.error


def test_a_signature_is_the_same_for_errors_of_one_kind():
    """Ports, addresses and ids are left out, so that the kinds can be counted."""
    one = signature("connect to 10.1.2.3:43210 failed, request 0x7f12ab\nmore detail")
    other = signature("connect to 10.9.8.7:1 failed, request 0xffff")

    assert one == other == "connect to #:# failed, request #"
    assert len(signature("x" * 500)) == 120
    assert signature("") == ""
