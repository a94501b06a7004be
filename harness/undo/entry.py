"""What an undo is: plain data, versioned, that any later Bulletproof can apply without the fault's own code.

The data also makes the act: `RestoreFields.forward` builds the patch that strikes from the very fields that the undo
will restore, so an act can never touch more than its undo covers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from harness.errors import InvalidRun
from harness.undo import pointer

FORMAT = 1

PREFIX = "bulletproof.dev/"
RUN_LABEL = "bulletproof.dev/run"  # on every object that a run makes: whose it is
LOAD_LABEL = PREFIX + "load"  # on the load's own pods: they stay until the load has ended
JOURNAL_LABEL = "bulletproof.dev/journal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One field of an object. A value is {"value": x} or {"absent": true}, as an absent field is not a null one."""

    at: str  # JSON pointer
    before: Mapping[str, Any]
    # What the act makes of it. None: not known ahead (a tool of the team's acts); then any change is taken for ours.
    after: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreFields:
    """The fields are again what they were, where they still are what we made of them.

    `mark` is an annotation that the act sets together with the fields, in one patch, and that the undo removes in one
    patch with them: it tells our cordon from an admin's, whoever came first.
    """

    op: str = "restore-fields"
    kind: str
    name: str
    namespace: str | None = None
    uid: str
    fields: tuple[Field, ...]
    mark: str = ""  # annotation; empty: somebody else acts for us and sets none
    mark_value: str = ""
    # Of a Deployment whose template is restored: seconds until no pod of another template may be left. 0: not asked.
    rollout_within_s: float = 0.0

    def forward(self, current: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The JSON patch of the act on the object as it is now. It fails when a field is no longer as recorded."""
        patch: list[dict[str, Any]] = []
        for each in self.fields:
            if each.after is None:
                raise ValueError(f"{each.at}: what the act makes of it is not known")
            patch += pointer.change(each.at, each.before, each.after)
        return patch + _set_mark(current, self.mark, self.mark_value)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteCreated:
    """An object that the run makes is gone, with its last trace. Only if it carries the run's label."""

    op: str = "delete-created"
    kind: str
    name: str
    namespace: str | None = None
    run_id: str
    within_s: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AwaitWithdrawn:
    """No new connection reaches the pods any more: gone from the Service's endpoints, and the proxies have followed."""

    op: str = "await-withdrawn"
    namespace: str
    service: str
    pods: tuple[str, ...]
    within_s: float = 30.0
    lag_s: float = 2.0  # kube-proxy follows endpoint changes within 1 to 2 s


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyOff:
    """The proxy adds no latency."""

    op: str = "latency-off"
    namespace: str
    pod: str
    port: int = 9901


@dataclass(frozen=True, slots=True, kw_only=True)
class StartNode:
    """The node's machine is on, and the node is Ready with the extended resources that it had.

    The command is that of the cluster's own configuration; `by_hand` is for people to read, and is never run.
    """

    op: str = "start-node"
    node: str
    words: Mapping[str, str]  # what is filled into the command, as far as the Node is gone by then
    by_hand: tuple[str, ...]
    extended: Mapping[str, str] = field(default_factory=dict)  # resource -> amount, before
    within_s: float = 180.0  # from the command until the node is as it was: clouds take a minute to boot


Op = RestoreFields | DeleteCreated | AwaitWithdrawn | LatencyOff | StartNode

_OPS: dict[str, type[Op]] = {
    "restore-fields": RestoreFields,
    "delete-created": DeleteCreated,
    "await-withdrawn": AwaitWithdrawn,
    "latency-off": LatencyOff,
    "start-node": StartNode,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """The undo of one act. `number` orders entries: the newest is undone first; the ops of one go in their order."""

    entry_id: str  # unique in the run: node-drain-1.cordon
    fault_id: str
    what: str  # for people: "uncordon node gpu-1"
    ops: tuple[Op, ...] = ()
    number: int = 0  # given by the journal
    extra: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As written in both journals."""
        return {"format": FORMAT, **asdict(self), "ops": [asdict(op) for op in self.ops]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Entry:
        """Raises InvalidRun for an entry of a later format or with an op that is not known here."""
        if data.get("format") != FORMAT:
            raise InvalidRun(
                f"undo entry {data.get('entry_id')} has format {data.get('format')}, this Bulletproof knows {FORMAT}",
                hint="recover with the version that ran the experiment, or newer",
            )
        return cls(
            entry_id=data["entry_id"],
            fault_id=data["fault_id"],
            what=data["what"],
            ops=tuple(_op_from_json(op) for op in data["ops"]),
            number=data["number"],
            extra=data.get("extra") or {},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Residue:
    """Something of a fault that is left, and the command that clears it."""

    entry_id: str
    fault_id: str
    what: str  # what the undo should have done
    detail: str  # why it could not
    command: str  # for a shell; may be several lines

    def __str__(self) -> str:
        return f"{self.entry_id}: {self.what}: {self.detail}\n  {self.command}"


def run_label(run_id: str) -> str:
    """The value of RUN_LABEL: a run id may be longer than a label can be."""
    if len(run_id) <= 63:
        return run_id
    return f"{run_id[:54]}-{hashlib.sha256(run_id.encode()).hexdigest()[:8]}"


def mark_of(entry_id: str) -> str:
    """The annotation that says: this change is ours, and not undone yet."""
    return f"{PREFIX}undo-{entry_id}"


def _op_from_json(data: Mapping[str, Any]) -> Op:
    kind = _OPS.get(data.get("op", ""))
    if kind is None:
        raise InvalidRun(
            f"the undo operation {data.get('op')!r} is not known",
            hint="recover with the version that ran the experiment, or newer",
        )
    values = dict(data)
    if kind is RestoreFields:
        values["fields"] = tuple(Field(**each) for each in values["fields"])
    if kind is AwaitWithdrawn:
        values["pods"] = tuple(values["pods"])
    if kind is StartNode:
        values["by_hand"] = tuple(values["by_hand"])
    return kind(**values)


def _set_mark(current: Mapping[str, Any], mark: str, value: str) -> list[dict[str, Any]]:
    if not mark:
        return []
    make_map = (
        [] if current["metadata"].get("annotations") else [{"op": "add", "path": "/metadata/annotations", "value": {}}]
    )
    return [*make_map, {"op": "add", "path": pointer.join("metadata", "annotations", mark), "value": value}]
