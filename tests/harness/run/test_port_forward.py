"""A port-forward is known by the process that listens, whatever the address is called."""

import contextlib
import subprocess
import sys

import pytest

from harness.run.port_forward import port_forward_at

LISTEN = """
import socket, sys
with socket.create_server((sys.argv[1], 0)) as listening:
    print(listening.getsockname()[1], flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def listener(*words, host="127.0.0.1"):
    """The port of a process with these words on its command line."""
    command = [sys.executable, "-c", LISTEN, host, *words]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        yield int(process.stdout.readline())
    finally:
        process.communicate()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_port_forward_is_named_with_its_command(host):
    """So that whoever started it knows it again."""
    with listener("-n", "inference", "port-forward", "svc/detector", "8000") as port:
        assert "port-forward svc/detector 8000" in port_forward_at(host, port)


def test_any_other_listener_is_none():
    """kind's published ports and the sandbox are on loopback too."""
    with listener("serve") as port, listener("port-forward", "svc/other") as other:
        assert port_forward_at("127.0.0.1", port) is None
        assert port_forward_at("192.0.2.1", other) is None
        assert port_forward_at("no-such-name.invalid", other) is None
