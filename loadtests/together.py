"""What a master and its workers agree on: the messages over Locust's RPC, and how long either may be silent.

| message | from | data |
|---|---|---|
| LINE | worker | a line as a load alone says it: joined, configured, ready, start, live, clock, done, closed, error |
| ROWS | worker | the next bytes of its Arrow stream, and at which byte of it they belong |
| CONFIG | master | the configuration of that worker, the content of the files that it names, the master's clock |
| COMMAND | master | start (with the harness' clock's lead over the master's), stop, leave |
| CLOCK | worker, then master | the worker's time; the master adds its own and sends it back at once |
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

LINE, ROWS, CONFIG, COMMAND, CLOCK = (f"bulletproof-{name}" for name in ("line", "rows", "config", "command", "clock"))

FILES = ("golden", "trace")  # fields of the configuration that name files

TICK_EVERY_S = 1.0
TICK_LIMIT_S = 6.0  # without a word the other one is lost; a stall of two seconds is none


def read_files(config: Mapping[str, object]) -> dict[str, str]:
    """The content of the files that a configuration names, by the field's name."""
    return {name: Path(str(config[name])).read_text(encoding="utf-8") for name in FILES if config.get(name)}


def write_files(files: Mapping[str, str], folder: Path) -> dict[str, str]:
    """The same files, in a folder of this machine: the fields that name them there."""
    written = {}
    for name in FILES:
        if name in files:
            (folder / name).write_text(files[name], encoding="utf-8")
            written[name] = str(folder / name)
    return written
