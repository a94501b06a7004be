"""What a cluster offers to experiments: what is there, and what we may do with it."""

from __future__ import annotations

from clusters.api import Api

# word of `requires` -> what we must be allowed to do: (verb, group, resource, subresource)
_RIGHTS: dict[str, tuple[tuple[str, str, str, str], ...]] = {
    "pods": (("list", "", "pods", ""), ("delete", "", "pods", "")),
    "services": (("get", "", "services", ""), ("patch", "", "services", "")),
    "nodes": (("list", "", "nodes", ""), ("patch", "", "nodes", "")),
    "eviction": (("create", "", "pods", "eviction"),),
    "deployments": (("get", "apps", "deployments", ""), ("patch", "apps", "deployments", "")),
    "pod-proxy": (("get", "", "pods", "proxy"), ("update", "", "pods", "proxy")),
}


def offers(api: Api) -> frozenset[str]:
    """The capabilities (words of `requires`). `node-stop` is never among them: the API cannot stop a machine."""
    found = {word for word, rights in _RIGHTS.items() if all(_may(api, *right) for right in rights)}
    if "nodes" in found and any(_gpus(node) for node in api.items("/api/v1/nodes")):
        found.add("gpu")
    return frozenset(found)


def missing_rights(api: Api) -> list[str]:
    """The rights that an experiment may need and that we do not have, as `kubectl auth can-i` would be asked."""
    return [
        f"{verb} {resource}{'.' + group if group else ''}{'/' + subresource if subresource else ''}"
        for rights in _RIGHTS.values()
        for verb, group, resource, subresource in rights
        if not _may(api, verb, group, resource, subresource)
    ]


def _gpus(node: dict[str, dict[str, dict[str, str]]]) -> int:
    return int(node["status"].get("allocatable", {}).get("nvidia.com/gpu", "0"))


def _may(api: Api, verb: str, group: str, resource: str, subresource: str) -> bool:
    """Whether we may do this in every namespace."""
    attributes = {"verb": verb, "group": group, "resource": resource, "subresource": subresource}
    review = api.request(
        "POST",
        "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
        {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        },
    )
    return bool(review["status"]["allowed"])
