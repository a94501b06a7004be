"""What became of a request, in the words of the records: every exception of the clients has its outcome here."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from harness.history import requests

_REFUSED = re.compile(r"connection refused", re.IGNORECASE)
_RESET = re.compile(
    r"reset by peer|socket closed|connection closed|broken pipe|goaway|end of tcp stream", re.IGNORECASE
)
_PING = re.compile(r"ping timeout|keepalive", re.IGNORECASE)
_TIMED_OUT = re.compile(r"timed? ?out|deadline", re.IGNORECASE)
_UNREACHABLE = re.compile(r"unreachable|no route|dns|name resolution|resolve", re.IGNORECASE)
_NUMBERS = re.compile(r"0x[0-9a-f]+|\d+(\.\d+)*", re.IGNORECASE)


@dataclass(slots=True)
class Attempt:
    """What is known of one request while it runs; a client fills it in as it learns it, before any exception."""

    limit_ns: int | None = None  # it is given up after this; None: after the load's timeout
    outcome: str = requests.ERROR
    error: str | None = None
    first_byte_ns: int | None = None
    local_port: int | None = None
    pod: str | None = None
    version: str | None = None
    end_ns: int | None = None  # where it is known better than by the moment that it is handed over
    tries: Sequence[tuple[Any, ...]] | None = None  # every attempt of the request, where there were several


class WrongAnswerError(Exception):
    """The answer came, complete and well-formed, and is not the golden one."""


class TruncatedError(Exception):
    """The answer began and did not end."""


class StatusError(Exception):
    """The server answered with another status than 200; `message` is its explanation."""

    def __init__(self, status: str, message: str) -> None:
        super().__init__(f"{status} {message}")
        self.status = status
        self.message = message


def safely(as_numpy: Callable[[str], Any]) -> Callable[[str], Any]:
    """An output whose bytes do not fit its shape is a wrong answer, not an accident of the client."""

    def output(name: str) -> Any:
        try:
            return as_numpy(name)
        except (ValueError, TypeError, KeyError) as error:
            raise WrongAnswerError(f"{name} is malformed: {error}") from error

    return output


def signature(text: object) -> str:
    """A short text that is the same for errors of one kind: numbers (ports, sizes, ids) are left out."""
    line = str(text).strip().splitlines()
    return _NUMBERS.sub("#", line[0])[:120] if line else ""


def connection_broke(error: BaseException) -> bool:
    """Whether gRPC itself says UNAVAILABLE, of its connection, and not the server."""
    if type(error).__name__ != "InferenceServerException":
        return False
    status, message = str(error.status() or ""), str(error.message() or "")  # type: ignore[attr-defined]
    return _broken(status.removeprefix("StatusCode."), message) is not None


def classify(error: BaseException, attempt: Attempt) -> None:
    """Sets the attempt's outcome and error from what the client raised."""
    attempt.outcome, attempt.error = _classify(error, attempt.first_byte_ns is not None)


def _classify(error: BaseException, answered: bool) -> tuple[str, str]:
    name = type(error).__name__
    text = f"{name}: {signature(error)}" if str(error).strip() else name
    if isinstance(error, WrongAnswerError):
        return requests.WRONG_ANSWER, signature(error)
    if name == "InferenceServerException":
        return _server_said(str(error.status() or ""), str(error.message() or ""))  # type: ignore[attr-defined]
    if isinstance(error, StatusError):
        return _server_said(error.status, error.message)
    if isinstance(error, TruncatedError):
        return requests.TRUNCATED, text
    if isinstance(error, ConnectionRefusedError):
        return requests.REFUSED, name
    if isinstance(error, TimeoutError):  # the client's own, or the kernel gave up on the connection
        return requests.TIMEOUT, text
    if (
        isinstance(error, ConnectionResetError | BrokenPipeError | ConnectionAbortedError)
        or name == "HTTPConnectionClosed"
    ):
        return (requests.TRUNCATED if answered else requests.RESET), text
    if name == "HTTPParseError":  # HTTPConnectionClosed is a subclass and came first
        if "Incomplete response" in str(error) or "closed" in str(error):
            return requests.TRUNCATED, text
        return requests.ERROR, text
    if isinstance(error, socket.gaierror):
        return requests.UNREACHABLE, text
    if isinstance(error, OSError) and _UNREACHABLE.search(str(error)):
        return requests.UNREACHABLE, text
    return requests.ERROR, text


def _server_said(status: str, message: str) -> tuple[str, str]:
    """HTTP statuses are numbers, gRPC's are named; gRPC calls every broken connection UNAVAILABLE: its text tells."""
    if status.isdigit():
        return f"http_{status}", signature(message)
    code = status.removeprefix("StatusCode.") or "UNKNOWN"
    if code == "DEADLINE_EXCEEDED":
        return requests.TIMEOUT, "deadline"
    if broken := _broken(code, message):
        return broken, f"UNAVAILABLE: {signature(message)}"
    return f"grpc_{code}", signature(message)


def _broken(code: str, message: str) -> str | None:
    """What became of the connection; None: the server said this."""
    if code != "UNAVAILABLE":
        return None
    for pattern, outcome in (
        (_REFUSED, requests.REFUSED),
        (_PING, requests.TIMEOUT),
        (_RESET, requests.RESET),
        (_UNREACHABLE, requests.UNREACHABLE),
        (_TIMED_OUT, requests.TIMEOUT),
    ):
        if pattern.search(message):
            return outcome
    return None
