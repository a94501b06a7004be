"""The program in the tests' pods: a small HTTP server with switches. Run by the sandbox, not by pytest."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SICK: set[str] = set()


class Handler(BaseHTTPRequestHandler):
    """GET /name, /env, /file?path, /hold/SECONDS, /sick/WHAT, /well/WHAT, /check/WHAT, /exit/CODE, /hang."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        what, _, rest = self.path.lstrip("/").partition("/")
        status, body = 200, "ok"
        if what == "name":
            body = os.environ["HOSTNAME"]
        elif what == "client":
            body = self.client_address[0]
        elif what == "env":
            body = json.dumps(dict(os.environ))
        elif what == "argv":
            body = json.dumps(sys.argv)
        elif what == "file":
            with open(rest) as file:  # noqa: PTH123
                body = file.read()
        elif what == "hold":
            time.sleep(float(rest))
        elif what == "sick":
            SICK.add(rest)
        elif what == "well":
            SICK.discard(rest)
        elif what == "check" and rest in SICK:
            status = 503
        elif what == "exit":
            os._exit(int(rest))
        data = body.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *arguments: object) -> None:
        print(format % arguments, flush=True)


class Server(ThreadingHTTPServer):
    """Threads that do not keep the process, a queue long enough for a burst."""

    daemon_threads = True
    request_queue_size = 1024
    block_on_close = False


def main() -> None:
    """`pod_program.py PORT [sick=WHAT] [after=SECONDS] [term=SECONDS|never]`."""
    port = int(sys.argv[1])
    options = dict(word.split("=", 1) for word in sys.argv[2:])
    if "sick" in options:
        SICK.add(options["sick"])
    time.sleep(float(options.get("after", 0)))
    server = Server((os.environ["POD_IP"], port), Handler)
    term = options.get("term", "0")

    def on_term(number: int, frame: object) -> None:
        print("SIGTERM", flush=True)
        if term != "never":
            threading.Thread(target=leave).start()

    def leave() -> None:
        time.sleep(float(term))
        os._exit(0)

    signal.signal(signal.SIGTERM, on_term)
    print("serving", flush=True)
    server.serve_forever(poll_interval=0.05)


if __name__ == "__main__":
    main()
