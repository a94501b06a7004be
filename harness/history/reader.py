"""A run's folder becomes a `History`: everything that judging and reporting need, and nothing from anywhere else.

A reader copes with what a crash leaves behind. What is missing, cut off or unreadable is told in `damage`; only a
folder without a readable run.json or experiment.yaml is refused, because then nobody knows what was promised.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from harness.errors import FileErrors, InvalidRun
from harness.experiment.model import Experiment
from harness.history.arrows import read_requests
from harness.history.columns import Coded, Damage, Requests
from harness.history.records import FORMAT, TYPES, LoadState, Note, Phase, Record, Watched
from harness.history.writer import ACTIONS, CLOSED_WITH, CLUSTER, CUT_LINE

__all__ = ["Coded", "Damage", "History", "Requests"]


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What is known of one run, in memory."""

    run_dir: Path
    run: dict[str, Any]  # run.json
    experiment: Experiment  # from the folder's own copies
    plan: dict[str, Any] | None  # plan.json; None: the run ended before it was made
    requests: Requests
    actions: list[Record]  # in the order of writing
    watched: list[Watched]  # in the order of receiving
    damage: list[Damage]

    @property
    def problems(self) -> list[str]:
        """The damage, in words."""
        return [str(damage) for damage in self.damage]

    @staticmethod
    def read(run_dir: Path) -> History:
        """Everything of the folder. Raises InvalidRun where run.json or experiment.yaml is missing or wrong."""
        run_dir = Path(run_dir)
        run = _read_run(run_dir)
        experiment = _read_experiment(run_dir)
        damage: list[Damage] = []
        actions = _read_lines(run_dir / ACTIONS, damage)
        cluster = _read_lines(run_dir / CLUSTER, damage)
        watched = [record for record in cluster if isinstance(record, Watched)]
        damage += closing_damage(actions, len(cluster))
        actions = [record for record in actions if not isinstance(record, Watched)]
        requests, wrong = read_requests(run_dir)
        damage += wrong
        damage += arrival_damage(requests, actions)
        return History(
            run_dir=run_dir,
            run=run,
            experiment=experiment,
            plan=_read_plan(run_dir, damage),
            requests=requests,
            actions=actions,
            watched=watched,
            damage=damage,
        )


def closing_damage(actions: list[Record], cluster_lines: int) -> list[Damage]:
    """Whether the harness closed its history, and cluster.jsonl still has all its lines."""
    closed = [one.facts[CLOSED_WITH] for one in actions if isinstance(one, Note) and CLOSED_WITH in one.facts]
    if not closed:
        return [Damage(where=ACTIONS, kind="cut", what="was not closed: its writer died, or its tail is missing")]
    if closed[-1] != cluster_lines:
        what = f"has {cluster_lines} lines that can be read, {closed[-1]} were written"
        return [Damage(where=CLUSTER, kind="cut", what=what)]
    return []


def arrival_damage(requests: Requests, actions: list[Record]) -> list[Damage]:
    """Arrivals that are missing or there twice, against the schedule's own numbers and the load's own count."""
    import numpy as np

    damage: list[Damage] = []
    where = "requests-*.arrows"
    numbers = requests.arrival
    rising = bool((numbers[1:] > numbers[:-1]).all())
    if not rising:
        numbers = np.sort(numbers)
    if rising and len(numbers) and int(numbers[-1]) - int(numbers[0]) == len(numbers) - 1:
        steps = np.ones(0, dtype=np.int64)  # each is one more than the one before it
    else:
        steps = np.diff(numbers)
    twice = int((steps == 0).sum())
    if twice:
        first = int(numbers[:-1][steps == 0][0])
        damage.append(
            Damage(where=where, kind="arrivals", what=f"{twice} arrivals are there twice, first number {first}")
        )
    holes = steps[steps > 1] - 1
    if len(holes):
        first = int(numbers[:-1][steps > 1][0]) + 1
        what = f"{int(holes.sum())} arrivals of the schedule are missing, first number {first}"
        damage.append(Damage(where=where, kind="arrivals", what=what))
    counts = [one.arrivals for one in actions if isinstance(one, LoadState) and one.state == "done"]
    if counts and all(count is not None for count in counts):
        scheduled = sum(count for count in counts if count is not None)
        present = len(numbers) - twice
        if scheduled != present and not len(holes):
            what = f"{present} requests are there, {scheduled} were scheduled by the load's own count"
            damage.append(Damage(where=where, kind="arrivals", what=what))
        elif len(numbers) and int(numbers[0]) not in (0, 1):
            damage.append(Damage(where=where, kind="arrivals", what=f"the first arrival is number {int(numbers[0])}"))
    return damage


