"""The kind provider against stand-ins of kind and docker that check what they are asked, and a real API behind them.

What stands behind is a sandbox without GPUs whose kubeconfig the stand-in hands out as kind would. No kind cluster has
been met by these tests: docs/clusters.md says what has.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from clusters import programs
from clusters.api import Api
from clusters.kind import KindProvider, gpus
from clusters.provider import IMAGE, ClusterError, node_commands, provider_for
from clusters.reference import qualified
from clusters.sandbox import client as sandboxes

STANDIN = Path(__file__).with_name("kind_standin.py")
ROOT = Path(__file__).parents[2]
COPY = "registry.example/team/platform:7"


@pytest.fixture(scope="module")
def behind(tmp_path_factory):
    """The API behind the stand-in: three nodes without GPUs, which know the platform's image by a user's name too."""
    folder = tmp_path_factory.mktemp("behind") / "sandbox"
    images = folder.with_name("images.yaml")
    shipped = (ROOT / "clusters" / "platform" / "images.yaml").read_text()
    images.write_text(shipped.replace(IMAGE, COPY))
    yield sandboxes.start(folder, nodes=3, gpus=0, arguments=("--images", str(images)))
    sandboxes.stop(folder)


@dataclass
class Machine:
    """A machine with kind and a container engine on it."""

    home: Path
    api: Api

    def calls(self, *words: str) -> list[list[str]]:
        """What the programs were asked, of the commands that begin with these words."""
        path = self.home / "calls.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return [call for call in map(json.loads, lines) if call[: len(words)] == list(words)]

    def state(self) -> dict[str, Any]:
        path = self.home / "state.json"
        empty = {"clusters": [], "containers": {}, "images": [], "loaded": []}
        return empty | (json.loads(path.read_text()) if path.exists() else {})

    def has(self, **changes: Any) -> None:
        (self.home / "state.json").write_text(json.dumps(self.state() | changes))

    def has_cluster(self, name: str) -> None:
        """Somebody made a kind cluster of that name."""
        container = {"id": os.urandom(8).hex(), "cluster": name, "state": "running"}
        state = self.state()
        clusters = list(dict.fromkeys([*state["clusters"], name]))
        self.has(clusters=clusters, containers=state["containers"] | {f"{name}-control-plane": container})

    def fails(self, what: str, output: str, code: int = 1) -> None:
        (self.home / "fail.json").write_text(json.dumps({what: [code, output]}))

    def amounts(self) -> set[tuple[str | None, str | None]]:
        """GPUs of the nodes: (capacity, allocatable)."""
        statuses = [node["status"] for node in self.api.items("/api/v1/nodes")]
        return {(each["capacity"].get(gpus.GPU), each["allocatable"].get(gpus.GPU)) for each in statuses}


@pytest.fixture
def machine(behind, tmp_path, monkeypatch):
    """kind, docker and podman are on PATH, nothing is made yet, and the nodes have no GPUs."""
    home, path = tmp_path / "standin", tmp_path / "bin"
    home.mkdir()
    path.mkdir()
    shutil.copy(behind.kubeconfig, home / "kubeconfig")
    for tool in ("kind", "docker", "podman"):
        program = path / tool
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "{STANDIN}" {tool} "$@"\n')
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{path}:/usr/bin:/bin")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("STANDIN", str(home))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv(programs.ENGINE, raising=False)
    api = Api.connect(behind.kubeconfig, behind.context)
    gpus.offer(api, [node["metadata"]["name"] for node in api.items("/api/v1/nodes")], 0)
    return Machine(home, api)


@pytest.fixture
def kind(machine):
    """A provider; what it keeps running ends with the test."""
    made: list[KindProvider] = []

    def provider(name: str | None = None) -> KindProvider:
        made.append(KindProvider(name))
        return made[-1]

    yield provider
    for each in made:
        if each._keeper is not None:
            each._keeper.stop()


def test_a_cluster_is_made_of_the_shipped_configuration(machine, kind, tmp_path):
    """Three workers, a kubeconfig of its own, and nothing of the user's is written to."""
    access = kind().up()

    own = tmp_path / "state" / "bulletproof" / "kind" / "bulletproof" / "kubeconfig"
    config = str(ROOT / "clusters" / "kind" / "cluster.yaml")
    (asked,) = machine.calls("kind", "create")
    assert asked[3:] == ["--name", "bulletproof", "--config", config, "--wait", "180s", "--kubeconfig", str(own)]
    assert sorted(machine.state()["containers"]) == [
        "bulletproof-control-plane",
        "bulletproof-worker",
        "bulletproof-worker2",
        "bulletproof-worker3",
    ]
    assert (access.name, access.context, access.kubeconfig) == ("kind", "kind-bulletproof", own)
    assert (access.ephemeral, access.disposable, access.default_platform) == (False, True, "healthy")
    assert {"pods", "services", "gpu", "nodes", "eviction", "deployments", "pod-proxy"} <= access.offers
    assert machine.amounts() == {("2", "2")}


