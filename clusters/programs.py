"""kind and the container engine, as programs: what is asked of them, and how they say no."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable

from clusters.provider import ClusterError

ENGINE = "KIND_EXPERIMENTAL_PROVIDER"  # kind's own variable
ENGINES = ("docker", "podman")
SHORT_S = 60.0
SHOWN_LINES = 20
_INSTALL = {
    "kind": "Install it: https://kind.sigs.k8s.io, or `go install sigs.k8s.io/kind@latest`.",
    "docker": "Install Docker, or podman and set KIND_EXPERIMENTAL_PROVIDER=podman.",
    "podman": "Install podman, or Docker.",
}


class ToolFailed(ClusterError):  # noqa: N818 - a fact, not a mistake
    """A program ended with an error; `output` is all that it wrote."""

    def __init__(self, message: str, output: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.output = output


def engine(chosen: str | None = None) -> str:
    """docker or podman: as chosen, else as kind is told by its variable, else the first one that is installed."""
    name = chosen or os.environ.get(ENGINE) or next((each for each in ENGINES if shutil.which(each)), "docker")
    if name not in ENGINES:
        raise ClusterError(f'"{name}" is no container engine here.', hint=f"Known are {' and '.join(ENGINES)}.")
    return name


def run(tool: str, *arguments: str, timeout_s: float = SHORT_S) -> str:
    """What the program wrote to its standard output. Raises ToolFailed with what it wrote last."""
    return watched(tool, *arguments, timeout_s=timeout_s, while_it_runs=lambda: None)


def watched(tool: str, *arguments: str, timeout_s: float, while_it_runs: Callable[[], None]) -> str:
    """The same; `while_it_runs` is called about once a second."""
    command = [tool, *arguments]
    environment = os.environ | ({ENGINE: engine()} if tool == "kind" else {})
    end = time.monotonic() + timeout_s
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        try:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=environment)
        except FileNotFoundError:
            raise ToolFailed(f"{tool} is not installed.", "", hint=_INSTALL.get(tool, "")) from None
        except OSError as error:
            raise ToolFailed(f"{tool} cannot be run: {error}", "") from error
        try:
            while True:
                try:
                    code = process.wait(timeout=max(0.0, min(1.0, end - time.monotonic())))
                    break
                except subprocess.TimeoutExpired:
                    if time.monotonic() >= end:
                        process.kill()
                        process.wait()
                        code = None
                        break
                while_it_runs()
        except BaseException:
            process.kill()
            process.wait()
            raise
        written = [_text(each) for each in (out, err)]
    if code == 0:
        return written[0]
    told = "\n".join(f"  {line}" for line in "".join(written).splitlines()[-SHOWN_LINES:])
    ended = f"did not end within {timeout_s:g} s" if code is None else f"ended with {code}"
    raise ToolFailed(f"`{' '.join(command)}` {ended}" + (f":\n{told}" if told else "."), "".join(written))


def check_engine(name: str) -> None:
    """The engine answers. Raises ClusterError that says what it said."""
    try:
        run(name, "ps", "--quiet")
    except ToolFailed as error:
        if error.hint:  # not installed
            raise
        hint = f"Start it: systemctl start {name}, or Docker Desktop." if name == "docker" else "Try: podman info"
        raise ClusterError(f"{name} does not answer.\n{error.message}", hint=hint) from error


def _text(file: object) -> str:
    file.seek(0)  # type: ignore[attr-defined]
    return str(file.read().decode(errors="replace"))  # type: ignore[attr-defined]
