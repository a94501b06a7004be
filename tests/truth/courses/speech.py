"""What the scripted server needs of a protocol: where requests begin and end, and which bytes answer them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import ClassVar, Protocol


class Asked(Protocol):
    """A request that is complete. What it gives back is to be sent at once; nothing where nobody waits any more."""

    who: str  # whose it is: the load's, or a bystander's

    @abstractmethod
    def answer(self, kind: str) -> bytes:
        """A whole answer: right, wrong or misshapen, as the kind of the act says."""

    @abstractmethod
    def unavailable(self) -> bytes:
        """The status that says so."""

    @abstractmethod
    def half(self) -> bytes:
        """Two thirds of the right answer."""

    @abstractmethod
    def drops(self) -> Iterator[bytes]:
        """The right answer in small pieces, the last of them missing."""


class Talk(Protocol):
    """One connection, as its backend has it."""

    serial: ClassVar[bool]  # one request after the other: behind one that is never answered comes nothing more

    @abstractmethod
    def greeting(self) -> bytes:
        """What is said first, to whoever connects."""

    @abstractmethod
    def hear(self, data: bytes) -> tuple[list[Asked], bytes]:
        """The requests that are complete with this, and what is to be said at once."""

    @abstractmethod
    def goodbye(self) -> bytes:
        """What asks the client to end the connection. Nothing: the protocol has no word for it."""

    @abstractmethod
    def half_heard(self) -> bool:
        """Whether a request has begun and is not complete."""
