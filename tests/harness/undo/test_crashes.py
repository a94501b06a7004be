"""Whatever step the harness dies in, whoever finishes it finds everything that has to be put back, and nothing else."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.undo import journal_file, pointer
from harness.undo.entry import RUN_LABEL, DeleteCreated, Entry, Field, RestoreFields, mark_of
from harness.undo.journal import Journal
from harness.undo.recover_entries import DeadRun, from_folder, pending, take_over
from tests.harness.undo.memory import Crash, Fuse, MemoryCluster

RUN = "20261121-101112-gpu-pod-kill-3f2a"
NS = "inference"
NODES = ("gpu-1", "gpu-2")


@dataclass(frozen=True)
class Step:
    """What happens next: cordon NODE, create POD, swap the selector, undo the oldest, or an admin cordons NODE."""

    kind: str
    which: int = 0


steps = st.lists(
    st.one_of(
        st.builds(Step, st.just("cordon"), st.integers(0, 1)),
        st.builds(Step, st.just("create"), st.integers(0, 2)),
        st.builds(Step, st.just("swap")),
        st.builds(Step, st.just("undo-one")),
        st.builds(Step, st.just("admin-cordons"), st.integers(0, 1)),
        st.builds(Step, st.just("foreign-pod"), st.integers(0, 2)),
    ),
    min_size=1,
    max_size=7,
)


fuses: list[Fuse] = []


@pytest.fixture(scope="module", autouse=True)
def the_journal_file_burns_the_fuse_too():
    """A crash may come between the two journals as well."""
    write = journal_file.JournalFile.write

    def fused(self: journal_file.JournalFile, kind: str, **values: Any) -> None:
        with fuses[-1].step():
            write(self, kind, **values)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(journal_file.JournalFile, "write", fused)
        yield


class World:
    """The cluster, the run's folder, and what admins did on their own."""

    def __init__(self, folder: Path) -> None:
        self.fuse = Fuse()
        fuses[:] = [self.fuse]
        self.cluster = MemoryCluster(self.fuse)
        self.folder = folder
        for node in NODES:
            self.cluster.create("Node", {"metadata": {"name": node}, "spec": {"taints": []}})
        service = {"metadata": {"name": "detector"}, "spec": {"selector": {"app": "detector"}}}
        self.cluster.create("Service", service, NS)
        self.by_admin: dict[str, bool] = {}
        self.foreign: set[str] = set()
        self.journal: Journal | None = None
        self.count = 0

    def run(self, program: list[Step]) -> None:
        """As a run would: open, act step by step, undo, close."""
        self.journal = Journal.open(self.folder, self.cluster, NS, RUN)
        for step in program:
            self.take(step)
        assert not self.journal.undo_all(lambda record: None)
        assert not self.journal.close()

    def take(self, step: Step) -> None:
        assert self.journal is not None
        self.count += 1
        fault_id = f"fault-{self.count}"
        match step.kind:
            case "cordon":
                self._restore(fault_id, "Node", NODES[step.which], None, "/spec/unschedulable", True)
            case "swap":
                self._restore(fault_id, "Service", "detector", NS, "/spec/selector", {"proxy-for": "detector"})
            case "create":
                name = f"proxy-{step.which}"
                if self.cluster.get("Pod", name, NS) is None:
                    delete = DeleteCreated(kind="Pod", name=name, namespace=NS, run_id=RUN, within_s=0)
                    entry = Entry(entry_id=f"{fault_id}.x", fault_id=fault_id, what="gone", ops=(delete,))
                    self.journal.plan(entry)
                    self.cluster.create("Pod", {"metadata": {"name": name, "labels": {RUN_LABEL: RUN}}}, NS)
            case "undo-one":
                if self.journal.pending:
                    assert self.journal.undo(self.journal.pending[0].entry_id, lambda record: None) is None
            case "admin-cordons":
                self._by_others(lambda: self._admin_cordons(NODES[step.which]))
            case "foreign-pod":
                name = f"proxy-{step.which}"
                if self.cluster.get("Pod", name, NS) is None:
                    self._by_others(lambda: self.cluster.create("Pod", {"metadata": {"name": name}}, NS))
                    self.foreign.add(name)

    def _restore(self, fault_id: str, kind: str, name: str, namespace: str | None, at: str, value: Any) -> None:
        assert self.journal is not None
        current = self.cluster.get(kind, name, namespace)
        assert current is not None
        if any(key.startswith("bulletproof.dev/") for key in current["metadata"].get("annotations") or {}):
            return  # one fault at a time on one object
        op = RestoreFields(
            kind=kind,
            name=name,
            namespace=namespace,
            uid=current["metadata"]["uid"],
            fields=(Field(at=at, before=pointer.read(current, at), after=pointer.value(value)),),
            mark=mark_of(f"{fault_id}.x"),
            mark_value=RUN,
        )
        self.journal.plan(Entry(entry_id=f"{fault_id}.x", fault_id=fault_id, what="restored", ops=(op,)))
        self.cluster.patch(kind, name, namespace, op.forward(current))

    def _admin_cordons(self, node: str) -> None:
        """Where we have cordoned, an admin's cordon changes nothing and cannot be told from ours."""
        current = self.cluster.get("Node", node)
        assert current is not None
        if not current["spec"].get("unschedulable"):
            self.cluster.patch("Node", node, None, {"spec": {"unschedulable": True}})
            self.by_admin[node] = True

    def _by_others(self, act: Any) -> None:
        left, self.fuse.left = self.fuse.left, None
        act()
        self.fuse.left = left

    def die(self) -> None:
        """The process is gone; its lease expires."""
        self.fuse.left = None
        if self.journal is not None:
            self.journal._lease._stop.set()
            self.journal._file.close()
        self.cluster.time_passes(60)

    def recover(self, source: str, elsewhere: Path) -> None:
        """Finish it from the run's folder, or on another machine from the cluster alone."""
        folder = self.folder if source == "folder" else elsewhere
        found = pending(self.cluster)
        dead: DeadRun | None = found[0] if found else None
        if dead is None and source == "folder":
            dead = from_folder(folder, RUN, NS)
        if dead is not None:
            self.journal = take_over(self.cluster, dead, folder)
            assert not self.journal.undo_all(lambda record: None)
            assert not self.journal.close()

    def assert_clean(self) -> None:
        """Everything is as it was, but for what others did."""
        for node in NODES:
            found = self.cluster.objects["Node", None, node]
            assert found["spec"].get("unschedulable") == (True if self.by_admin.get(node) else None), node
            assert not found["metadata"].get("annotations"), node
        assert self.cluster.objects["Service", NS, "detector"]["spec"]["selector"] == {"app": "detector"}
        pods = {key[2] for key in self.cluster.objects if key[0] == "Pod"}
        assert pods == self.foreign
        assert not [key for key in self.cluster.objects if key[0] in ("ConfigMap", "Lease")]


