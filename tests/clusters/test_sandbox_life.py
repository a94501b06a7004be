"""A sandbox's life: soon ready, found by others, and nothing left of it however it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import yaml
from conftest import wait_for

from clusters.sandbox import client as sandboxes
from clusters.sandbox import node
from clusters.sandbox.watchdog import MARK, members


def sandbox_id(folder):
    return json.loads((folder / "sandbox.json").read_text())["id"]


@pytest.fixture
def folder(tmp_path):
    """A sandbox's folder; whatever still runs in it ends with the test."""
    path = tmp_path / "life"
    yield path
    sandboxes.stop(path)


def test_it_is_found_used_and_stopped(folder):
    """start returns a running one, stop ends it and all that carries its mark."""
    running = sandboxes.start(folder, nodes=1)
    mark = sandbox_id(folder)
    config = yaml.safe_load(running.kubeconfig.read_text())

    assert config["current-context"] == running.context == "sandbox-life"
    assert running.kubeconfig.stat().st_mode & 0o077 == 0
    assert sandboxes.start(folder) == running
    assert sandboxes.info(folder) == running

    sandboxes.stop(folder)

    assert sandboxes.info(folder) is None
    assert members(mark) == []
    assert not running.kubeconfig.exists()


def test_a_folder_may_be_deeper_than_a_unix_address_is_long(tmp_path):
    """107 bytes; a CI system's state folder easily has more."""
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    try:
        sandboxes.start(deep, nodes=1)

        assert set(node.ask(deep, {"action": "status"})["nodes"]) == {"gpu-1"}
    finally:
        sandboxes.stop(deep)


def test_two_sandboxes_have_networks_of_their_own(folder, tmp_path):
    """Nothing is shared between them."""
    other = tmp_path / "other"
    try:
        first, second = sandboxes.start(folder, nodes=1), sandboxes.start(other, nodes=1)

        assert first.network != second.network
    finally:
        sandboxes.stop(other)


def test_named_sandboxes_live_in_the_state_folder(tmp_path, monkeypatch):
    """find sees them by name while they run."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    place = sandboxes.state_folder() / "dev"
    try:
        running = sandboxes.start(place, nodes=1)

        assert sandboxes.find("dev") == running
        assert sandboxes.find("none") is None
    finally:
        sandboxes.stop(place, remove=True)
    assert sandboxes.find("dev") is None
    assert not place.exists()


def test_after_sigkill_the_watchdog_ends_the_rest(folder):
    """A process with the mark, as a container is, dies with the sandbox."""
    running = sandboxes.start(folder, nodes=1)
    mark = sandbox_id(folder)
    stray = subprocess.Popen(["sleep", "600"], env=os.environ | {MARK: mark}, start_new_session=True)
    assert stray.pid in wait_for(lambda: members(mark), "marked process")

    os.kill(running.pid, signal.SIGKILL)

    assert stray.wait(timeout=10) == -signal.SIGKILL
    wait_for(lambda: not members(mark), "end of all marked processes")
    assert sandboxes.info(folder) is None


def test_it_ends_idle_once_its_owner_is_gone(folder):
    """With an owner that lives it stays, without one it ends after the idle time."""
    owner = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    running = sandboxes.start(folder, nodes=1, owner_pid=owner.pid, arguments=("--idle-exit", "1"))
    time.sleep(2.5)  # longer than the idle time: only the owner keeps it
    assert sandboxes.info(folder) == running

    owner.communicate(b"\n")

    wait_for(lambda: sandboxes.info(folder) is None, "end of the idle sandbox")


def test_a_sandbox_that_cannot_start_says_why(folder):
    """The error carries the end of its log."""
    with pytest.raises(sandboxes.SandboxError, match="unrecognized arguments: --no-such-option"):
        sandboxes.start(folder, arguments=("--no-such-option",))
