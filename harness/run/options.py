"""What a run is told, and what it hands back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from clusters.provider import DEFAULT_CLUSTER
from harness.verdict import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What the command line says about a run, beside the experiment."""

    cluster: str = DEFAULT_CLUSTER
    platform: str | None = None  # overlay to deploy; None: the experiment's, else the cluster's default, else nothing
    image: str | None = None  # the user's copy of the platform's image; None: as the manifests name it
    locust_ui: int | None = None  # port of Locust's own web pages on loopback; None: they are not shown
    out: Path | None = None  # the run's folder; None: runs/<run id>
    command: str = ""  # as typed, for the report
    cluster_config: Path | None = None  # of the cluster; None: the one in clusters/ that names its context


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """Where the run is, and how it ended."""

    run_dir: Path
    verdict: Verdict
