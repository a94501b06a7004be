"""What can go wrong with a request, as the API says it: code, reason, message, causes."""

from __future__ import annotations

from typing import Any


class ApiError(Exception):
    """An answer that is not the wished one; becomes a Status object on the wire."""

    def __init__(self, code: int, reason: str, message: str, details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code, self.reason, self.message, self.details = code, reason, message, details

    def status(self) -> dict[str, Any]:
        """The Status object a client reads."""
        status: dict[str, Any] = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
        status |= {"message": self.message, "reason": self.reason}
        if self.details:
            status["details"] = self.details
        return status | {"code": self.code}


def _named(qualified: str, name: str) -> dict[str, Any]:
    plural, _, group = qualified.partition(".")
    return {"name": name} | ({"group": group} if group else {}) | {"kind": plural}


class NotFound(ApiError):  # noqa: N818
    """No such object."""

    def __init__(self, qualified: str, name: str) -> None:
        super().__init__(404, "NotFound", f'{qualified} "{name}" not found', _named(qualified, name))


class AlreadyExists(ApiError):  # noqa: N818
    """The name is taken."""

    def __init__(self, qualified: str, name: str) -> None:
        super().__init__(409, "AlreadyExists", f'{qualified} "{name}" already exists', _named(qualified, name))


class Conflict(ApiError):  # noqa: N818
    """Somebody else wrote first, or a precondition does not hold."""

    def __init__(
        self,
        qualified: str,
        name: str,
        why: str = "the object has been modified; please apply your changes to the latest version and try again",
    ) -> None:
        message = f'Operation cannot be fulfilled on {qualified} "{name}": {why}'
        super().__init__(409, "Conflict", message, _named(qualified, name))


class Invalid(ApiError):  # noqa: N818
    """The object breaks rules; every one is named. `causes` is a list of (field, reason, message)."""

    def __init__(self, kind: str, group: str, name: str, causes: list[tuple[str, str, str]]) -> None:
        lines = [f"{field}: {message}" for field, _, message in causes]
        said = lines[0] if len(lines) == 1 else "[" + ", ".join(lines) + "]"
        details: dict[str, Any] = {"name": name} | ({"group": group} if group else {}) | {"kind": kind}
        details["causes"] = [{"reason": r, "message": m, "field": f} for f, r, m in causes]
        qualified = f"{kind}.{group}" if group else kind
        super().__init__(422, "Invalid", f'{qualified} "{name}" is invalid: {said}', details)


class BadRequest(ApiError):  # noqa: N818
    """The request cannot be read."""

    def __init__(self, message: str) -> None:
        super().__init__(400, "BadRequest", message)


class TooManyRequests(ApiError):  # noqa: N818
    """Not now: a disruption budget says no."""

    def __init__(self, message: str, details: dict[str, Any] | None = None) -> None:
        super().__init__(429, "TooManyRequests", message, details)


class Expired(ApiError):  # noqa: N818
    """The revision asked for is no longer kept."""

    def __init__(self, message: str) -> None:
        super().__init__(410, "Expired", message)
