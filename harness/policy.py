"""What must be there for a release to go out: the policy file of the gate.

title: Release gate of the detector
max_age: 24h                     # of every run, unless an experiment says otherwise
cluster: [context:staging]       # where runs count: sandbox, kind, context, or one cluster by its full name
release:                         # optional: what the workload's containers must have run
  images: {detector: "sha256:…"}
margin: 20%                      # optional: of the bad that each limit allows, so much must be left over
budget: 5%                       # optional: of each SLO's error budget, spent by an experiment's runs together
experiments:
- gpu-pod-kill                   # a shipped experiment by name, or a file beside this policy
- {file: my/drain.yaml, max_age: 7d, runs: 3, platform: healthy, verdicts: [PASSED], margin: 10%, budget: 1%}
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, ValidationError

from clusters.provider import CLUSTERS, KINDS
from harness.errors import FileError, FileErrors
from harness.experiment import positions, shipped
from harness.experiment.companions import golden_path
from harness.experiment.fields import DurationNs, Share, Strict
from harness.experiment.loader import load, no_such_experiment
from harness.experiment.model import Experiment
from harness.experiment.wrong import error_at, told
from harness.release import image_error
from harness.verdict import VerdictName


class _Entry(Strict):
    file: str = Field(min_length=1)
    max_age_ns: DurationNs | None = Field(None, alias="max_age")
    runs: int = Field(1, ge=1)
    platform: str | None = None
    verdicts: tuple[VerdictName, ...] = Field((VerdictName.PASSED,), min_length=1)
    margin: Share | None = Field(None, lt=1)
    budget: Share | None = None


class _Release(Strict):
    images: dict[str, str] = Field(min_length=1)


class _Policy(Strict):
    title: str = Field(min_length=1)
    max_age_ns: DurationNs = Field(alias="max_age")
    cluster: tuple[str, ...] = Field(min_length=1)
    release: _Release | None = None
    margin: Share | None = Field(None, lt=1)
    budget: Share | None = None
    experiments: tuple[str | _Entry, ...] = Field(min_length=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Required:
    """One experiment that the policy asks for."""

    name: str
    experiment: Experiment
    fingerprint: str
    max_age_ns: int
    runs: int
    platform: str | None
    verdicts: tuple[VerdictName, ...]
    margin: float  # of the bad that each limit allows, this share must be left over
    budget: float | None  # share of each SLO's error budget that its runs may spend together


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What must be there for a release to go out."""

    file: str
    title: str
    clusters: tuple[str, ...]
    images: dict[str, str]  # container -> digest; empty: any release
    required: tuple[Required, ...]


def load_policy(path: Path) -> Policy:
    """The policy of a file. Raises FileErrors with every error of it and of the experiments it names."""
    documents = positions.read(path)
    if len(documents) != 1:
        raise FileErrors([FileError(f"holds {len(documents)} documents; a policy is one.", file=path)])
    document = documents[0]
    try:
        policy = _Policy.model_validate(document.data, by_alias=True, by_name=False)
    except ValidationError as error:
        raise FileErrors(told(error, _Policy, document)) from None
    wrong = [
        error_at(
            document,
            ("cluster", index),
            f'"{name}" is no cluster.',
            f"Write {', '.join(KINDS)}, or one cluster by its full name: {CLUSTERS}.",
        )
        for index, name in enumerate(policy.cluster)
        if name.partition(":")[0] not in KINDS or name.endswith(":")
    ]
    images = policy.release.images if policy.release else {}
    wrong += [
        error_at(
            document,
            ("release", "images", container),
            problem,
            "Write sha256: and its 64 digits, as in the pods' status.containerStatuses[].imageID.",
        )
        for container, image in images.items()
        if (problem := image_error(image))
    ]
    required: list[Required] = []
    for index, given in enumerate(policy.experiments):
        entry = _Entry.model_validate({"file": given}) if isinstance(given, str) else given
        try:
            required.append(_required(path, entry, policy))
        except FileErrors as error:
            wrong += error.errors
        except FileNotFoundError:
            wrong.append(no_such_experiment(document, ("experiments", index), entry.file))
    if wrong:
        raise FileErrors(wrong)
    return Policy(file=str(path), title=policy.title, clusters=policy.cluster, images=images, required=tuple(required))


def fingerprint(experiment: Experiment, *, recorded: bool = False) -> str:
    """sha256 over the bytes of the experiment file, its SLO files in order, its golden answers and its trace."""
    file = Path(experiment.file)
    slos = list(dict.fromkeys(slo.file for slo in experiment.slos))
    golden = (
        file.parent / "golden" / Path(experiment.bulletproof.workload.golden).name
        if recorded
        else golden_path(experiment)
    )
    digest = hashlib.sha256()
    trace = [Path(experiment.trace)] if experiment.trace is not None else []
    for path in (file, *map(Path, slos), golden, *trace):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _required(policy_file: Path, entry: _Entry, policy: _Policy) -> Required:
    beside = policy_file.parent / entry.file
    path = beside if beside.is_file() else shipped.experiment_files().get(entry.file)
    if path is None:
        raise FileNotFoundError(entry.file)
    experiment = load(path)
    return Required(
        name=path.stem,
        experiment=experiment,
        fingerprint=fingerprint(experiment),
        max_age_ns=policy.max_age_ns if entry.max_age_ns is None else entry.max_age_ns,
        runs=entry.runs,
        platform=entry.platform,
        verdicts=entry.verdicts,
        margin=(policy.margin if entry.margin is None else entry.margin) or 0.0,
        budget=policy.budget if entry.budget is None else entry.budget,
    )
