"""A server that costs next to nothing: it answers what the reference server answered to the same body.

    python benchmarks/answers.py REFERENCE_PORT

The reference server is the slowest part of a measurement of clients: at its full speed the clients are half idle, and
an idle client wakes once for each request. This one asks it once for each body, keeps the answer byte by byte, and from
then on answers by itself, ten times as fast. Prints its port as one line; ends when its standard input does.
"""

from __future__ import annotations

import re
import select
import socket
import sys

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)
_HEADER = re.compile(rb"\r\ninference-header-content-length:[ \t]*\d+", re.IGNORECASE)
_BLOCK = 65536


class Answers:
    """Request line and body -> the bytes of the whole answer, from the reference server the first time."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._known: dict[tuple[bytes, bytes], bytes] = {}

    def to(self, head: bytes, body: bytes) -> bytes:
        """The answer."""
        line = head[: head.index(b"\r\n")]
        known = self._known.get((line, body))
        if known is None:
            known = self._known[line, body] = self._ask(line, head, body)
        return known

    def _ask(self, line: bytes, head: bytes, body: bytes) -> bytes:
        binary = _HEADER.search(head)
        request = line + b"\r\nHost: reference" + (binary[0] if binary else b"")
        request += b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        with socket.create_connection(("127.0.0.1", self._port)) as sock:
            sock.sendall(request)
            answer = sock.recv(_BLOCK)
            while (whole := size(answer)) is None or len(answer) < whole:
                if not (more := sock.recv(_BLOCK)):
                    raise SystemExit("the reference server closed in its answer")
                answer += more
        return answer


def size(data: bytes) -> int | None:
    """The length of the message that begins the data; None while its head is not there whole."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    found = _LENGTH.search(data, 0, end)
    return end + 4 + (int(found[1]) if found else 0)


def serve(listener: socket.socket, answers: Answers) -> None:
    """Until standard input ends."""
    poll = select.epoll()
    poll.register(listener, select.EPOLLIN)
    poll.register(sys.stdin.fileno(), select.EPOLLIN)
    stdin, door = sys.stdin.fileno(), listener.fileno()
    open_: dict[int, socket.socket] = {}
    rest: dict[int, bytes] = {}
    while True:
        for fd, _ in poll.poll():
            if fd == stdin:
                return
            if fd == door:
                sock, _ = listener.accept()
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                open_[sock.fileno()] = sock
                poll.register(sock, select.EPOLLIN)
                continue
            sock = open_[fd]
            try:
                data = sock.recv(_BLOCK)
            except ConnectionError:
                data = b""
            if not data:
                poll.unregister(fd)
                open_.pop(fd).close()
                rest.pop(fd, None)
                continue
            data = rest.pop(fd, b"") + data
            while (whole := size(data)) is not None and len(data) >= whole:
                message, data = data[:whole], data[whole:]
                head, _, body = message.partition(b"\r\n\r\n")
                sock.sendall(answers.to(head, body))
            if data:
                rest[fd] = data


def main() -> None:
    """Tells its port and serves."""
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        print(listener.getsockname()[1], flush=True)
        serve(listener, Answers(int(sys.argv[1])))


if __name__ == "__main__":
    main()
