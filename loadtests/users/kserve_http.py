"""KServe v2 over HTTP through tritonclient, with binary tensors, as users of Triton have it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import gevent.socket
import tritonclient.http as triton
from geventhttpclient.connectionpool import ConnectionPool

from loadtests.config import LoadConfig
from loadtests.golden import Case
from loadtests.idle import idle
from loadtests.outcome import Attempt, WrongAnswerError, safely


class _Socket(gevent.socket.socket):  # type: ignore[misc]
    """Knows when the first byte of an answer came."""

    first_byte_ns: int | None = None

    def recv(self, *arguments: Any) -> Any:
        data = super().recv(*arguments)
        if data and self.first_byte_ns is None:
            self.first_byte_ns = time.monotonic_ns()
        return data


class _Pool(ConnectionPool):  # type: ignore[misc]
    """The one connection of a client: tells its local port, binds its source, sends small writes at once."""

    def __init__(self, host: str, port: int, addresses: list[Any], source_address: str | None) -> None:
        # No timeouts of its own: they are per recv, so that a dripping server held a "0.5 s" request for 4.1 s. The
        # user's deadline is the only one.
        super().__init__(host, port, host, port, size=1, connection_timeout=None, network_timeout=None)
        self._source_address = source_address
        self._addresses = addresses
        self.local_port: int | None = None
        self.socket: _Socket | None = None

    def begin(self) -> None:
        """Forgets the last request."""
        self.local_port = None
        self.socket = None

    def get_socket(self) -> Any:
        sock = super().get_socket()
        sock.first_byte_ns = None
        self.socket = sock
        self.local_port = sock.getsockname()[1]
        return sock

    def _resolve(self) -> Any:
        return self._addresses

    def _create_tcp_socket(self, family: int, socktype: int, protocol: int) -> Any:
        sock = _Socket(family, socktype, protocol)
        sock.setsockopt(gevent.socket.IPPROTO_TCP, gevent.socket.TCP_NODELAY, 1)
        if self._source_address is not None:
            sock.bind((self._source_address, 0))
        return sock

    def _connect_socket(self, sock: Any, address: Any) -> Any:
        try:
            sock.connect(address)
        finally:  # a connection that was refused or never answered has its port too
            self.local_port = sock.getsockname()[1] or None
        return sock

    def _is_socket_alive(self, sock: Any) -> bool:
        """As the original, which uses select() and takes every socket above descriptor 1023 for dead."""
        if sock is None or sock.fileno() < 0:
            return False
        return idle(sock)


class TritonHttp:
    """One user's client: a kept connection, and a client of its own for every new one."""

    def __init__(
        self,
        config: LoadConfig,
        cases: tuple[Case, ...],
        prepared: list[tuple[list[Any], list[Any]]],
        addresses: list[Any],
    ) -> None:
        self._config = config
        self._cases = cases
        self._addresses = addresses
        self._prepared = prepared
        self._kept = self._client()

    def infer(self, case: int, kept: bool, attempt: Attempt) -> None:
        if kept:
            if self._kept is None:
                self._kept = self._client()
            self._infer(self._kept, case, attempt)
            return
        client = self._client()
        try:
            self._infer(client, case, attempt)
        finally:
            client.close()

    def drop(self) -> None:
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    def close(self) -> None:
        self.drop()

    def _client(self) -> Any:
        client = triton.InferenceServerClient(self._config.target)
        config = self._config
        client._client_stub._connection_pool = _Pool(config.host, config.port, self._addresses, config.source_address)
        return client

    def _infer(self, client: Any, case: int, attempt: Attempt) -> None:
        pool = client._client_stub._connection_pool
        pool.begin()
        inputs, outputs = self._prepared[case]
        try:
            result = client.infer(self._config.model, inputs, outputs=outputs)
        finally:
            attempt.local_port = pool.local_port
            if pool.socket is not None:
                attempt.first_byte_ns = pool.socket.first_byte_ns
        response = result.get_response()
        attempt.version = response.get("model_version")
        attempt.pod = (response.get("parameters") or {}).get("pod")
        if wrong := self._cases[case].wrong(safely(result.as_numpy)):
            raise WrongAnswerError(wrong)


def client_factory(config: LoadConfig, cases: tuple[Case, ...]) -> Callable[[], TritonHttp]:
    """Makes the users' clients; the requests are built once for all of them."""
    prepared = []
    for case in cases:
        inputs = []
        for tensor in case.inputs:
            given = triton.InferInput(tensor.name, list(tensor.data.shape), tensor.datatype)
            given.set_data_from_numpy(tensor.data, binary_data=True)
            inputs.append(given)
        prepared.append(
            (inputs, [triton.InferRequestedOutput(tensor.name, binary_data=True) for tensor in case.outputs])
        )
    # Once, before the load begins: a look-up goes through a thread, also for what is an address already.
    addresses = gevent.socket.getaddrinfo(config.host, config.port, type=gevent.socket.SOCK_STREAM)
    return lambda: TritonHttp(config, cases, prepared, addresses)
