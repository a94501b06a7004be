"""One run per cluster at a time: a Lease that its holder renews, and that others may take once it has expired.

Times in the Lease are the API server's own (its `Date` header): machines whose clocks differ by minutes still agree on
whether a lease has expired.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from datetime import datetime, timedelta
from typing import Any

from harness.errors import InvalidRun
from harness.kube import Cluster, Object, Refused, Unreachable
from harness.undo.entry import PREFIX
from harness.undo.holder import Holder

NAME = "bulletproof"
NAMESPACE = "default"  # every cluster has it, and the lock is the cluster's, not the workload's
HOLDER = f"{PREFIX}holder"  # annotation: the Holder as JSON
DURATION_S = 15
RENEW_S = 3.0


class LeaseHeld(InvalidRun):
    """Another run is under way on this cluster."""


class RunLease:
    """Held from `acquire` to `release`; a thread renews it. `lost` is set when somebody else has taken it."""

    def __init__(self, cluster: Cluster, holder: Holder) -> None:
        self.lost = threading.Event()
        self._cluster = cluster
        self._holder = holder
        self._renewed = 0.0  # monotonic seconds of the last renewal that the server confirmed
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._renew_until_stopped, name="lease", daemon=True)

    def acquire(self) -> None:
        """Hold the lease. Raises LeaseHeld when a living run has it."""
        current = self._cluster.get("Lease", NAME, NAMESPACE)
        try:
            if current is None:
                self._cluster.create("Lease", self._object(), NAMESPACE)
            else:
                if is_held(current, self._cluster) and holder_of(current) != self._holder:
                    raise _held(current)
                wanted = self._object()
                wanted["metadata"]["resourceVersion"] = current["metadata"]["resourceVersion"]
                self._cluster.patch("Lease", NAME, NAMESPACE, wanted)
        except Refused as error:
            if error.code == 409:
                raise LeaseHeld("another run has just begun on this cluster", hint="wait until it has ended") from error
            raise
        self._renewed = time.monotonic()
        self._thread.start()

    def ensure_held(self) -> None:
        """Raises InvalidRun unless the lease is ours for at least some seconds more."""
        if time.monotonic() - self._renewed > DURATION_S / 2:
            self._renew()
        self.refuse_lost()

    def refuse_lost(self) -> None:
        """Raises InvalidRun when somebody else has taken the lease, as far as the last renewal knows."""
        if self.lost.is_set():
            raise InvalidRun(
                "the lease of this run was taken by somebody else; nothing more is struck",
                hint="a `bulletproof recover` has probably found this run silent for too long",
            )

    def release(self) -> None:
        """Not renewed any more, and removed where it is still ours. Raises Unreachable or Refused when that failed."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        if self.lost.is_set():
            return
        current = self._cluster.get("Lease", NAME, NAMESPACE)
        held_by = holder_of(current) if current else None
        if current and held_by and held_by == self._holder:
            self._cluster.delete("Lease", NAME, NAMESPACE, uid=current["metadata"]["uid"])

    def _renew_until_stopped(self) -> None:
        while not self._stop.wait(RENEW_S):
            # Out of reach: tried again at the next turn; `ensure_held` refuses to strike meanwhile.
            with contextlib.suppress(Unreachable, Refused):
                self._renew()
            if self.lost.is_set():
                return

    def _renew(self) -> None:
        with self._lock:
            current = self._cluster.get("Lease", NAME, NAMESPACE)
            # Gone is taken too: whoever recovered this run has given it back since.
            if current is None or holder_of(current) != self._holder:
                self.lost.set()
                return
            patch = {
                "metadata": {"resourceVersion": current["metadata"]["resourceVersion"]},
                "spec": {"renewTime": _micro_time(self._cluster.server_now())},
            }
            self._cluster.patch("Lease", NAME, NAMESPACE, patch)
            self._renewed = time.monotonic()

    def _object(self) -> Object:
        now = _micro_time(self._cluster.server_now())
        return {
            "metadata": {
                "name": NAME,
                "namespace": NAMESPACE,
                "annotations": {HOLDER: json.dumps(self._holder.to_json(), sort_keys=True)},
            },
            "spec": {
                "holderIdentity": self._holder.run_id,
                "leaseDurationSeconds": DURATION_S,
                "acquireTime": now,
                "renewTime": now,
            },
        }


def holder_of(lease: Object) -> Holder | None:
    """None when the annotation is not ours to read."""
    text = (lease["metadata"].get("annotations") or {}).get(HOLDER)
    try:
        return Holder(**json.loads(text)) if text else None
    except (TypeError, ValueError):
        return None


def is_held(lease: Object, cluster: Cluster) -> bool:
    """True while its holder may be alive: renewed recently, and not known to have died on this machine."""
    holder = holder_of(lease)
    if holder is not None and holder.is_gone():
        return False
    spec: dict[str, Any] = lease.get("spec") or {}
    if not spec.get("renewTime") or not spec.get("holderIdentity"):
        return False
    ends = _parse_time(spec["renewTime"]) + timedelta(seconds=spec.get("leaseDurationSeconds", DURATION_S))
    return cluster.server_now() < ends


def _held(lease: Object) -> LeaseHeld:
    holder = holder_of(lease)
    who = (
        f"run {holder.run_id} ({holder.user} on {holder.host})" if holder else lease["spec"].get("holderIdentity", "?")
    )
    return LeaseHeld(
        f"{who} is under way on this cluster, renewed {lease['spec'].get('renewTime')}",
        hint=f"wait until it has ended; if it died, its lease expires {DURATION_S} s after that, "
        "and `bulletproof recover` finishes it",
    )


def _micro_time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _parse_time(text: str) -> datetime:
    return datetime.fromisoformat(text)
