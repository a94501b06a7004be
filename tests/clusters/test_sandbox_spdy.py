"""SPDY, as kubectl before 1.31 speaks it: an exec by hand, frame by frame."""

from __future__ import annotations

import json
import socket
import ssl
import struct
import zlib
from pathlib import Path

import pytest
from conftest import wait_for

from clusters.sandbox.spdy import DICTIONARY


class Client:
    """Opens streams and reads frames over one TLS connection."""

    def __init__(self, http, path):
        host, port = http.server.removeprefix("https://").split(":")
        context = ssl.create_default_context(cafile=http.authority)
        self.socket = context.wrap_socket(socket.create_connection((host, int(port)), 10), server_hostname=host)
        lines = [f"POST {path} HTTP/1.1", f"Host: {host}", f"Authorization: Bearer {http.token}", "Connection: Upgrade"]
        lines += ["Upgrade: SPDY/3.1", "X-Stream-Protocol-Version: v4.channel.k8s.io", "Content-Length: 0", "", ""]
        self.socket.sendall("\r\n".join(lines).encode())
        self.file = self.socket.makefile("rb")
        self.head = []
        while (line := self.file.readline().strip()) != b"":
            self.head.append(line.decode())
        self._deflate = zlib.compressobj(zdict=DICTIONARY)

    def open(self, stream, kind):
        block = struct.pack(">I", 1) + b"".join(struct.pack(">I", len(t)) + t for t in (b"streamtype", kind.encode()))
        packed = self._deflate.compress(block) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        payload = struct.pack(">IIH", stream, 0, 0) + packed
        self.socket.sendall(struct.pack(">HHI", 0x8003, 1, len(payload)) + payload)

    def send(self, stream, data, fin=False):
        self.socket.sendall(struct.pack(">II", stream, (1 << 24 if fin else 0) | len(data)) + data)

    def leave(self):
        self.file.close()
        self.socket.close()

    def frame(self):
        """(control type or None, stream, flags, payload)."""
        first, second = struct.unpack(">II", self.file.read(8))
        payload = self.file.read(second & 0xFFFFFF)
        if first >> 31:
            return first & 0xFFFF, struct.unpack_from(">I", payload)[0], second >> 24, payload
        return None, first, second >> 24, payload


@pytest.fixture
def pod(http, namespace):
    container = {"name": "main", "image": "test/tools:1", "command": ["sleep", "60"]}
    spec = {"containers": [container], "terminationGracePeriodSeconds": 0}
    path = f"/api/v1/namespaces/{namespace}/pods"
    http.ok("POST", path, {"metadata": {"name": "a"}, "spec": spec})
    wait_for(lambda: http.ok("GET", path + "/a")["status"]["phase"] == "Running", "running pod")
    return path + "/a"


def test_streams_carry_input_output_and_the_end(http, pod):
    """Streams are answered, pings echoed, stdin passed, stdout and the Status closed with FIN."""
    query = "command=cat&stdin=true&stdout=true"
    client = Client(http, f"{pod}/exec?{query}")
    assert client.head[0].startswith("HTTP/1.1 101")
    assert any(line.lower() == "x-stream-protocol-version: v4.channel.k8s.io" for line in client.head)

    for stream, kind in ((1, "error"), (3, "stdin"), (5, "stdout")):
        client.open(stream, kind)
        assert client.frame()[:2] == (2, stream)
    client.socket.sendall(struct.pack(">HHII", 0x8003, 6, 4, 77))
    assert client.frame()[:2] == (6, 77)
    client.send(3, b"hel")
    client.send(3, b"lo", fin=True)
    frames, ended = {1: b"", 5: b""}, set()
    while not {1, 5} <= ended:
        _, stream, flags, payload = client.frame()
        frames[stream] = frames.get(stream, b"") + payload
        if flags & 1:
            ended.add(stream)

    assert frames[5] == b"hello"
    assert json.loads(frames[1])["status"] == "Success"
    client.leave()


def test_a_client_that_leaves_ends_its_command(http, pod):
    """Nothing runs on for nobody."""
    client = Client(http, f"{pod}/exec?command=sleep&command=98765&stdout=true")
    for stream, kind in ((1, "error"), (3, "stdout")):
        client.open(stream, kind)
        client.frame()
    wait_for(lambda: _running("98765"), "running command")

    client.leave()

    wait_for(lambda: not _running("98765"), "end of the command")


def _running(argument):
    return [path for path in Path("/proc").glob("[0-9]*/cmdline") if argument in _words(path)]


def _words(path):
    try:
        return path.read_text().split("\0")
    except OSError:  # it ended meanwhile
        return []
