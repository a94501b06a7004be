"""The proof of a fault: claims that are looked at every 20 ms from its begin on, each written down when first seen.

When a claim was seen is when recovery starts to count, so the looking begins before the act and does not wait for it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from harness.errors import Interrupted
from harness.history.records import Evidence, Record
from harness.kube import Refused, Unreachable

LOOK_EVERY_S = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Something that must be seen. `check` returns what it saw, or "" while it is not so.

    Without a `check` the judge settles it from the requests; it is written down once the claim with the key `after` is
    seen, with that moment as `withdrawn_ns` among its facts.
    """

    name: str
    channel: str = "cluster"
    check: Callable[[], str] | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    key: str = ""  # where a fault makes the same claim of several objects; by default the name
    after: str = ""

    def look(self) -> str:
        """What is seen now."""
        return self.check() if self.check else ""


class Prover:
    """Looks in a thread of its own while open."""

    def __init__(self, record: Callable[[Record], None], claims: dict[str, list[Claim]]) -> None:
        self._record = record
        self._claims = claims
        self._open: dict[tuple[str, str], Claim] = {}  # being looked at
        self._seen: dict[tuple[str, str], int] = {}
        self._problem = ""
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look_until_stopped, name="prover", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """What was not seen until now is written down as not seen."""
        self._stop.set()
        self._thread.join()
        now = time.monotonic_ns()
        for (fault_id, _), claim in self._open.items():
            self._tell(now, fault_id, claim, False, self._problem or "not seen")
        for fault_id, claims in self._claims.items():
            for claim in claims:
                if claim.check is None:
                    self._tell_requests(now, fault_id, claim)

    def begin(self, fault_id: str) -> None:
        """Look for this fault's claims from now on."""
        with self._lock:
            self._open.update(
                {(fault_id, claim.key or claim.name): claim for claim in self._claims[fault_id] if claim.check}
            )

    def wait(self, within_s: float, interrupted: threading.Event) -> None:
        """Until everything is seen, or the time is over. Raises Interrupted."""
        end = time.monotonic() + within_s
        while time.monotonic() < end and not self._is_done():
            if interrupted.wait(LOOK_EVERY_S):
                raise Interrupted("the fault was stopped")

    @property
    def not_seen(self) -> list[str]:
        """Claims that were looked for and not seen (yet)."""
        with self._lock:
            return [claim.name for claim in self._open.values()]

    def _is_done(self) -> bool:
        with self._lock:
            return not self._open

    def _look_until_stopped(self) -> None:
        while not self._stop.is_set():
            began = time.monotonic()
            with self._lock:
                waiting = list(self._open.items())
            for key, claim in waiting:
                self._look(key, claim)
            self._stop.wait(max(0.001, began + LOOK_EVERY_S - time.monotonic()))

    def _look(self, key: tuple[str, str], claim: Claim) -> None:
        try:
            saw = claim.look()
        except (Unreachable, Refused) as error:
            self._problem = error.message
            return
        except Exception as error:  # noqa: BLE001 - a claim that cannot be read is not seen, and says so
            self._problem = f"{type(error).__name__}: {error}"
            return
        if saw:
            now = time.monotonic_ns()
            self._tell(now, key[0], claim, True, saw)
            with self._lock:
                del self._open[key]
                self._seen[key] = now

    def _tell(self, t_ns: int, fault_id: str, claim: Claim, seen: bool | None, detail: str) -> None:
        self._record(
            Evidence(
                t_ns=t_ns,
                fault_id=fault_id,
                claim=claim.name,
                channel=claim.channel,
                seen=seen,
                detail=detail,
                facts=claim.facts,
            )
        )

    def _tell_requests(self, now: int, fault_id: str, claim: Claim) -> None:
        seen_ns = self._seen.get((fault_id, claim.after))
        if claim.after and seen_ns is None:
            return  # what it rests on was not seen: the fault is not proven anyway
        facts = {**claim.facts, "withdrawn_ns": seen_ns} if claim.after else claim.facts
        self._record(
            Evidence(
                t_ns=now, fault_id=fault_id, claim=claim.name, channel="requests", seen=None, detail="", facts=facts
            )
        )