def test_one_that_is_there_is_used_again(machine, kind):
    """Also by another process; GPUs that are there are not counted anew."""
    first = kind("dev").up()

    second = kind("dev").up()

    assert first == second
    assert second.disposable
    assert len(machine.calls("kind", "create")) == 1
    assert machine.amounts() == {("2", "2")}


def test_down_leaves_nothing_of_ours(machine, kind, tmp_path):
    """A paused node does not keep it from being removed."""
    kind("dev").up()
    subprocess.run(
        [sys.executable, "-m", "clusters.kind", "stop", "dev", "dev-worker2"], check=True, capture_output=True
    )

    ended = kind("dev").down()

    assert ended
    assert machine.state()["clusters"] == []
    assert machine.state()["containers"] == {}
    assert not (tmp_path / "state" / "bulletproof" / "kind" / "dev").exists()
    assert kind("dev").status()["exists"] is False


def test_a_name_is_no_proof_that_a_cluster_is_ours(machine, kind):
    """Ours was deleted by hand, and somebody made one of the same name."""
    kind("dev").up()
    machine.has_cluster("dev")

    assert kind("dev").status()["ours"] is False
    assert kind("dev").down() is False
    assert machine.state()["clusters"] == ["dev"]


def test_the_platform_is_deployed_and_reached_by_the_control_plane_s_port(machine, kind):
    """The image goes from the engine into the nodes by the user's name for it; node ports are those of the config."""
    machine.has(images=[qualified(COPY)])
    provider = kind()
    access = provider.up()
    told: list[str] = []

    provider.deploy(access, "healthy", told.append, COPY)
    host, port = provider.load_endpoint(access, "inference", "detector", "http")

    assert f"loading image {COPY} into the nodes" in told
    assert machine.calls("kind", "load") == [["kind", "load", "docker-image", COPY, "--name", "bulletproof"]]
    service = machine.api.request("GET", "/api/v1/namespaces/inference/services/detector")
    assert [each["nodePort"] for each in service["spec"]["ports"]] == [30800, 30801]
    assert (host, port) == (service["spec"]["clusterIP"], 8000)
    pods = machine.api.items("/api/v1/namespaces/inference/pods", "app=detector")
    assert {pod["spec"]["containers"][0]["image"] for pod in pods} == {COPY}
    with pytest.raises(ClusterError, match=r"No way from here to Service default/kubernetes"):
        provider.load_endpoint(access, "default", "kubernetes", "https")


def test_somebody_else_s_cluster_is_used_and_stays(machine, kind):
    """Nothing is deployed there unasked, and what we gave its nodes is taken back."""
    machine.has_cluster("theirs")
    machine.has(images=[qualified(COPY)])
    provider = kind("theirs")

    access = provider.up()
    before = machine.amounts()
    provider.deploy(access, "healthy", lambda _: None, COPY)
    during = machine.amounts()
    ended = provider.down()

    assert (access.default_platform, access.disposable) == (None, False)
    assert (before, during, machine.amounts()) == ({(None, None)}, {("2", "2")}, {(None, None)})
    assert ended is False
    assert machine.state()["clusters"] == ["theirs"]
    assert machine.calls("kind", "create") == machine.calls("kind", "delete") == []


def test_an_image_that_is_not_on_this_machine_is_told_before_anything_is_deployed(machine, kind):
    provider = kind()
    access = provider.up()

    with pytest.raises(ClusterError) as refusal:
        provider.deploy(access, "healthy", lambda _: None)

    assert refusal.value.message == "docker has no image docker.io/bulletproof/reference-server:1."
    assert "cluster image build" in refusal.value.hint
    assert machine.calls("kind", "load") == []


def test_with_podman_images_go_by_an_archive(machine, kind, monkeypatch):
    """kind load docker-image asks docker, whatever the engine is; and podman alone would call it localhost/…"""
    monkeypatch.setenv(programs.ENGINE, "podman")
    name = "docker.io/bulletproof/reference-server:1"
    machine.has(images=[name])
    provider = kind()
    provider.up()

    provider._load_image(IMAGE)

    assert machine.state()["loaded"] == [name]
    assert machine.calls("docker") == []
    assert machine.calls("kind", "load")[0][2] == "image-archive"