def _read_run(run_dir: Path) -> dict[str, Any]:
    path = run_dir / "run.json"
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        hint = "a run's folder holds run.json; `bulletproof list runs` knows where runs are"
        raise InvalidRun(f"{run_dir} is no run's folder: there is no run.json", hint=hint) from None
    except (OSError, ValueError) as error:
        raise InvalidRun(f"run.json cannot be read: {error}") from None
    if not isinstance(run, dict) or run.get("format") != FORMAT:
        found = run.get("format") if isinstance(run, dict) else None
        raise InvalidRun(f"run.json has format {found}; this Bulletproof reads format {FORMAT}")
    return run


def _read_experiment(run_dir: Path) -> Experiment:
    from harness.experiment.loader import load

    path = run_dir / "experiment.yaml"
    if not path.is_file():
        raise InvalidRun("the run's folder has no experiment.yaml: nobody knows what was promised")
    try:
        return load(path, recorded=True)
    except FileErrors as error:
        raise InvalidRun(f"the run's copy of its experiment cannot be read: {error}") from None


def _read_plan(run_dir: Path, damage: list[Damage]) -> dict[str, Any] | None:
    path = run_dir / "plan.json"
    try:
        plan = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        damage.append(Damage(where=path.name, kind="unreadable", what=f"cannot be read: {error}"))
        return None
    return plan if isinstance(plan, dict) else None


def _read_lines(path: Path, damage: list[Damage]) -> list[Record]:
    """The records of one file. Only its last line may be cut off, or one that a later writer has marked so."""
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        damage.append(Damage(where=path.name, kind="missing", what=f"cannot be read: {error.strerror}"))
        return []
    tail = lines.pop()
    records: list[Record] = []
    unread: int | None = None  # the line that could not be read, until the next one says whether that is forgiven
    for number, line in enumerate(lines, start=1):
        record = _read_line(line)
        if unread is not None:
            marked = isinstance(record, Note) and record.facts.get(CUT_LINE) is True
            kind, what = ("cut", "was cut off") if marked else ("unreadable", "cannot be read")
            damage.append(Damage(where=path.name, kind=kind, what=f"line {unread} {what}"))
        unread = number if record is None else None
        if record is not None:
            records.append(record)
    if unread is not None:
        damage.append(Damage(where=path.name, kind="unreadable", what=f"line {unread} cannot be read"))
    if tail:
        last = _read_line(tail)
        if last is None:
            damage.append(Damage(where=path.name, kind="cut", what="the last line is cut off"))
        else:
            records.append(last)
    return records


def _read_line(line: bytes) -> Record | None:
    """The record of a line; None where it is none. Fields that a later version added are left out."""
    try:
        body = json.loads(line)
        kind = TYPES[body["type"]]
        values = {field.name: body[field.name] for field in fields(kind) if field.name in body}
        if "phase" in values:
            values["phase"] = Phase(values["phase"])
        if "differences" in values:
            values["differences"] = tuple(str(one) for one in values["differences"])
        if not isinstance(values["t_ns"], int) or isinstance(values["t_ns"], bool):
            return None
        return kind(**values)
    except (ValueError, KeyError, TypeError):
        return None
