"""`python -m tests.truth.left save|check FILE`: what runs have left behind on a real cluster; nothing is right.

`save` writes down the namespaces, and of the nodes what anybody could have changed. `check` takes the reference
platform down where `save` did not see it, and prints what is not as it was, and everything that carries a mark of ours.
Exit code 1 where there is something. The cluster is that of KUBECONFIG, or --context.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from clusters.api import Api, ApiRefused
from clusters.provider import PLATFORM_LABEL

PREFIX = "bulletproof.dev/"
# Kinds that runs, their journal or their conformance make.
MADE = ("pods", "services", "configmaps", "resourcequotas")
WITHIN_S = 120.0


def picture(api: Api) -> dict[str, Any]:
    """What must be the same again."""
    nodes = {node["metadata"]["name"]: _node(node) for node in api.items("/api/v1/nodes")}
    return {"namespaces": [space["metadata"]["name"] for space in api.items("/api/v1/namespaces")], "nodes": nodes}


def left(api: Api, before: dict[str, Any]) -> Iterator[str]:
    """A line for each thing that is not as it was, or that is marked as ours."""
    now = picture(api)
    for name in sorted(set(now["namespaces"]) ^ set(before["namespaces"])):
        yield f"namespace {name}: {'was not there before' if name in now['namespaces'] else 'is gone'}"
    for name in sorted(now["nodes"].keys() | before["nodes"].keys()):
        was, here = before["nodes"].get(name), now["nodes"].get(name)
        if was is None or here is None:
            yield f"node {name}: {'was not there before' if was is None else 'is gone'}"
            continue
        for field in was:
            if was[field] != here[field]:
                yield f"node {name}: {field}: {json.dumps(was[field])} -> {json.dumps(here[field])}"
    for kind in MADE:
        for obj in api.items(f"/api/v1/{kind}"):
            marks = [key for key in _marks(obj["metadata"]) if key != PLATFORM_LABEL]
            if marks:
                yield f"{kind} {obj['metadata']['namespace']}/{obj['metadata']['name']}: {', '.join(marks)}"
    if api.find("/apis/coordination.k8s.io/v1/namespaces/default/leases/bulletproof") is not None:
        yield "the lease default/bulletproof"


def take_platform_down(api: Api, before: dict[str, Any]) -> None:
    """Namespaces of the reference platform that `save` did not see are gone, with all that is in them."""
    names = [space["metadata"]["name"] for space in api.items("/api/v1/namespaces", f"{PLATFORM_LABEL}=reference")]
    ours = [name for name in names if name not in before["namespaces"]]
    for name in ours:
        api.request("DELETE", f"/api/v1/namespaces/{name}")


def settled(api: Api, before: dict[str, Any]) -> list[str]:
    """What is left once namespaces that end have ended, and controllers have followed."""
    end = time.monotonic() + WITHIN_S
    while True:
        try:
            found = list(left(api, before))
        except ApiRefused as error:
            found = [error.message]
        if not found or time.monotonic() > end:
            return found
        time.sleep(1)


def _node(node: dict[str, Any]) -> dict[str, Any]:
    metadata, spec = node["metadata"], node.get("spec") or {}
    capacity = (node.get("status") or {}).get("capacity") or {}
    return {
        "labels": metadata.get("labels") or {},
        "marks": _marks(metadata),
        "unschedulable": bool(spec.get("unschedulable")),
        "taints": sorted(f"{taint['key']}:{taint['effect']}" for taint in spec.get("taints") or []),
        "gpus": capacity.get("nvidia.com/gpu", "0"),
        "ready": [each["status"] for each in node["status"]["conditions"] if each["type"] == "Ready"],
    }


def _marks(metadata: dict[str, Any]) -> list[str]:
    found = {**(metadata.get("labels") or {}), **(metadata.get("annotations") or {})}
    return sorted(key for key in found if key.startswith(PREFIX))


def main() -> int:
    """1 where something is left."""
    parser = argparse.ArgumentParser(prog="python -m tests.truth.left", description=__doc__)
    parser.add_argument("act", choices=("save", "check"))
    parser.add_argument("file", type=Path)
    parser.add_argument("--context")
    given = parser.parse_args()
    api = Api.connect(None, given.context)
    if given.act == "save":
        given.file.write_text(json.dumps(picture(api), indent=1), encoding="utf-8")
        return 0
    before = json.loads(given.file.read_text(encoding="utf-8"))
    take_platform_down(api, before)
    found = settled(api, before)
    sys.stdout.write("".join(f"left behind: {line}\n" for line in found) or "nothing is left behind\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