def test_without_kind_s_variable_the_installed_engine_is_taken(machine, kind):
    (machine.home.parent / "bin" / "docker").unlink()

    kind().up()

    assert machine.calls("podman", "ps")
    assert kind().status()["engine"] == "podman"


@pytest.mark.parametrize(
    ("what", "output", "said"),
    [
        ("docker ps", "Cannot connect to the Docker daemon. Is it running?", "docker does not answer."),
        ("kind get clusters", "ERROR: failed to list clusters", "`kind get clusters` ended with 1"),
        ("kind create cluster", "ERROR: could not find a log line", "`kind create cluster --name bulletproof"),
        ("kind create cluster, in the middle", "kubeadm init failed", "`kind create cluster --name bulletproof"),
    ],
)
def test_what_a_program_says_is_shown(machine, kind, what, output, said):
    """And nothing half made is left."""
    machine.fails(what, output)

    with pytest.raises(ClusterError) as refusal:
        kind().up()

    assert said in refusal.value.message
    assert output in refusal.value.message
    (machine.home / "fail.json").unlink()
    assert kind().status()["running"] is False
    # kind removes what it could not make ready; the stand-in leaves it, as one that dies would.
    assert machine.state()["clusters"] == []


def test_a_program_that_is_not_there_is_named(machine, kind):
    (machine.home.parent / "bin" / "kind").unlink()

    with pytest.raises(ClusterError, match="kind is not installed") as refusal:
        kind().up()

    assert "kind.sigs.k8s.io" in refusal.value.hint
    assert "kind is not installed" in kind().status()["reason"]


def test_an_engine_that_is_not_known_is_refused(machine, kind, monkeypatch):
    monkeypatch.setenv(programs.ENGINE, "nerdctl")

    with pytest.raises(ClusterError, match='"nerdctl" is no container engine here'):
        kind().up()


def test_a_cluster_that_somebody_makes_meanwhile_is_theirs(machine, kind):
    """kind refuses the name; what is there by it is not removed."""
    machine.fails("kind create cluster", 'node(s) already exist for a cluster with the name "bulletproof"')

    with pytest.raises(ClusterError, match="already exist"):
        kind().up()

    assert machine.calls("kind", "delete") == []


def test_what_was_being_made_when_we_were_killed_is_ours(machine, kind, tmp_path):
    """Its container is written down while kind works; `down` removes it."""
    (machine.home / "slow").touch()
    code = "from clusters.provider import provider_for; provider_for('kind').up()"
    running = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    mark = tmp_path / "state" / "bulletproof" / "kind" / "bulletproof" / "cluster.json"
    try:
        deadline = time.monotonic() + 60
        while not (mark.exists() and json.loads(mark.read_text())["made"]):
            assert time.monotonic() < deadline, "the container was not written down"
            time.sleep(0.05)
    finally:
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()

    status = kind().status()
    ended = kind().down()

    assert (status["exists"], status["ours"]) == (True, True)
    assert ended
    assert machine.state()["clusters"] == []


def test_nodes_are_paused_and_run_on(machine, kind):
    """Twice is as good as once: an undo may come again."""
    kind("dev").up()

    def switch(act: str, node: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "clusters.kind", act, "dev", node]
        return subprocess.run(command, capture_output=True, text=True)

    def state() -> str:
        return str(machine.state()["containers"]["dev-worker2"]["state"])

    seen = [(switch(act, "dev-worker2").returncode, state()) for act in ("stop", "stop", "start", "start")]
    machine.has_cluster("other")
    foreign = switch("stop", "other-control-plane")

    assert seen == [(0, "paused"), (0, "paused"), (0, "running"), (0, "running")]
    assert foreign.returncode == 1
    assert "no node of the kind cluster dev" in foreign.stderr
    assert switch("stop", "nobody").returncode == 1
    assert switch("hold", "dev-worker2").returncode == 64


def test_the_commands_that_switch_nodes_come_with_the_kubeconfig(machine, kind, tmp_path):
    """For whoever has no provider at hand: `bulletproof recover --kubeconfig`, and plain `chaos run`."""
    access = kind("dev").up()
    other = tmp_path / "kubeconfig"
    other.write_bytes(access.kubeconfig.read_bytes())

    assert node_commands(access.kubeconfig, access.context) == access.node_commands
    assert access.node_commands.stop[-2:] == ("dev", "{node}")
    assert "node-stop" in access.offers
    assert node_commands(other, access.context) is None


