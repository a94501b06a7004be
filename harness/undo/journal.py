"""The undo journal of a run: written before each act, in two places, and emptied only by undos that were verified."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from harness.errors import BulletproofError, InvalidRun
from harness.history.records import Record, UndoStep
from harness.kube import Cluster, Refused, Unreachable
from harness.undo import apply as interpreter
from harness.undo.cluster_copy import ClusterCopy
from harness.undo.entry import Entry, Residue
from harness.undo.holder import Holder
from harness.undo.journal_file import JournalFile
from harness.undo.lease import RunLease

PATIENCE_S = 30.0  # how long an undo is tried again, all entries together, while the API server does not answer
LEAST_PATIENCE_S = 2.0  # and each entry at least this long


class Journal:
    """Open from `open` (or `take_over`) to `close`. Safe to use from several threads."""

    def __init__(self, run_dir: Path, cluster: Cluster, holder: Holder) -> None:
        self.run_id = holder.run_id
        self.namespace = holder.namespace
        self._cluster = cluster
        self._holder = holder
        self._lock = threading.RLock()
        self._entries: dict[str, Entry] = {}
        self._number = 0
        self._file = JournalFile(run_dir)
        self._copy = ClusterCopy(cluster, holder.namespace, holder.run_id)
        self._lease = RunLease(cluster, holder)
        self._closed = False

    @classmethod
    def open(cls, run_dir: Path, cluster: Cluster, namespace: str, run_id: str) -> Journal:
        """Begin the journal of a run; the cluster is ours until `close`.

        Raises InvalidRun when another run is under way, or when a dead one has left its undo here.
        """
        journal = cls(run_dir, cluster, Holder.here(run_id, run_dir.resolve(), namespace))
        journal._begin(refuse_dead=True)
        return journal

    @classmethod
    def resume(cls, run_dir: Path, cluster: Cluster, holder: Holder, entries: Sequence[Entry]) -> Journal:
        """Hold a dead run's journal; `entries` are what is left in it. Raises LeaseHeld when somebody else does."""
        journal = cls(run_dir, cluster, holder)
        journal._begin(refuse_dead=False)
        for entry in entries:
            journal._entries[entry.entry_id] = entry
            journal._number = max(journal._number, entry.number)
        return journal

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pending(self) -> tuple[Entry, ...]:
        """Entries that are not verified, oldest first."""
        with self._lock:
            return tuple(sorted(self._entries.values(), key=lambda entry: entry.number))

    def refuse_lost(self) -> None:
        """Raises InvalidRun when somebody else has taken this run over: its fault may have been undone long ago."""
        self._lease.refuse_lost()

    def plan(self, entry: Entry, record: Callable[[Record], None] | None = None) -> Entry:
        """The undo is on the disk and in the cluster after this: now the act may begin.

        Raises InvalidRun when either could not be written, or the lease is lost; then nothing may be struck.
        """
        with self._lock:
            self._lease.ensure_held()
            if entry.entry_id in self._entries:
                raise InvalidRun(f"the undo entry {entry.entry_id} is planned already")
            self._number += 1
            entry = replace(entry, number=self._number)
            self._write(entry)
        if record is not None:
            record(_step("planned", entry, entry.what))
        return entry

    def amend(self, entry: Entry) -> None:
        """The same entry, now better known; it takes the place of the old one in both journals."""
        with self._lock:
            if entry.entry_id not in self._entries:
                raise InvalidRun(f"the undo entry {entry.entry_id} is not planned")
            self._write(entry)

    def undo(self, entry_id: str, record: Callable[[Record], None]) -> Residue | None:
        """Undo one entry now. None when it is verified (or was before), else what is left."""
        with self._lock:
            entry = self._entries.get(entry_id)
            return self._undo(entry, record, time.monotonic() + PATIENCE_S) if entry else None

    def undo_all(self, record: Callable[[Record], None], *, but: str = "") -> list[Residue]:
        """Undo every entry, newest first, going on when one fails. Returns what is left; that stays in the journal.

        `but`: an entry whose time has not come.
        """
        deadline = time.monotonic() + PATIENCE_S
        with self._lock:
            residues = [
                self._undo(entry, record, deadline) for entry in reversed(self.pending) if entry.entry_id != but
            ]
        return [residue for residue in residues if residue is not None]

    def close(self) -> list[Residue]:
        """End the run's hold on the cluster. The journal is removed from it when every entry is verified."""
        with self._lock:
            if self._closed:
                return []
            self._closed = True
            residues = self._leave_cluster()
            self._file.write("close", pending=[entry.entry_id for entry in self.pending])
            self._file.close()
            return residues

    # -- inside --

    def _begin(self, *, refuse_dead: bool) -> None:
        from harness.undo.recover_entries import refuse_if_left

        try:
            self._lease.acquire()
            try:
                if refuse_dead:
                    refuse_if_left(self._cluster, self.namespace)
                self._file.write("open", holder=self._holder.to_json())
                self._copy.create(self._holder)
            except BaseException:
                self._lease.release()
                raise
        except BaseException:
            self._file.close()
            raise

    def _write(self, entry: Entry) -> None:
        # Kept even when a write fails half-way: undoing what never happened is harmless.
        self._entries[entry.entry_id] = entry
        self._file.write("plan", entry=entry.to_json())
        self._copy.put(entry)

    def _undo(self, entry: Entry, record: Callable[[Record], None], deadline: float) -> Residue | None:
        record(_step("begin", entry, entry.what))
        deadline = max(deadline, time.monotonic() + LEAST_PATIENCE_S)
        pause = 0.1
        while True:
            try:
                details = [interpreter.apply(op, self._cluster) for op in entry.ops]
                detail = "; ".join(dict.fromkeys(text for text in details if text)) or "nothing to put back"
                record(_step("applied", entry, detail))
                for op in entry.ops:
                    interpreter.verify(op, self._cluster)
                self._forget(entry)
            except (Unreachable, Refused, interpreter.NotUndone) as error:
                if time.monotonic() + pause > deadline or not _may_pass(error):
                    return self._give_up(entry, error, record)
                time.sleep(pause)
                pause = min(2 * pause, 2.0)
            except Exception as error:  # noqa: BLE001 - the next entry must be undone whatever is wrong with this one
                return self._give_up(entry, error, record)
            else:
                record(_step("verified", entry, detail))
                return None

    def _forget(self, entry: Entry) -> None:
        self._file.write("verified", entry_id=entry.entry_id)
        self._copy.drop(entry)
        del self._entries[entry.entry_id]

    def _give_up(self, entry: Entry, error: Exception, record: Callable[[Record], None]) -> Residue:
        detail = error.message if isinstance(error, BulletproofError) else f"{error or type(error).__name__}"
        self._file.write("failed", entry_id=entry.entry_id, detail=detail)
        record(_step("failed", entry, detail))
        commands = [interpreter.command(op, self._cluster.context) for op in entry.ops]
        return Residue(
            entry_id=entry.entry_id,
            fault_id=entry.fault_id,
            what=entry.what,
            detail=detail,
            command="\n  ".join(text for text in commands if text),
        )

    def _leave_cluster(self) -> list[Residue]:
        try:
            if not self._entries:
                self._copy.remove()
            self._lease.release()
        except (Unreachable, Refused) as error:
            return [
                Residue(
                    entry_id="journal",
                    fault_id="",
                    what="remove the journal from the cluster",
                    detail=error.message,
                    command=f"kubectl delete configmap {self._copy.name} -n {self.namespace}",
                )
            ]
        return []


def _may_pass(error: Exception) -> bool:
    """Whether another try may succeed: the server is away or busy, or somebody came between."""
    return not isinstance(error, Refused) or error.code in (404, 409, 422, 429) or error.code >= 500


def _step(step: str, entry: Entry, detail: str) -> UndoStep:
    return UndoStep(
        t_ns=time.monotonic_ns(), step=step, entry_id=entry.entry_id, fault_id=entry.fault_id, detail=detail
    )
