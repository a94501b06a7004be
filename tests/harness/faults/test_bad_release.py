"""The release command runs within its bounds, and the Deployment's template is afterwards what it was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from harness import faults
from harness.errors import Interrupted
from harness.faults import FaultError, _command
from harness.history.records import FaultStrike
from tests.harness.faults.conftest import NS, wait_ready, wait_until

SHIP = """
    import sys, time
    from pathlib import Path
    from harness.kube import Cluster

    kubeconfig, context, namespace, name, version, end = sys.argv[1:]
    cluster = Cluster.connect(Path(kubeconfig), context)
    path = "/spec/template/spec/containers/0/env/0"
    cluster.patch("Deployment", name, namespace, [{"op": "replace", "path": path + "/value", "value": version}])
    print("patched", flush=True)
    if end == "hang":
        time.sleep(600)
    sys.exit(int(end))
"""


def ship(tmp_path, end):
    """A release step without any care: it changes the version and ends as it is told."""
    script = tmp_path / "ship.py"
    script.write_text(textwrap.dedent(SHIP))
    words = ["{kubeconfig}", "{context}", "{namespace}", "{deployment}", "{version}", end]
    return ["python3", str(script), *words]


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    """The scripts of these tests use the harness's client."""
    monkeypatch.setenv("PYTHONPATH", str(Path.cwd()))


def template(cluster):
    return cluster.get("Deployment", "detector", NS)["spec"]["template"]


def injected(run):
    return next(each for each in run.records if isinstance(each, FaultStrike) and each.step == "injected")


def test_a_bad_version_that_stays_is_taken_back_by_the_undo(run, tmp_path):
    """Version 3 never gets ready: the rollout hangs, the release says "shipped" all the same."""
    cluster = run.context.cluster
    before = template(cluster)

    faults.bad_release(version="3", deployment="detector", namespace=NS, command=ship(tmp_path, "0"))

    strike = injected(run)
    assert (strike.facts["exit_code"], strike.facts["outcome"]) == (0, "shipped")
    assert 0 < strike.facts["took_ns"] < 60e9
    assert (strike.target, strike.facts["version"]) == ("deployment/detector", "3")
    assert run.evidence()["version-deployed"].seen is True
    assert "version-served" not in run.evidence()
    assert template(cluster) != before
    assert "patched" in (tmp_path / strike.facts["log"]).read_text()
    run.undo()
    assert template(cluster) == before
    assert {pod["spec"]["containers"][0]["env"][0]["value"] for pod in cluster.list("Pod", NS)} == {"1"}
    wait_ready(cluster)


def test_after_a_release_that_took_itself_back_the_undo_finds_nothing_to_do(run, tmp_path):
    """The reference platform's own release step notices a version that crashes, and exits 1."""
    before = template(run.context.cluster)

    faults.bad_release(version="2", serves=True)

    strike = injected(run)
    assert (strike.facts["exit_code"], strike.facts["outcome"]) == (1, "rolled back by the release itself")
    assert run.evidence()["version-deployed"].seen is True
    assert run.evidence()["version-served"].facts["version"] == "2"
    assert template(run.context.cluster) == before
    run.undo()
    wait_ready(run.context.cluster)


def test_what_somebody_else_ships_after_the_release_is_left_to_them(run, tmp_path):
    """Once the release has ended it is known what it made of the template; another one's work is not undone."""
    cluster = run.context.cluster
    before = template(cluster)
    faults.bad_release(version="3", command=ship(tmp_path, "0"))
    theirs = {"op": "add", "path": "/spec/template/metadata/annotations", "value": {"team": "hotfix"}}
    cluster.patch("Deployment", "detector", NS, [theirs])
    run.context.journal.undo_all(run.records.append)

    try:
        assert template(cluster)["metadata"]["annotations"] == {"team": "hotfix"}
        assert any("left as it is" in getattr(each, "detail", "") for each in run.records)
        assert run.picture.differences(cluster, settle_s=0) != []
    finally:
        cluster.patch("Deployment", "detector", NS, [{"op": "replace", "path": "/spec/template", "value": before}])
        wait_ready(cluster)


@pytest.mark.parametrize("how", ["interrupt", "deadline"])
def test_a_release_that_hangs_is_ended_with_its_children_and_undone(run, tmp_path, how):
    """By Ctrl-C or by its deadline; nothing of it goes on in the background."""
    before = template(run.context.cluster)
    log = tmp_path / "bad-release-1.log"
    if how == "interrupt":

        def stop() -> None:
            wait_until(lambda: log.exists() and "patched" in log.read_text())
            run.context.interrupted.set()

        threading.Thread(target=stop).start()

    with pytest.raises(Interrupted if how == "interrupt" else FaultError):
        faults.bad_release(version="3", command=ship(tmp_path, "hang"), deadline="60s" if how == "interrupt" else "12s")

    assert "patched" in log.read_text()
    assert not _processes(str(tmp_path / "ship.py"))
    run.undo()
    assert template(run.context.cluster) == before
    wait_ready(run.context.cluster)


def test_a_command_that_cannot_be_started_is_a_failed_fault(run):
    """And the reason is in the log."""
    with pytest.raises(FaultError, match="could not be started"):
        faults.bad_release(version="4", command=["no-such-command-anywhere"])

    assert run.strikes()[-1][0] == "failed"
    run.undo()


def test_a_deployment_that_is_not_there_is_refused_with_those_that_are(run):
    """Zero targets are an error."""
    with pytest.raises(FaultError, match="no Deployment chat") as refused:
        faults.bad_release(version="4", deployment="chat")

    assert "detector" in refused.value.hint


def test_a_command_does_not_outlive_a_harness_that_was_killed(tmp_path):
    """kill -9 of the one who started it: the tether ends the command and its children."""
    child = "import subprocess, sys; subprocess.run(['sleep', '{mark}'])"
    mark = f"{600 + os.getpid() / 1e7:.7f}"
    tether = _command.__file__.replace("_command.py", "_tether.py")
    harness = textwrap.dedent(f"""
        import subprocess, sys, time
        subprocess.Popen([sys.executable, "-I", {tether!r}, sys.executable, "-c", {child.format(mark=mark)!r}],
                         stdin=subprocess.PIPE, start_new_session=True)
        time.sleep(600)
    """)
    process = subprocess.Popen([sys.executable, "-c", harness])
    wait_until(lambda: _processes(mark))

    process.send_signal(signal.SIGKILL)
    process.wait()

    wait_until(lambda: not _processes(mark), within_s=8.0)


def _processes(mark):
    """Command lines of living processes that hold the mark, ours apart."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_text().split("\0")
        except OSError:
            continue
        if any(word.endswith(mark) for word in words) and process.name != str(os.getpid()):
            found.append(" ".join(words))
    return found