def kubelet_started(api: Api, node: str, number: int, component: str = "kubelet") -> None:
    """The event that a kubelet writes at its start."""
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{node}.{component}.{number}", "namespace": "default"},
        "involvedObject": {"kind": "Node", "name": node, "uid": node},
        "reason": "Starting",
        "message": "Starting kubelet.",
        "type": "Normal",
        "source": {"component": component, "host": node},
    }
    api.request("POST", "/api/v1/namespaces/default/events", event)


def test_gpus_that_a_kubelet_s_start_dropped_are_offered_again(machine):
    """And only those: a GPU that goes missing while the kubelet runs is somebody's experiment."""
    names = [node["metadata"]["name"] for node in machine.api.items("/api/v1/nodes")]
    restarted, struck, proxied = names
    now = [0.0]
    gpus.offer(machine.api, names)
    kubelet_started(machine.api, struck, 1)  # long ago
    keeper = gpus.Keeper(machine.api, names, clock=lambda: now[0])
    seen = [keeper.look()]

    gpus.offer(machine.api, names, 0)
    seen.append(keeper.look())
    kubelet_started(machine.api, restarted, 2)
    kubelet_started(machine.api, proxied, 2, "kube-proxy")
    seen.append(keeper.look())
    gpus.offer(machine.api, names, 0)
    seen.append(keeper.look())  # it may drop them a little later, too
    gpus.offer(machine.api, names, 0)
    now[0] += gpus.WATCHED_S + 1
    seen.append(keeper.look())

    assert seen == [[], [], [restarted], [restarted], []]


def test_a_provider_keeps_the_gpus_while_it_lives(machine, kind, monkeypatch):
    monkeypatch.setattr(gpus, "POLL_S", 0.05)
    kind().up()
    (name, *_) = [node["metadata"]["name"] for node in machine.api.items("/api/v1/nodes")]

    kubelet_started(machine.api, name, 3)
    gpus.offer(machine.api, [name], 0)

    deadline = time.monotonic() + 60
    while machine.amounts() != {("2", "2")}:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_command_line_brings_it_up_and_down(machine):
    """As a user sees it, with the exit codes."""

    def bulletproof(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [
            sys.executable,
            "-c",
            "import sys; from harness.cli import main; sys.exit(main())",
            "cluster",
            *arguments,
        ]
        return subprocess.run(command, capture_output=True, text=True)

    before = bulletproof("status", "kind:dev")
    up = bulletproof("up", "kind:dev")
    there = bulletproof("status", "kind:dev", "--json")
    down = bulletproof("down", "kind:dev")
    again = bulletproof("down", "kind:dev")
    machine.has_cluster("theirs")
    theirs = bulletproof("down", "kind:theirs")
    machine.fails("kind get clusters", "no engine")
    unknown = bulletproof("down", "kind:dev")

    assert (before.returncode, up.returncode, there.returncode) == (2, 0, 0), up.stderr
    assert "kind:dev is up. It offers" in up.stdout
    assert json.loads(there.stdout)["ours"] is True
    assert (down.returncode, down.stdout) == (0, "kind:dev is down.\n")
    assert (again.returncode, again.stdout) == (0, "kind:dev is not running.\n")
    assert theirs.stdout == "kind:theirs was there before Bulletproof, and stays.\n"
    assert unknown.returncode == 2
    assert "no engine" in unknown.stderr


def test_kind_is_a_cluster_by_name():
    assert isinstance(provider_for("kind"), KindProvider)
    assert (provider_for("kind").cluster, provider_for("kind:dev").cluster) == ("bulletproof", "dev")
    with pytest.raises(ClusterError, match='"kind:" is no cluster'):
        provider_for("kind:")


@pytest.mark.parametrize(
    ("image", "whole"),
    [
        ("server", "docker.io/library/server"),
        ("bulletproof/server:1", "docker.io/bulletproof/server:1"),
        ("localhost/server:1", "localhost/server:1"),
        ("localhost:5000/server", "localhost:5000/server"),
        ("ghcr.io/team/server@sha256:12", "ghcr.io/team/server@sha256:12"),
    ],
)
def test_an_image_s_name_is_completed_as_a_kubelet_does(image, whole):
    assert qualified(image) == whole
