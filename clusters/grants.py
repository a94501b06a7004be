"""Which manifest of `clusters/rbac/` grants a right: read from the manifests themselves."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

from clusters import kustomize
from clusters.kustomize import Object
from clusters.provider import WORKLOAD_OF_MANIFESTS
from clusters.sandbox.rbac import Act, allows

FOLDER = Path(__file__).with_name("rbac")


def granted_by(
    *, verb: str, group: str, resource: str, subresource: str, name: str, namespace: str, workload: str
) -> Path | None:
    """The folder for `kubectl apply -k`; None when none of them grants it. `workload`: the workload's namespace."""
    act = Act(verb=verb, group=group, resource=resource, subresource=subresource, name=name, namespace=namespace)
    for folder, where, rule in rules():
        place = workload if where == WORKLOAD_OF_MANIFESTS else where
        if place in ("", namespace) and allows(rule, act):
            return folder
    return None


@cache
def folders() -> tuple[Path, ...]:
    """The parts, each of which can be applied by itself."""
    return tuple(sorted(file.parent for file in FOLDER.glob("*/kustomization.yaml")))


def rules() -> Iterator[tuple[Path, str, Object]]:
    """Every rule with its folder and the namespace in which it holds ("": everywhere), the narrowest first."""
    found = [
        (folder, str(obj["metadata"].get("namespace", "")), rule)
        for folder in folders()
        for obj in _objects(folder)
        if obj["kind"] in ("Role", "ClusterRole")
        for rule in obj["rules"]
    ]
    yield from sorted(found, key=lambda entry: entry[1] == "")


@cache
def _objects(folder: Path) -> list[Object]:
    return kustomize.build(folder)
