"""`python -m loadtests CONFIG.json`: one worker's load, told by JSON lines when to begin and to end.

The order of the first lines is the point of this file: gevent patches the standard library before anything else is
imported, and gRPC before the first channel (without it 20 concurrent calls of 100 ms took 2.06 s, with it 0.12 s).
"""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import logging  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402


def main() -> int:
    """The exit code: 0 when every arrival is on record, 1 when not (the last line of stdout says why), 64 for usage."""
    if len(sys.argv) != 2:
        sys.stderr.write("usage: python -m loadtests CONFIG.json\n")
        return 64
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    from loadtests.config import GRPC, ConfigError, LoadConfig
    from loadtests.control import Lines, run

    lines = Lines()
    try:
        config = LoadConfig.read(Path(sys.argv[1]))
    except ConfigError as error:
        lines.say({"state": "error", "detail": str(error)})
        return 1
    if config.protocol == GRPC:
        import grpc.experimental.gevent

        grpc.experimental.gevent.init_gevent()
    return run(config, lines)


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    # Not sys.exit: threads of gRPC may still call back into Python, which a dying interpreter does not survive.
    os._exit(code)
