"""The end of a fault, in order: the experiment's own rollbacks, the undo journal, the look at what is left."""

from __future__ import annotations

import threading
import time
from typing import Any

from harness.errors import BulletproofError, Interrupted
from harness.experiment.model import Experiment
from harness.history.records import LOAD_UNDO
from harness.run.account import Account
from harness.run.method import Activities
from harness.run.offering import ROLLBACKS_LIMIT_S
from harness.run.picture import record_differences


def roll_back(
    experiment: Experiment,
    context: Any,
    journal: Any,
    cluster: Any,
    picture: Any,
    account: Account,
    residues: list[str],
) -> None:
    """A failure of one step never stops the next. What is left behind stands in `residues` as soon as it is known."""
    # The undo must not be stopped by the signal that caused it.
    calm = threading.Event()
    context.interrupted = calm
    context.deadline_ns = time.monotonic_ns() + int(ROLLBACKS_LIMIT_S * 1e9)
    try:
        Activities(experiment, account.record, calm).run("rollbacks", ROLLBACKS_LIMIT_S, lambda: None)
    except (Exception, Interrupted) as error:  # noqa: BLE001 - whatever a foreign rollback raises, ours must follow
        account.note(f"the experiment's rollbacks did not end well: {error}", "warning")
    residues += [str(residue) for residue in journal.undo_all(account.record, but=LOAD_UNDO)]
    for residue in residues:
        account.progress.note(f"LEFT BEHIND: {residue}")
    try:
        record_differences(picture, cluster, account.record)
    except BulletproofError as error:
        # No "after" picture: the judge says RESIDUE or INVALID, never clean.
        account.note(f"the cluster could not be compared with the picture taken before: {error}", "warning")
