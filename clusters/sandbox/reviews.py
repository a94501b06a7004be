"""Answers to questions about rights: who am I, may I, may they, which rules are in force for me."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from clusters.sandbox.call import answer
from clusters.sandbox.errors import ApiError, BadRequest, Invalid
from clusters.sandbox.objects import Object
from clusters.sandbox.rbac import Act, Rights, User

_RULE = ("verbs", "apiGroups", "resources", "resourceNames", "nonResourceURLs")


def review(kind: str, group: str, namespace: str, body: Any, user: User, rights: Rights) -> web.Response:
    """The review with its status filled in; nothing is stored."""
    if not isinstance(body, dict):
        raise BadRequest("the body is no review")
    result: Object = {"kind": kind, "apiVersion": f"{group}/v1", "metadata": {}}
    if kind == "SelfSubjectReview":
        told: Object = {"username": user.name, "uid": user.uid, "groups": list(user.groups)}
        told |= {"extra": {key: list(values) for key, values in user.extra}}
        return answer(result | {"status": {"userInfo": {k: v for k, v in told.items() if v}}}, 201)
    spec = result["spec"] = body.get("spec") or {}
    if kind == "SelfSubjectRulesReview":
        if not spec.get("namespace"):
            raise BadRequest("no namespace on request")
        rules = [{k: rule[k] for k in _RULE if rule.get(k)} for rule in rights.rules(user, spec["namespace"])]
        status = {
            "resourceRules": [rule for rule in rules if "resources" in rule],
            "nonResourceRules": [rule for rule in rules if "nonResourceURLs" in rule],
            "incomplete": False,
        }
        return answer(result | {"status": status}, 201)
    if not kind.startswith("Self"):
        if not spec.get("user") and not spec.get("groups"):
            said = 'Invalid value: "": at least one of user or group must be specified'
            raise Invalid(kind, group, "", [("spec.user", "FieldValueInvalid", said)])
        extra = tuple((key, tuple(values)) for key, values in (spec.get("extra") or {}).items())
        user = User(spec.get("user", ""), tuple(spec.get("groups") or ()), spec.get("uid", ""), extra)
    allowed, why = rights.may(user, _act(kind, group, spec, namespace))
    return answer(result | {"status": {"allowed": allowed} | ({"reason": why} if why else {})}, 201)


def _act(kind: str, group: str, spec: Object, namespace: str) -> Act:
    on: Object | None = spec.get("resourceAttributes")
    page: Object | None = spec.get("nonResourceAttributes")
    if (on is None) == (page is None):
        said = "Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified"
        raise Invalid(kind, group, "", [("spec.resourceAttributes", "FieldValueInvalid", said)])
    if on is None:
        assert page is not None
        return Act(verb=page.get("verb", ""), path=page.get("path", ""))
    if kind == "LocalSubjectAccessReview" and on.get("namespace") != namespace:
        raise BadRequest(f"spec.resourceAttributes.namespace must match namespace: {namespace}")
    known = ("verb", "group", "resource", "subresource", "name", "namespace")
    given = {name: on.get(name) or "" for name in known}
    if not given["resource"]:
        raise ApiError(400, "BadRequest", "spec.resourceAttributes.resource is required")
    return Act(**given)
