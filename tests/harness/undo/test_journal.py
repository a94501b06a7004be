"""One run per cluster, an undo before every act, and files that can be read however they end."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from harness.errors import InvalidRun
from harness.kube import Refused, Unreachable
from harness.undo import journal_file, lease
from harness.undo.entry import RUN_LABEL, DeleteCreated, Entry
from harness.undo.holder import Holder
from harness.undo.journal import Journal
from harness.undo.recover_entries import is_of, pending, take_over
from tests.harness.undo.memory import Fuse, MemoryCluster

NS = "inference"


@pytest.fixture
def cluster():
    return MemoryCluster(Fuse())


@pytest.fixture
def journal(cluster, tmp_path):
    opened = Journal.open(tmp_path, cluster, NS, "run-1")
    yield opened
    opened.close()


def entry(name="a", *ops):
    return Entry(entry_id=f"{name}.undo", fault_id=name, what=f"undo {name}", ops=ops)


def made(name):
    return {"metadata": {"name": name, "labels": {RUN_LABEL: "run-1"}}}


def delete(name):
    return DeleteCreated(kind="Pod", name=name, namespace=NS, run_id="run-1", within_s=0)


def test_a_planned_undo_is_on_the_disk_and_in_the_cluster(journal, cluster, tmp_path):
    """Both copies hold the same data; a verified one is in neither."""
    journal.plan(entry("a", delete("p")))

    (config_map,) = cluster.list("ConfigMap", NS, "bulletproof.dev/journal=true")
    in_cluster = json.loads(config_map["data"]["0001.a.undo"])
    assert journal_file.read(tmp_path).pending == {"a.undo": in_cluster}

    assert journal.undo_all(lambda record: None) == []
    assert journal_file.read(tmp_path).pending == {}
    (config_map,) = cluster.list("ConfigMap", NS)
    assert list(config_map["data"]) == ["holder"]


def test_the_load_is_not_undone_before_its_time(journal, cluster):
    """It goes on after the fault is undone, to see that the platform is well; a recovery undoes all there is."""
    for name in ("load", "a"):
        cluster.create("Pod", made(name), NS)
        journal.plan(entry(name, delete(name)))

    assert journal.undo_all(lambda record: None, but="load.undo") == []
    assert [pod["metadata"]["name"] for pod in cluster.list("Pod", NS)] == ["load"]
    assert journal.undo("load.undo", lambda record: None) is None
    assert cluster.list("Pod", NS) == []


def test_nothing_may_be_struck_when_the_undo_cannot_be_written(journal, cluster):
    """plan raises, and the caller does not act."""
    cluster.broken.add(("ConfigMap", "bulletproof-journal-run-1"))

    with pytest.raises(Refused):
        journal.plan(entry())

    cluster.broken.clear()


def test_the_newest_is_undone_first(journal, cluster):
    """As with a stack of plates: what was put in the path last goes first."""
    order = []
    journal.plan(entry("first"))
    journal.plan(entry("second"))

    journal.undo_all(lambda record: order.append((record.entry_id, record.step)))

    assert [name for name, step in order if step == "verified"] == ["second.undo", "first.undo"]
    assert [step for name, step in order if name == "first.undo"] == ["begin", "applied", "verified"]


def test_an_api_server_that_is_briefly_away_is_waited_for(journal, cluster, monkeypatch):
    """Seconds of absence leave no residue."""
    cluster.create("Pod", made("p"), NS)
    journal.plan(entry("a", delete("p")))
    get, failures = cluster.get, iter(range(4))

    def away(*arguments):
        if next(failures, None) is not None:
            raise Unreachable("away")
        return get(*arguments)

    monkeypatch.setattr(cluster, "get", away)

    assert journal.undo_all(lambda record: None) == []
    assert cluster.list("Pod", NS) == []


def test_an_api_server_that_stays_away_is_given_up_with_every_entry_named(journal, cluster, monkeypatch):
    """Within bounds, and each with the command that clears it."""
    for name in ("a", "b"):
        journal.plan(entry(name, delete(name)))
    monkeypatch.setattr("harness.undo.journal.PATIENCE_S", 0.3)
    monkeypatch.setattr("harness.undo.journal.LEAST_PATIENCE_S", 0.1)
    with monkeypatch.context() as away:
        away.setattr(cluster, "get", lambda *_: (_ for _ in ()).throw(Unreachable("away")))

        residues = journal.undo_all(lambda record: None)

    assert [(each.entry_id, each.command) for each in residues] == [
        ("b.undo", "kubectl --context memory delete pod b -n inference"),
        ("a.undo", "kubectl --context memory delete pod a -n inference"),
    ]
    assert journal.undo_all(lambda record: None) == []


def test_a_second_run_is_refused_while_the_first_lives(journal, cluster, tmp_path):
    """And says who has the cluster."""
    with pytest.raises(lease.LeaseHeld, match=r"run run-1 .* is under way"):
        Journal.open(tmp_path / "..", cluster, NS, "run-2")

    assert pending(cluster) == []


def test_a_new_run_is_refused_while_a_dead_one_has_left_its_undo(cluster, tmp_path):
    """A fault on top of an old one proves nothing; after recover the way is free."""
    dead = Journal.open(tmp_path, cluster, NS, "run-1")
    cluster.create("Pod", made("p"), NS)
    dead.plan(entry("a", delete("p")))
    dead._lease._stop.set()
    cluster.time_passes(60)

    with pytest.raises(InvalidRun, match="run-1 ended without its undo: 1 entries"):
        Journal.open(tmp_path, cluster, NS, "run-2")

    (found,) = pending(cluster)
    with take_over(cluster, found, tmp_path) as taken:
        assert taken.undo_all(lambda record: None) == []
    assert cluster.list("Pod", NS) == []
    assert cluster.list("ConfigMap", NS) == []
    Journal.open(tmp_path, cluster, NS, "run-2").close()


def test_another_runs_folder_at_the_same_path_says_nothing_of_this_one(cluster, tmp_path):
    """All machines of a CI have the same paths, all runs an entry "a.undo": what is verified there is not here."""
    dead = Journal.open(tmp_path, cluster, NS, "run-1")
    cluster.create("Pod", made("p"), NS)
    dead.plan(entry("a", delete("p")))
    dead._lease._stop.set()
    cluster.time_passes(60)
    (tmp_path / journal_file.NAME).unlink()
    with Journal.open(tmp_path, MemoryCluster(Fuse()), NS, "run-2") as other:
        other.plan(entry("a"))
        assert other.undo_all(lambda record: None) == []

    (found,) = pending(cluster)

    assert found.run_dir is None
    with pytest.raises(InvalidRun, match="is the folder of another run than run-1"):
        take_over(cluster, found, tmp_path)
    (tmp_path / "elsewhere").mkdir()
    with take_over(cluster, found, tmp_path / "elsewhere") as taken:
        assert taken.undo_all(lambda record: None) == []
    assert cluster.list("Pod", NS) == []


def test_a_folder_that_was_given_to_another_run_is_not_the_dead_ones(tmp_path):
    """Its run.json says so, also when that one never got as far as a journal."""
    (tmp_path / "run.json").write_text('{"run_id": "run-2"}')

    assert is_of(tmp_path, "run-2")
    assert not is_of(tmp_path, "run-1")


def test_a_run_whose_lease_was_taken_strikes_no_more(cluster, tmp_path):
    """It was silent for so long that somebody has recovered it."""
    slept = Journal.open(tmp_path, cluster, NS, "run-1")
    cluster.time_passes(60)
    other = replace(Holder.here("run-1", tmp_path, NS), pid=1, started="then")
    lease.RunLease(cluster, other).acquire()
    slept._lease._renewed = 0.0

    with pytest.raises(InvalidRun, match="lease of this run was taken"):
        slept.plan(entry())
    with pytest.raises(InvalidRun, match="lease of this run was taken"):
        slept.refuse_lost()

    slept.close()
    assert cluster.list("Lease", "default") != []


def test_a_run_that_was_recovered_and_given_back_is_lost_too(cluster, tmp_path):
    """Recover undoes, and takes its own lease away: a new one would hide that the fault ended long before the run."""
    slept = Journal.open(tmp_path, cluster, NS, "run-1")
    cluster.delete("Lease", lease.NAME, lease.NAMESPACE)
    slept._lease._renewed = 0.0

    with pytest.raises(InvalidRun, match="lease of this run was taken"):
        slept.plan(entry())

    assert cluster.list("Lease", "default") == []
    slept.close()


def test_two_recoveries_do_not_meet(cluster, tmp_path):
    """The second is told that the first is at it."""
    dead = Journal.open(tmp_path, cluster, NS, "run-1")
    dead._lease._stop.set()
    cluster.time_passes(60)
    (found,) = pending(cluster)
    first = take_over(cluster, found, tmp_path)
    other = replace(Holder.here("run-1", tmp_path, NS), pid=1)

    with pytest.raises(lease.LeaseHeld):
        lease.RunLease(cluster, other).acquire()

    first.close()


def test_a_holder_is_gone_when_its_process_is(tmp_path):
    """On the same machine nobody waits for the lease; elsewhere a pid says nothing."""
    here = Holder.here("run-1", tmp_path, NS)

    assert not here.is_gone()
    assert replace(here, started="1").is_gone()
    assert not replace(here, machine="another", started="1").is_gone()


def test_the_journal_stays_in_the_cluster_when_something_is_left(cluster, tmp_path):
    """close gives the cluster free, and keeps what recover needs."""
    opened = Journal.open(tmp_path, cluster, NS, "run-1")
    cluster.create("Pod", made("p"), NS)
    opened.plan(entry("a", delete("p")))
    cluster.broken.add(("Pod", "p"))
    assert len(opened.undo_all(lambda record: None)) == 1

    opened.close()

    assert cluster.list("Lease", "default") == []
    assert [dead.run_id for dead in pending(cluster)] == ["run-1"]


def test_a_line_that_was_cut_off_is_dropped_and_does_not_swallow_the_next(tmp_path):
    """The file is opened again by whoever recovers."""
    first = journal_file.JournalFile(tmp_path)
    first.write("plan", entry={"entry_id": "a"})
    first.close()
    path = tmp_path / journal_file.NAME
    path.write_bytes(path.read_bytes() + b'{"type":"plan","entry":{"entry_')

    assert list(journal_file.read(tmp_path).pending) == ["a"]
    assert journal_file.read(tmp_path).problems == []
    again = journal_file.JournalFile(tmp_path)
    again.write("verified", entry_id="a")
    again.close()

    read = journal_file.read(tmp_path)
    assert read.pending == {}
    assert len(read.problems) == 1


def test_a_run_id_becomes_a_name_that_kubernetes_takes(cluster, tmp_path):
    """Experiment files may be named in capitals and underscores, and long."""
    run_id = "20261121-101112-My_GPU_Test-3f2a"

    opened = Journal.open(tmp_path, cluster, NS, run_id)

    assert cluster.get("ConfigMap", "bulletproof-journal-20261121-101112-my-gpu-test-3f2a", NS) is not None
    opened.close()
    assert cluster.list("ConfigMap", NS) == []
