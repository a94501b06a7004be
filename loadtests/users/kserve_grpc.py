"""KServe v2 over gRPC through tritonclient."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import gevent
import tritonclient.grpc as triton

from loadtests.config import LoadConfig
from loadtests.golden import Case
from loadtests.grpc_socket import CHANNEL_ARGUMENT, Sockets
from loadtests.outcome import Attempt, WrongAnswerError, connection_broke, safely

# What makes a recovery visible when it happens. These replace tritonclient's defaults, hence the message sizes.
_CHANNEL = (
    ("grpc.max_send_message_length", 2**31 - 1),
    ("grpc.max_receive_message_length", 2**31 - 1),
    # Without it all users of the process share one TCP connection, and see one pod.
    ("grpc.use_local_subchannel_pool", 1),
    # gRPC's default back-off finds a server 2.1-3.3 s after it is back, this one after 0.15-0.25 s.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 200),
    # Not a back-off but the time that one attempt to connect gets. With 100 ms a server that was busy for so long, and
    # answered in time, was on record as UNAVAILABLE.
    ("grpc.min_reconnect_backoff_ms", 1000),
    # A stopped server is noticed after 1.3 s; without the ping timeout not within 22 s. Pings go out only while a
    # request is open, so that an idle client earns no GOAWAY for too many of them.
    ("grpc.keepalive_time_ms", 1000),
    ("grpc.keepalive_timeout_ms", 500),
    ("grpc.http2.ping_timeout_ms", 500),
    ("grpc.enable_http_proxy", 0),
    ("grpc.enable_retries", 0),
)
# A deadline that gRPC keeps itself ends the call; the user's own is behind it, for a call that does not end.
_EARLIER_S = 0.005


class TritonGrpc:
    """One user's client: a kept channel, and a channel of its own for every new connection."""

    def __init__(
        self, config: LoadConfig, cases: tuple[Case, ...], prepared: list[tuple[list[Any], list[Any]]]
    ) -> None:
        self._config = config
        self._cases = cases
        self._prepared = prepared
        self._open_kept()
        self._timeout_s = config.timeout_ns / 1e9 - _EARLIER_S

    def infer(self, case: int, kept: bool, attempt: Attempt) -> None:
        if kept:
            opened = self._kept_sockets.opened
            try:
                self._infer(self._kept, self._kept_sockets, case, attempt)
            except BaseException as error:
                if connection_broke(error) or (self._kept_sockets.opened != opened and _given_up(error)):
                    self.close()
                    self._open_kept()
                raise
            return
        sockets = Sockets(self._config.source_address)
        client = self._client(sockets)
        try:
            self._infer(client, sockets, case, attempt)
        finally:
            client.close()
            sockets.retire()

    def drop(self) -> None:
        """Nothing to do: a request that was given up leaves its channel usable, and a broken one was replaced."""

    def close(self) -> None:
        self._kept.close()
        self._kept_sockets.retire()

    def _open_kept(self) -> None:
        """A channel that waits for nothing: one whose connection broke, or was not made in time, would back off."""
        self._kept_sockets = Sockets(self._config.source_address)
        self._kept = self._client(self._kept_sockets)

    def _client(self, sockets: Sockets) -> Any:
        return triton.InferenceServerClient(self._config.target, channel_args=[*_CHANNEL, (CHANNEL_ARGUMENT, sockets)])

    def _infer(self, client: Any, sockets: Sockets, case: int, attempt: Attempt) -> None:
        inputs, outputs = self._prepared[case]
        limit_s = self._timeout_s
        if attempt.limit_ns is not None:
            limit_s = max(attempt.limit_ns / 1e9 - _EARLIER_S, 0.001)
        try:
            result = client.infer(self._config.model, inputs, outputs=outputs, client_timeout=limit_s)
        finally:
            attempt.local_port = sockets.local_port
        # A unary answer is handed over whole: its first byte is seen when all of it is there.
        attempt.first_byte_ns = time.monotonic_ns()
        response = result.get_response()
        attempt.version = response.model_version or None
        if "pod" in response.parameters:
            attempt.pod = response.parameters["pod"].string_param
        if wrong := self._cases[case].wrong(safely(result.as_numpy)):
            raise WrongAnswerError(wrong)


def _given_up(error: BaseException) -> bool:
    """Whether no answer came in time, or nobody wanted it any more."""
    if isinstance(error, triton.InferenceServerException):
        return str(error.status()) == "StatusCode.DEADLINE_EXCEEDED"
    return not isinstance(error, Exception)


def client_factory(config: LoadConfig, cases: tuple[Case, ...]) -> Callable[[], TritonGrpc]:
    """Makes the users' clients; the requests are built once for all of them."""
    _let_all_wait(config)
    prepared = []
    for case in cases:
        inputs = []
        for tensor in case.inputs:
            given = triton.InferInput(tensor.name, list(tensor.data.shape), tensor.datatype)
            given.set_data_from_numpy(tensor.data)
            inputs.append(given)
        prepared.append((inputs, [triton.InferRequestedOutput(tensor.name) for tensor in case.outputs]))
    return lambda: TritonGrpc(config, cases, prepared)


def _let_all_wait(config: LoadConfig) -> None:
    """Every request under way waits in a thread of its own: under gevent, gRPC waits in the hub's pool.

    It has 10 threads by default. With ten requests hanging, all others were read late: a server that hung for 0.3 s was
    on record as bad for 0.26 s longer, and a hang of new connections alone harmed kept ones.
    """
    attempts = 1 if config.hedge_after_ns is None else 2
    pool = gevent.get_hub().threadpool
    pool.maxsize += attempts * config.users  # threads are made when they are needed
