"""Every error that a user can meet, with the exit code that it leads to.

The message is a fact, the hint is advice, the class carries the exit code. Only `harness.cli` prints and exits.

    BulletproofError
    +-- UsageError (64)      a wrong file, field, option or argument; nothing was touched
    |   +-- FileError        the same, with file, line and field
    +-- InvalidRun (2)       the instrument cannot say
    +-- Residue (4)          something of a fault is left
    +-- Skipped (5)          the cluster lacks a required capability
"""

from __future__ import annotations

from pathlib import Path

EXIT_PASSED = 0
EXIT_FAILED = 1
EXIT_INVALID = 2
EXIT_ABORTED = 3
EXIT_RESIDUE = 4
EXIT_SKIPPED = 5
EXIT_USAGE = 64


class BulletproofError(Exception):
    """A fact for the user, with advice where there is some."""

    exit_code = EXIT_INVALID

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  Hint: {self.hint}" if self.hint else self.message


class UsageError(BulletproofError):
    """What the user gave is wrong, and nothing was touched."""

    exit_code = EXIT_USAGE


class FileError(UsageError):
    """One field of a file is wrong: where it stands, what was found, what is allowed."""

    def __init__(
        self, message: str, *, file: Path | str, line: int | None = None, field: str = "", hint: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.file = str(file)
        self.line = line
        self.field = field

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        field = f"{self.field}: " if self.field else ""
        hint = f" {self.hint}" if self.hint else ""
        return f"{where}: {field}{self.message}{hint}"


class FileErrors(UsageError):  # noqa: N818 - several of them
    """Several fields of a file are wrong; all are told at once."""

    def __init__(self, errors: list[FileError]) -> None:
        super().__init__("\n".join(str(error) for error in errors))
        self.errors = errors


class InvalidRun(BulletproofError):  # noqa: N818 - the names of the verdicts
    """The instrument cannot say: nothing may be concluded from this run."""

    exit_code = EXIT_INVALID


class Residue(BulletproofError):  # noqa: N818
    """Something of a fault is left in the cluster."""

    exit_code = EXIT_RESIDUE


class Skipped(BulletproofError):  # noqa: N818
    """The cluster lacks what the experiment requires."""

    exit_code = EXIT_SKIPPED


class Interrupted(BaseException):
    """Ctrl-C, SIGTERM or SIGHUP arrived.

    A BaseException because chaoslib turns every Exception of an activity into `ActivityFailed` and goes on with the
    next one: a signal that is an Exception is swallowed there.
    """

    def __init__(self, signal_name: str) -> None:
        super().__init__(signal_name)
        self.signal_name = signal_name
