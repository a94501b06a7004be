"""The image of the platform: what goes into it, and how it is built. No engine here: a stand-in takes the order."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from clusters.platform.build import build, context
from clusters.programs import ENGINE
from clusters.provider import IMAGE, ClusterError
from clusters.reference import images, objects

ROOT = Path(__file__).parents[2]
STANDIN = Path(__file__).with_name("kind_standin.py")
PLATFORM = ROOT / "clusters" / "platform"

# Imports what runs in the image's containers, and prints where each module of ours came from.
CLOSURE = """
import sys
sys.path.insert(0, sys.argv[1])
from gevent import monkey
monkey.patch_all()
import clusters.platform.server.__main__, clusters.platform.proxy.__main__
import loadtests.__main__, loadtests.control
from loadtests.users import base, kserve_grpc, kserve_http
ours = [m for name, m in sys.modules.items() if name.split(".")[0] in ("clusters", "loadtests", "harness", "reports")]
print(*{m.__file__ for m in ours if m.__file__}, sep="\\n")
"""


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Stand-ins for docker and podman on PATH; returns their folder."""
    path, home = tmp_path / "bin", tmp_path / "standin"
    path.mkdir()
    home.mkdir()
    for tool in ("docker", "podman"):
        (path / tool).write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "{STANDIN}" {tool} "$@"\n')
        (path / tool).chmod(0o755)
    monkeypatch.setenv("PATH", f"{path}:/usr/bin:/bin")
    monkeypatch.setenv("STANDIN", str(home))
    for name in (ENGINE, "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST"):
        monkeypatch.delenv(name, raising=False)
    return home


def test_what_the_containerfile_copies_is_there_and_suffices(tmp_path):
    """Everything that the three programs import of ours comes from the image's own files."""
    context(tmp_path)

    text = (tmp_path / "clusters" / "platform" / "Containerfile").read_text()
    copied = [line.split()[1:-1] for line in text.splitlines() if line.startswith("COPY ") and "--from" not in line]
    assert all((tmp_path / source).exists() for sources in copied for source in sources)
    done = subprocess.run(
        [sys.executable, "-c", CLOSURE, str(tmp_path)], capture_output=True, text=True, cwd="/", check=True
    )
    loaded = done.stdout.split()
    assert len(loaded) > 20
    assert [path for path in loaded if not path.startswith(str(tmp_path))] == []


def test_the_image_holds_nothing_else(tmp_path):
    """No fault, no check, no test: what is not there cannot be run by whoever gets into the container."""
    context(tmp_path)

    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.glob("*/*")) == [
        "clusters/__init__.py",
        "clusters/platform",
        "harness/__init__.py",
        "harness/history",
        *sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("loadtests/*") if path.name != "__pycache__"),
    ]


def test_its_packages_are_the_project_s_own():
    """With the same lower bounds; protobuf comes with tritonclient and is named because the server imports it."""
    wanted = set((PLATFORM / "requirements.txt").read_text().splitlines())
    project = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"])

    assert {line for line in wanted if line[0] != "#"} - project == {"protobuf>=5"}


def test_its_versions_are_those_of_this_installation(tmp_path):
    import numpy

    context(tmp_path)

    lines = (tmp_path / "constraints.txt").read_text().splitlines()
    assert f"numpy=={numpy.__version__}" in lines
    assert not [line for line in lines if not re.fullmatch(r"[a-z0-9._-]+==\S+", line)]
    assert not [line for line in lines if line.startswith("bulletproof")]


@pytest.mark.parametrize(
    ("engine", "tag", "name"),
    [
        (None, None, "docker.io/bulletproof/reference-server:1"),
        ("podman", None, "docker.io/bulletproof/reference-server:1"),
        ("docker", "registry.example/team/platform:7", "registry.example/team/platform:7"),
    ],
)
def test_it_is_built_by_the_engine_under_its_whole_name(programs, monkeypatch, engine, tag, name):
    """An index of the user's own goes along by its variable's name; nothing of it is on the command line."""
    monkeypatch.setenv("PIP_INDEX_URL", "https://user:secret@index.example/simple")

    built = build(engine, tag, lambda _: None)

    (call,) = [json.loads(line) for line in (programs / "calls.jsonl").read_text().splitlines()]
    assert built == name
    assert call[:2] == [engine or "docker", "build"]
    assert call[4:8] == ["--tag", name, "--build-arg", "PIP_INDEX_URL"]
    assert json.loads((programs / "state.json").read_text())["images"] == [name]


def test_what_the_engine_says_is_shown(programs):
    (programs / "fail.json").write_text(json.dumps({"docker build": [125, "no space left on device"]}))

    with pytest.raises(ClusterError, match="no space left on device"):
        build("docker", None, lambda _: None)


def test_a_user_s_copy_takes_the_place_of_ours():
    """In every container of ours, whatever the platform."""
    assert images(objects("healthy", None)) == [IMAGE]
    assert images(objects("no-drain", "team/copy:2")) == ["team/copy:2"]
