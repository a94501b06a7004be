"""The cluster's own account: watches that write every event down with the moment at which it was received."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from harness.history.records import Note, Record, Watched
from harness.kube import Cluster
from harness.run.watch import watch

# (kind, whether it lives in the workload's namespace). Leases are those of the nodes' heartbeats.
KINDS = (
    ("Pod", "workload"),
    ("EndpointSlice", "workload"),
    ("Deployment", "workload"),
    ("ReplicaSet", "workload"),
    ("Event", "workload"),
    ("Node", None),
    ("Lease", "kube-node-lease"),
)
OF_NODES = ("Node", "Lease")


class Observer:
    """Watches from `start` to `stop`; one thread a kind. A watch that breaks is resumed, and the gap is recorded."""

    def __init__(
        self, cluster: Cluster, namespace: str, record: Callable[[Record], None], *, nodes: bool = True
    ) -> None:
        self._kinds = [each for each in KINDS if nodes or each[0] not in OF_NODES]
        self._cluster = cluster
        self._namespace = namespace
        self._record = record
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """All watches have been asked for after this; each begins with the state it found (LISTED)."""
        for kind, where in self._kinds:
            namespace = self._namespace if where == "workload" else where
            thread = threading.Thread(target=self._watch, args=(kind, namespace), name=f"watch-{kind}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """No event is recorded after this."""
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=3)

    def _watch(self, kind: str, namespace: str | None) -> None:
        def on_event(verb: str, item: dict[str, Any]) -> None:
            if not self._stop.is_set():
                self._record(Watched(t_ns=time.monotonic_ns(), kind=kind, verb=verb, object=_trimmed(item)))

        try:
            watch(self._cluster, kind, namespace, None, on_event, self._stop)
        except Exception as error:  # noqa: BLE001 - whatever ends a watch, from here on nothing is known of this kind
            if self._stop.is_set():
                return
            now = time.monotonic_ns()
            self._tell(Watched(t_ns=now, kind=kind, verb="LOST", object={}))
            text = f"the watch on {kind} ended: {getattr(error, 'message', repr(error))}"
            self._tell(Note(t_ns=now, text=text, level="warning"))

    def _tell(self, record: Record) -> None:
        """It is on record after this, also where the disk was full for a while: that may be what ended the watch."""
        while True:
            try:
                self._record(record)
            except OSError:
                if self._stop.wait(0.1):
                    raise
            else:
                return


def _trimmed(item: dict[str, Any]) -> dict[str, Any]:
    """Without managedFields and the last-applied annotation: half of the bytes, and nothing that a judge reads."""
    metadata = item.get("metadata")
    if not isinstance(metadata, dict):
        return item
    slim = {key: value for key, value in metadata.items() if key != "managedFields"}
    annotations = slim.get("annotations")
    if isinstance(annotations, dict):
        slim["annotations"] = {
            k: v for k, v in annotations.items() if k != "kubectl.kubernetes.io/last-applied-configuration"
        }
    return {**item, "metadata": slim}
