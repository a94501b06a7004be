"""The load generator. The harness starts it and tells it by JSON lines on stdin when to begin and to end.

    python -m loadtests CONFIG.json                             the whole load from this process
    python -m loadtests --standby PROTOCOL USER                 the same, once stdin's first line names CONFIG.json
    python -m loadtests --master CONFIG.json                    from `workers` processes of this machine
    python -m loadtests --master CONFIG.json --listen HOST:PORT from `workers` workers that join there
    python -m loadtests --worker HOST:PORT                      one of them, on any machine
    python -m loadtests --serve HOST:PORT --listen HOST:PORT    a master that is told over HTTP instead (`serving.py`)

The order of the first lines is the point of this file: gevent patches the standard library before anything else is
imported, and gRPC before the first channel (without it 20 concurrent calls of 100 ms took 2.06 s, with it 0.12 s).
"""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import argparse  # noqa: E402
import logging  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import NoReturn  # noqa: E402


def main() -> int:
    """The exit code: 0 when every arrival is on record, 1 when not (the last line of stdout says why), 64 for usage."""
    asked = _arguments().parse_args()
    if [asked.config, asked.standby, asked.worker, asked.serve].count(None) != 3:
        _arguments().error("give CONFIG.json, --standby PROTOCOL USER, --worker HOST:PORT or --serve HOST:PORT")
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if asked.worker is not None:
        from loadtests.worker import work

        return work(*asked.worker)
    if asked.serve is not None:
        from loadtests.serving import serve

        if asked.listen is None or not os.environ.get("LOAD_TOKEN"):
            _arguments().error("--serve needs --listen HOST:PORT, and LOAD_TOKEN in the environment")
        return serve(asked.serve, asked.listen, os.environ["LOAD_TOKEN"])
    from loadtests.config import GRPC, ConfigError, LoadConfig
    from loadtests.stdio import Lines

    path = asked.config
    if asked.standby is not None:
        from loadtests.standby import configured

        path = configured(*asked.standby)
        if path is None:
            return 0
    lines = Lines()
    try:
        config = LoadConfig.read(path)
    except ConfigError as error:
        lines.say({"state": "error", "detail": str(error)})
        return 1
    if asked.master:
        from loadtests.master import lead

        return lead(config, lines, asked.listen, asked.join_within)
    if config.protocol == GRPC:
        import grpc.experimental.gevent

        grpc.experimental.gevent.init_gevent()
    from loadtests.control import run

    return run(config, lines)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(64, f"{self.format_usage()}{message}\n")


def _arguments() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m loadtests", add_help=True)
    parser.add_argument("config", nargs="?", type=Path, metavar="CONFIG.json")
    parser.add_argument(
        "--standby", nargs=2, metavar=("PROTOCOL", "USER"), help="import that client, then wait for a CONFIG.json"
    )
    parser.add_argument("--master", action="store_true", help="the load comes from the workers that CONFIG.json counts")
    parser.add_argument("--listen", type=_address, metavar="HOST:PORT", help="workers join here; none is started here")
    parser.add_argument("--join-within", type=float, default=30.0, metavar="SECONDS", help="all workers have joined")
    parser.add_argument("--worker", type=_address, metavar="HOST:PORT", help="join the master there")
    parser.add_argument("--serve", type=_address, metavar="HOST:PORT", help="be told over HTTP; LOAD_TOKEN is its path")
    return parser


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT")
    return host, int(port)


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    # Not sys.exit: threads of gRPC may still call back into Python, which a dying interpreter does not survive.
    os._exit(code)
