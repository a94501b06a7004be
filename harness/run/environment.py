"""run.json: what ran, where, with which versions, so that a report can be understood years later."""

from __future__ import annotations

import getpass
import importlib.metadata
import json
import os
import platform
import secrets
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import harness
from clusters.provider import Access
from harness.experiment.model import Experiment
from harness.history.records import FORMAT
from harness.kube import Cluster

PACKAGES = (
    "chaostoolkit-lib",
    "chaostoolkit-kubernetes",
    "kubernetes",
    "locust",
    "gevent",
    "tritonclient",
    "grpcio",
    "numpy",
    "pyarrow",
    "scipy",
)


def new_run_id(experiment: Experiment) -> str:
    """Sortable by time, tells the experiment, unique: `20261121-101112-gpu-pod-kill-3f2a`."""
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{Path(experiment.file).stem}-{secrets.token_hex(2)}"


def describe_run(run_id: str, experiment: Experiment, *, platform_name: str | None, command: str) -> dict[str, Any]:
    """The part of run.json that is known before the cluster is."""
    return {
        "format": FORMAT,
        "run_id": run_id,
        "bulletproof": harness.__version__,
        "experiment": Path(experiment.file).stem,
        "file": experiment.file,
        "platform": platform_name,
        "seed": experiment.bulletproof.load.seed,
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
        "git": _git_revision(Path(experiment.file).resolve().parent),
        "command": command,
        "user": _user(),
        "host": socket.gethostname(),
        "machine": {"cpus": os.cpu_count(), "kernel": platform.release()},
        "pid": os.getpid(),
        "started_wall_ns": time.time_ns(),
        "started_ns": time.monotonic_ns(),
    }


def describe_cluster(access: Access, cluster: Cluster, *, nodes: bool) -> dict[str, Any]:
    """The part of run.json that only the cluster can tell. `nodes`: the run may look at nodes."""
    return {
        "name": access.name,
        "provider": access.provider,
        "context": access.context,
        "kubeconfig": str(access.kubeconfig),
        "version": cluster.version(),
        "nodes": len(cluster.list("Node")) if nodes else None,
    }


def write_run(run_dir: Path, run: dict[str, Any]) -> None:
    """run.json is replaced in one step: a crash leaves the old one or the new one."""
    temporary = run_dir / ".run.json"
    temporary.write_text(json.dumps(run, indent=2) + "\n", encoding="utf-8")
    temporary.replace(run_dir / "run.json")


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git_revision(folder: Path) -> str | None:
    """Of the repository that holds the experiment file, with `-dirty` when it has changes; None outside of one."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12"],
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None


def _user() -> str | None:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's uid without a name
        return None
