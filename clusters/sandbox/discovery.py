"""What the API tells about itself: groups, versions, resources, and a short OpenAPI document."""

from __future__ import annotations

import json
from typing import Any

from clusters.sandbox.kinds import Kind
from clusters.sandbox.settings import VERSION

_VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
_SUB_VERBS = {
    "status": ["get", "patch", "update"],
    "scale": ["get", "patch", "update"],
    "finalize": ["update"],
    "binding": ["create"],
    "token": ["create"],
    "eviction": ["create"],
    "log": ["get"],
    "exec": ["create", "get"],
    "proxy": ["create", "delete", "get", "patch", "update"],
}
_SUB_KINDS = {
    "scale": {"group": "autoscaling", "version": "v1", "kind": "Scale"},
    "eviction": {"group": "policy", "version": "v1", "kind": "Eviction"},
    "binding": {"kind": "Binding"},
    "token": {"group": "authentication.k8s.io", "version": "v1", "kind": "TokenRequest"},
    "exec": {"kind": "PodExecOptions"},
    "proxy": {"kind": "PodProxyOptions"},
}
NOT_OFFERED = {"attach", "portforward", "resize"}
REVIEWS = {
    "authentication.k8s.io": ("SelfSubjectReview",),
    "authorization.k8s.io": (
        "LocalSubjectAccessReview", "SelfSubjectAccessReview", "SelfSubjectRulesReview", "SubjectAccessReview"
    ),
}  # fmt: skip


def version() -> dict[str, Any]:
    """The answer of /version."""
    major, minor = VERSION[1:].split(".")[:2]
    told = {"major": major, "minor": minor, "gitVersion": VERSION, "gitCommit": "", "gitTreeState": "clean"}
    return told | {"buildDate": "", "goVersion": "", "compiler": "cpython", "platform": "linux/amd64"}


def groups(kinds: dict[str, Kind]) -> dict[str, list[str]]:
    """Group -> versions served, the preferred one first; "" is the core group."""
    found: dict[str, list[str]] = {"": ["v1"]}
    for kind in kinds.values():
        versions = found.setdefault(kind.group, [])
        versions += [v for v in kind.served_versions if v not in versions]
    for group in REVIEWS:
        found.setdefault(group, ["v1"])
    return found


def api_versions(address: str) -> dict[str, Any]:
    """The answer of /api."""
    where = [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}]
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": where}


def group(name: str, versions: list[str]) -> dict[str, Any]:
    """One entry of /apis."""
    listed = [{"groupVersion": f"{name}/{v}", "version": v} for v in versions]
    return {"name": name, "versions": listed, "preferredVersion": listed[0]}


def group_list(kinds: dict[str, Kind]) -> dict[str, Any]:
    """The answer of /apis."""
    listed = [group(name, versions) for name, versions in groups(kinds).items() if name]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": listed}


def resources(kinds: dict[str, Kind], group_name: str, version_name: str) -> dict[str, Any] | None:
    """The answer of /api/v1 and /apis/GROUP/VERSION; None when that is not served."""
    if version_name not in groups(kinds).get(group_name, ()):
        return None
    listed: list[dict[str, Any]] = []
    for kind in kinds.values():
        if kind.group != group_name or version_name not in kind.served_versions:
            continue
        verbs = ["get", "list"] if kind.read_only else _VERBS
        if kind.plural == "namespaces":
            verbs = [verb for verb in verbs if verb != "deletecollection"]
        entry = {"name": kind.plural, "singularName": kind.singular, "namespaced": kind.namespaced, "kind": kind.kind}
        entry |= {"verbs": verbs} | ({"shortNames": list(kind.short)} if kind.short else {})
        listed.append(entry | ({"categories": list(kind.categories)} if kind.categories else {}))
        for sub in kind.subresources:
            if sub not in NOT_OFFERED:
                entry = {"name": f"{kind.plural}/{sub}", "singularName": "", "namespaced": kind.namespaced}
                listed.append(entry | {"kind": kind.kind} | _SUB_KINDS.get(sub, {}) | {"verbs": _SUB_VERBS[sub]})
    for review in REVIEWS.get(group_name, ()):
        entry = {"name": f"{review.lower()}s", "singularName": review.lower(), "kind": review}
        listed.append(entry | {"namespaced": review.startswith("Local"), "verbs": ["create"]})
    full = f"{group_name}/{version_name}" if group_name else version_name
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": full, "resources": listed}


def openapi_v2() -> dict[str, Any]:
    """An OpenAPI document without definitions: clients skip their own check, the server's stays."""
    return {"swagger": "2.0", "info": {"title": "Kubernetes", "version": VERSION}, "paths": {}, "definitions": {}}


def openapi_v2_protobuf() -> bytes:
    """The same in the protobuf that kubectl asks for (gnostic's Document: swagger 1, info 2, paths 8)."""

    def put(number: int, data: bytes) -> bytes:
        return bytes([number << 3 | 2, len(data)]) + data

    info = put(1, b"Kubernetes") + put(2, VERSION.encode())
    return put(1, b"2.0") + put(2, info) + put(8, b"")


def openapi_v3_index(kinds: dict[str, Kind]) -> dict[str, Any]:
    """The answer of /openapi/v3."""
    paths = {}
    for name, versions in groups(kinds).items():
        for each in versions:
            path = f"apis/{name}/{each}" if name else f"api/{each}"
            paths[path] = {"serverRelativeURL": f"/openapi/v3/{path}"}
    return {"paths": paths}


def openapi_v3(kinds: dict[str, Kind], group_name: str, version_name: str) -> bytes:
    """Of each kind, that PATCH takes fieldValidation and dryRun: all that kubectl wants to know before it applies."""
    paths = {}
    prefix = f"/apis/{group_name}/{version_name}" if group_name else f"/api/{version_name}"
    options = [{"name": n, "in": "query", "schema": {"type": "string"}} for n in ("dryRun", "fieldValidation")]
    for kind in kinds.values():
        if kind.group == group_name and version_name in kind.served_versions:
            scope = "/namespaces/{namespace}" if kind.namespaced else ""
            meant = {"group": kind.group, "version": version_name, "kind": kind.kind}
            patch = {"parameters": options, "x-kubernetes-group-version-kind": meant, "responses": {}}
            paths[f"{prefix}{scope}/{kind.plural}/{{name}}"] = {"patch": patch}
    document = {"openapi": "3.0.0", "info": {"title": "Kubernetes", "version": VERSION}, "paths": paths}
    return json.dumps(document | {"components": {"schemas": {}}}).encode()