@pytest.fixture(scope="module")
def folders():
    """Fresh folders for each example of hypothesis."""
    made: list[Path] = []

    def fresh() -> Path:
        made.append(Path(tempfile.mkdtemp(prefix="journal-")))
        return made[-1]

    yield fresh
    for folder in made:
        shutil.rmtree(folder)


def _cut(folder: Path, characters: int) -> None:
    """The last line was being written when the machine lost its power."""
    path = folder / journal_file.NAME
    if path.exists():
        lines = path.read_bytes().splitlines(keepends=True)
        if lines and lines[-1].endswith(b"\n"):
            lines[-1] = lines[-1][: max(0, len(lines[-1]) - 1 - characters % len(lines[-1]))]
            path.write_bytes(b"".join(lines))


@settings(max_examples=250, deadline=None)
@given(
    program=steps,
    dies_at=st.integers(0, 40),
    after_effect=st.booleans(),
    source=st.sampled_from(["folder", "cluster"]),
    dies_again_at=st.none() | st.integers(0, 12),
    second_source=st.sampled_from(["folder", "cluster"]),
)
def test_a_run_that_died_anywhere_is_finished_from_its_folder_or_from_the_cluster_alone(
    folders, program, dies_at, after_effect, source, dies_again_at, second_source
):
    """Also when the recovery itself dies anywhere, and somebody else recovers after it."""
    world = World(folders())
    world.fuse.left, world.fuse.after_effect = dies_at, after_effect
    try:
        world.run(program)
    except Crash:
        world.die()

    world.fuse.left = dies_again_at
    elsewhere = folders()
    try:
        world.recover(source, elsewhere)
    except Crash:
        world.die()
    world.fuse.left = None
    world.recover(second_source, elsewhere)

    # A run that died between its lease and its journal leaves the lease, which expires and is taken by the next.
    world.cluster.time_passes(60)
    Journal.open(folders(), world.cluster, NS, "the-next-run").close()
    world.assert_clean()


@settings(max_examples=60, deadline=None)
@given(program=steps, dies_at=st.integers(0, 25), characters=st.integers(0, 500))
def test_a_journal_whose_tail_was_cut_still_undoes_everything_with_the_cluster(folders, program, dies_at, characters):
    """The line that a power failure cut off is in the cluster, or its act never happened."""
    world = World(folders())
    world.fuse.left = dies_at
    try:
        world.run(program)
    except Crash:
        world.die()
        _cut(world.folder, characters)
    world.fuse.left = None

    world.recover("folder", folders())

    world.cluster.time_passes(60)
    Journal.open(folders(), world.cluster, NS, "the-next-run").close()
    world.assert_clean()


def test_what_cannot_be_undone_is_reported_and_stays_in_the_journal(tmp_path):
    """The others are undone all the same, and the next recover tries again."""
    world = World(tmp_path)
    world.journal = Journal.open(tmp_path, world.cluster, NS, RUN)
    world.take(Step("cordon", 0))
    world.take(Step("cordon", 1))
    world.take(Step("swap"))
    world.cluster.broken.add(("Node", "gpu-2"))

    residues = world.journal.undo_all(lambda record: None)
    world.journal.close()

    assert [residue.entry_id for residue in residues] == ["fault-2.x"]
    assert "kubectl --context memory uncordon gpu-2" in residues[0].command
    assert "unschedulable" not in world.cluster.objects["Node", None, "gpu-1"]["spec"]
    assert world.cluster.objects["Service", NS, "detector"]["spec"]["selector"] == {"app": "detector"}
    (dead,) = pending(world.cluster)
    assert list(dead.entries) == ["fault-2.x"]
    world.cluster.broken.clear()
    world.recover("cluster", tmp_path / "..")
    world.assert_clean()
