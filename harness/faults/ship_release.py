"""The team ships a bad version with its own release command, which is expected to notice and to take it back."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from harness.faults import _pods
from harness.faults._command import run_command
from harness.faults._prove import Claim
from harness.faults._strike import Aim, FaultContext, FaultError, strike
from harness.kube import Cluster, Object, Refused, Unreachable
from harness.rights import rights
from harness.undo import pointer
from harness.undo.entry import Entry, Field, RestoreFields

REFERENCE_COMMAND = (
    "python3",
    "-m",
    "clusters.platform.release",
    "--namespace",
    "{namespace}",
    "--deployment",
    "{deployment}",
    "--version",
    "{version}",
)
OUTCOMES = {0: "shipped", 1: "rolled back by the release itself", 2: "the release could not roll back"}
NOT_BEGUN = 3
ROLLOUT_WITHIN_S = 60.0
HASH = "pod-template-hash"
RIGHTS = [
    *rights("get list", "pods"),
    *rights("get patch", "deployments", "apps"),
    *rights("get", "replicasets", "apps"),
]
REFERENCE_RIGHTS = rights("get", "configmaps")  # the policy of the reference release step


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """What is shipped, and how."""

    version: str
    command: tuple[str, ...]
    deadline_ns: int
    serves: bool = False  # clients are expected to meet the version


@dataclass(frozen=True, slots=True, kw_only=True)
class BadRelease:
    """The release command has run to its end.

    Undo: the Deployment's pod template as it was, and no pod of another one left. After a release that took itself back
    there is nothing to do.
    Evidence: a pod of a new template was there; where clients must have met it, an answer of the version.
    """

    name: ClassVar[str] = "bad-release"

    deployment: Object
    hashes: frozenset[str]  # pod templates that pods ran before
    release: Release

    @property
    def target(self) -> str:
        """deployment/NAME"""
        return f"deployment/{self._name}"

    @property
    def facts(self) -> dict[str, Any]:
        """deployment, uid, version"""
        return {
            "deployment": self._name,
            "uid": self.deployment["metadata"]["uid"],
            "version": self.release.version,
        }

    def undo(self, cluster: Cluster, fault_id: str, run_id: str) -> list[Entry]:
        """The pod template as it is now. Any change is taken for the release's, until that has ended."""
        restore = RestoreFields(
            kind="Deployment",
            name=self._name,
            namespace=self._namespace,
            uid=self.deployment["metadata"]["uid"],
            fields=(Field(at="/spec/template", before=pointer.read(self.deployment, "/spec/template"), after=None),),
            rollout_within_s=ROLLOUT_WITHIN_S,
        )
        what = f"deployment {self._name} has the pod template that it had before the release"
        return [Entry(entry_id=f"{fault_id}.template", fault_id=fault_id, what=what, ops=(restore,))]

    def inject(self, context: FaultContext, undo: Sequence[Entry]) -> dict[str, Any]:
        """Run the command. Then what it left is known, and only that will be undone."""
        cluster = context.cluster
        began = time.monotonic_ns()
        log = context.run_dir / f"{undo[0].fault_id}.log"
        try:
            code = run_command(context, self._command(cluster), _environment(cluster), log, self.release.deadline_ns)
        finally:
            # Where this cannot be learned, any change of the template stays ours to undo.
            with contextlib.suppress(Unreachable, Refused):
                self._learn(context, undo[0])
        if code == NOT_BEGUN and self.release.command == REFERENCE_COMMAND:
            raise FaultError("the release could not begin", hint=f"see {log}")
        return {
            "exit_code": code,
            "outcome": OUTCOMES.get(code, "the release ended in an unknown way"),
            "took_ns": time.monotonic_ns() - began,
            "log": log.name,
        }

    def claims(self, cluster: Cluster) -> list[Claim]:
        """version-deployed; version-served, by the requests, where clients must have met it"""
        facts = {"version": self.release.version, "deployment": self._name}
        claims = [Claim(name="version-deployed", check=lambda: self._new_pod(cluster), facts=facts)]
        if self.release.serves:
            claims.append(Claim(name="version-served", channel="requests", facts=facts))
        return claims

    @property
    def _name(self) -> str:
        return str(self.deployment["metadata"]["name"])

    @property
    def _namespace(self) -> str:
        return str(self.deployment["metadata"]["namespace"])

    def _command(self, cluster: Cluster) -> list[str]:
        values = {
            "namespace": self._namespace,
            "deployment": self._name,
            "version": self.release.version,
            "kubeconfig": str(cluster.kubeconfig or ""),
            "context": cluster.context or "",
        }
        words = list(self.release.command)
        if self.release.command == REFERENCE_COMMAND and cluster.context:
            words += ["--context", "{context}"]
        words = [_filled(word, values) for word in words]
        return [sys.executable if words[0] == "python3" else words[0], *words[1:]]

    def _new_pod(self, cluster: Cluster) -> str:
        for pod in _pods_of(cluster, self.deployment):
            if pod["metadata"].get("labels", {}).get(HASH, "") not in self.hashes:
                return f"pod {pod['metadata']['name']} of a new template is there"
        return ""

    def _learn(self, context: FaultContext, entry: Entry) -> None:
        now = context.cluster.get("Deployment", self._name, self._namespace)
        restore = entry.ops[0]
        assert isinstance(restore, RestoreFields)
        if now is not None:
            known = replace(restore.fields[0], after=pointer.read(now, "/spec/template"))
            context.journal.amend(replace(entry, ops=(replace(restore, fields=(known,)),)))


def select(aim: Aim, deployment: str, release: Release) -> BadRelease:
    """The Deployment by name, or the one that the workload's pods belong to. Raises FaultError."""
    name = deployment or _deployment_of(aim)
    found = aim.cluster.get("Deployment", name, aim.namespace)
    if found is None:
        names = [each["metadata"]["name"] for each in aim.cluster.list("Deployment", aim.namespace)]
        raise FaultError(
            f"there is no Deployment {name} in namespace {aim.namespace}. Nothing was touched.",
            hint=f"there are: {', '.join(names) or 'none'}",
        )
    pods = _pods_of(aim.cluster, found)
    hashes = frozenset(str(pod["metadata"].get("labels", {}).get(HASH, "")) for pod in pods)
    return BadRelease(deployment=found, hashes=hashes, release=release)


def act(context: FaultContext, deployment: str, release: Release) -> dict[str, Any]:
    """Ship it."""
    return {"faults": strike(context, [select(context, deployment, release)])}


def _deployment_of(aim: Aim) -> str:
    for pod in _pods.matching(aim, aim.selector):
        owner = _pods.controller_of(pod)
        if owner is not None and owner["kind"] == "ReplicaSet":
            replica_set = aim.cluster.get("ReplicaSet", owner["name"], aim.namespace)
            above = _pods.controller_of(replica_set) if replica_set else None
            if above is not None and above["kind"] == "Deployment":
                return str(above["name"])
    raise FaultError(f"the pods of {aim.selector} belong to no Deployment", hint="name it with the argument deployment")


def _pods_of(cluster: Cluster, deployment: Object) -> list[Object]:
    labels = deployment["spec"]["selector"].get("matchLabels") or {}
    selector = ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
    return cluster.list("Pod", deployment["metadata"]["namespace"], selector)


def _environment(cluster: Cluster) -> dict[str, str]:
    environment = dict(os.environ)
    if cluster.kubeconfig is not None:
        environment["KUBECONFIG"] = str(cluster.kubeconfig)
    return environment


def _filled(word: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        word = word.replace("{" + name + "}", value)
    return word
