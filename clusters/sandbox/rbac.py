"""Who may do what: Kubernetes' RBAC, from the roles and bindings in the store. Nothing else grants a right."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from clusters.sandbox.errors import ApiError
from clusters.sandbox.objects import Object
from clusters.sandbox.store import Store

GROUP = "rbac.authorization.k8s.io"
MASTERS, AUTHENTICATED, UNAUTHENTICATED = "system:masters", "system:authenticated", "system:unauthenticated"
SERVICE_ACCOUNT = "system:serviceaccount:"
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete", "GET": "get", "HEAD": "get"}

Rule = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class User:
    """Who calls."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """What somebody wants to do: with a resource, or (`path`) with a page that is none."""

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    name: str = ""
    namespace: str = ""
    path: str = ""

    def __str__(self) -> str:
        if self.path:
            return f'{self.verb} path "{self.path}"'
        resource = f"{self.resource}/{self.subresource}" if self.subresource else self.resource
        where = f'in the namespace "{self.namespace}"' if self.namespace else "at the cluster scope"
        return f'{self.verb} resource "{resource}" in API group "{self.group}" {where}'


def act_of(method: str, query: Mapping[str, str], group: str, parts: list[str]) -> Act:
    """What a request on a resource asks for; `parts` is its path after the version."""
    namespace = ""
    if parts[0] == "namespaces" and len(parts) > 1:
        namespace = parts[1]
        if len(parts) > 2 and parts[2] not in ("status", "finalize"):
            parts = parts[2:]
    resource, name, subresource = ([*parts, "", ""])[:3]
    verb = _VERBS.get(method, method.lower())
    if not name and verb == "get":
        verb = "watch" if query.get("watch", "").lower() in ("1", "true") else "list"
        fields = dict(f.split("=", 1) for f in query.get("fieldSelector", "").replace("==", "=").split(",") if "=" in f)
        name = fields.get("metadata.name", "")
    elif not name and verb == "delete":
        verb = "deletecollection"
    return Act(verb=verb, group=group, resource=resource, subresource=subresource, name=name, namespace=namespace)


class Rights:
    """Answers from the Roles, ClusterRoles and bindings that are in the store now."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def check(self, user: User, act: Act) -> None:
        """Nothing when the user may; else the 403 that a real API server gives."""
        allowed, why = self.may(user, act)
        if allowed:
            return
        named = f"{act.resource}.{act.group}" if act.group else act.resource
        head = "forbidden" if not act.resource else f'{named} "{act.name}" is forbidden' if act.name else ""
        head = head or f"{named} is forbidden"
        message = f'{head}: User "{user.name}" cannot {act}{f": {why}" if why else ""}'
        details = {"name": act.name, "group": act.group, "kind": act.resource}
        raise ApiError(403, "Forbidden", message, {k: v for k, v in details.items() if v})

    def may(self, user: User, act: Act) -> tuple[bool, str]:
        """Whether the user may, and what granted it, or which bindings lead nowhere."""
        if MASTERS in user.groups:
            return True, ""
        broken = []
        for rule, source in self._rules(user, act.namespace):
            if rule is None:
                broken.append(source)
            elif allows(rule, act):
                return True, f"RBAC: allowed by {source}"
        said = broken[0] if len(broken) == 1 else f"[{', '.join(dict.fromkeys(broken))}]"
        return False, f"RBAC: {said}" if broken else ""

    def rules(self, user: User, namespace: str) -> list[Rule]:
        """Every rule that is in force for the user there."""
        everything = [
            {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]},
            {"verbs": ["*"], "nonResourceURLs": ["*"]},
        ]
        found: list[Rule] = [*everything] if MASTERS in user.groups else []
        return found + [rule for rule, _ in self._rules(user, namespace) if rule is not None and rule not in found]

    def check_grant(self, user: User, obj: Object) -> None:
        """Nobody writes or binds a role with rights that they have not themselves, unless they may escalate or bind."""
        if MASTERS in user.groups:
            return
        kind, meta = obj["kind"], obj["metadata"]
        plural, namespace = f"{kind.lower()}s", meta.get("namespace", "")
        if kind.endswith("Binding"):
            ref = obj["roleRef"]
            granted = f"{ref['kind'].lower()}s"
            act = Act(verb="bind", group=GROUP, resource=granted, name=ref["name"], namespace=namespace)
            role = self._role(ref, namespace)
            if role is None and not self.may(user, act)[0]:
                raise ApiError(404, "NotFound", f'{granted}.{GROUP} "{ref["name"]}" not found')
        else:
            act = Act(verb="escalate", group=GROUP, resource=plural, name=meta.get("name", ""), namespace=namespace)
            role = obj
        if self.may(user, act)[0]:
            return
        lacking = [rule for rule in (role or {}).get("rules") or () if not self._holds(user, rule, namespace)]
        if lacking:
            said = "\n".join(sorted(_go(rule) for rule in lacking))
            groups = " ".join(f'"{group}"' for group in user.groups)
            why = f'user "{user.name}" (groups=[{groups}]) is attempting to grant RBAC permissions not currently held'
            raise ApiError(403, "Forbidden", f'{plural}.{GROUP} "{meta.get("name", "")}" is forbidden: {why}:\n{said}')

    def _holds(self, user: User, rule: Rule, namespace: str) -> bool:
        acts = [
            Act(verb=verb, group=group, resource=resource, subresource=sub, name=name, namespace=namespace)
            for verb in rule["verbs"]
            for group in rule.get("apiGroups") or ()
            for resource, _, sub in (each.partition("/") for each in rule.get("resources") or ())
            for name in rule.get("resourceNames") or ("",)
        ]
        acts += [Act(verb=verb, path=path) for verb in rule["verbs"] for path in rule.get("nonResourceURLs") or ()]
        return all(self.may(user, act)[0] for act in acts)

    def _rules(self, user: User, namespace: str) -> Iterator[tuple[Rule | None, str]]:
        """Each rule with the binding it comes from; None with the reason for a binding whose role is not there."""
        bindings: list[Any] = self._store.list("clusterrolebindings")
        if namespace:
            bindings = bindings + self._store.list("rolebindings", namespace)
        for binding in bindings:
            subject = next((s for s in binding.get("subjects") or () if _is(s, user, namespace)), None)
            if subject is None:
                continue
            ref, where = binding["roleRef"], binding["metadata"].get("namespace", "")
            role = self._role(ref, where)
            if role is None:
                yield None, f'{ref["kind"].lower()}.{GROUP} "{ref["name"]}" not found'
                continue
            name = f"{binding['metadata']['name']}/{where}" if where else binding["metadata"]["name"]
            who = f"{subject['name']}/{subject['namespace']}" if subject.get("namespace") else subject["name"]
            source = f'{binding["kind"]} "{name}" of {ref["kind"]} "{ref["name"]}" to {subject["kind"]} "{who}"'
            for rule in role.get("rules") or ():
                yield rule, source

    def _role(self, ref: Mapping[str, str], namespace: str) -> Object | None:
        if ref["kind"] == "ClusterRole":
            return self._store.find("clusterroles", ref["name"])
        return self._store.find("roles", ref["name"], namespace)


def _is(subject: Mapping[str, str], user: User, namespace: str) -> bool:
    match subject["kind"]:
        case "User":
            return user.name == subject["name"]
        case "Group":
            return subject["name"] in user.groups
        case _:
            return user.name == f"{SERVICE_ACCOUNT}{subject.get('namespace') or namespace}:{subject['name']}"


def allows(rule: Rule, act: Act) -> bool:
    """Whether this rule alone permits it, wherever the rule holds."""
    if not _any(rule["verbs"], act.verb):
        return False
    if act.path:
        paths = rule.get("nonResourceURLs") or ()
        return any(p in ("*", act.path) or (p.endswith("*") and act.path.startswith(p[:-1])) for p in paths)
    full = f"{act.resource}/{act.subresource}" if act.subresource else act.resource
    wanted = rule.get("resources") or ()
    named = rule.get("resourceNames") or ()
    return (
        _any(rule.get("apiGroups") or (), act.group)
        and (_any(wanted, full) or bool(act.subresource and f"*/{act.subresource}" in wanted))
        and (not named or act.name in named)
    )


def _any(listed: Any, value: str) -> bool:
    return "*" in listed or value in listed


def _go(rule: Rule) -> str:
    """A rule as Go's message has it."""
    names = {"apiGroups": "APIGroups", "resources": "Resources", "resourceNames": "ResourceNames",
             "nonResourceURLs": "NonResourceURLs", "verbs": "Verbs"}  # fmt: skip
    said = [
        f"{go}:[{' '.join(f'{chr(34)}{v}{chr(34)}' for v in rule[name])}]"
        for name, go in names.items()
        if rule.get(name)
    ]
    return "{" + ", ".join(said) + "}"


def seed(store: Store) -> None:
    """The roles and bindings that every cluster starts with, as far as somebody could miss them."""
    pages = ["/healthz", "/livez", "/readyz", "/version", "/version/"]
    tree = ["/api", "/api/*", "/apis", "/apis/*", "/openapi", "/openapi/*"]
    reviews = {"apiGroups": ["authorization.k8s.io"], "verbs": ["create"]}
    reviews |= {"resources": ["selfsubjectaccessreviews", "selfsubjectrulesreviews"]}
    whoami = {"apiGroups": ["authentication.k8s.io"], "verbs": ["create"], "resources": ["selfsubjectreviews"]}
    everything = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}, {"nonResourceURLs": ["*"], "verbs": ["*"]}]
    roles: dict[str, tuple[list[Object], tuple[str, ...]]] = {
        "cluster-admin": (everything, (MASTERS,)),
        "system:discovery": ([{"nonResourceURLs": pages + tree, "verbs": ["get"]}], (AUTHENTICATED,)),
        "system:public-info-viewer": (
            [{"nonResourceURLs": pages, "verbs": ["get"]}],
            (AUTHENTICATED, UNAUTHENTICATED),
        ),
        "system:basic-user": ([reviews, whoami], (AUTHENTICATED,)),
    }
    labels = {"kubernetes.io/bootstrapping": "rbac-defaults"}
    for name, (rules, groups) in roles.items():
        store.create("clusterroles", {"metadata": {"name": name, "labels": labels}, "rules": rules})
        subjects = [{"apiGroup": GROUP, "kind": "Group", "name": group} for group in groups]
        ref = {"apiGroup": GROUP, "kind": "ClusterRole", "name": name}
        bound: Object = {"metadata": {"name": name, "labels": labels}, "roleRef": ref, "subjects": subjects}
        store.create("clusterrolebindings", bound)
    reading, writing = ["get", "list", "watch"], ["create", "delete", "deletecollection", "patch", "update"]
    rules = [_rule(kind.group, kind.plural, reading) for kind in store.kinds.values() if _is_view(kind)]
    changes = [r | {"verbs": reading + writing} for r in [*rules, _rule("", "secrets", [])]]
    changes += [_rule("", "pods/exec", ["create"]), _rule("", "pods/eviction", ["create"])]
    rights = [_rule(GROUP, plural, reading + writing) for plural in ("roles", "rolebindings")]
    logs = [_rule("", "pods/log", reading)]
    for name, granted in {"view": rules + logs, "edit": changes + logs, "admin": changes + logs + rights}.items():
        store.create("clusterroles", {"metadata": {"name": name, "labels": labels}, "rules": granted})


def _is_view(kind: Any) -> bool:
    return bool(kind.namespaced and kind.plural != "secrets" and kind.group != GROUP)


def _rule(group: str, resource: str, verbs: list[str]) -> Object:
    return {"apiGroups": [group], "resources": [resource], "verbs": verbs}


def impersonated(user: User, headers: Any, rights: Rights) -> User:
    """Who the request says it is from, where `user` may speak for them; `user` without such headers."""
    if not any(key[:12].lower() == "impersonate-" for key in headers):
        return user
    name, groups = headers.get("Impersonate-User"), headers.getall("Impersonate-Group", [])
    uid = headers.get("Impersonate-Uid", "")
    prefix = "impersonate-extra-"
    extra = {k.lower().removeprefix(prefix): tuple(headers.getall(k)) for k in headers if k.lower().startswith(prefix)}
    if name is None:
        if groups or uid or extra:
            raise ApiError(500, "InternalError", "requested impersonation without impersonating a user")
        return user
    act = Act(verb="impersonate", resource="users", name=name)
    given = list(groups)
    if name.startswith(SERVICE_ACCOUNT) and name.count(":") == 3:
        _, _, namespace, account = name.split(":")
        act = replace(act, resource="serviceaccounts", name=account, namespace=namespace)
        given = given or ["system:serviceaccounts", f"system:serviceaccounts:{namespace}"]
    rights.check(user, act)
    for group in groups:
        rights.check(user, replace(act, resource="groups", name=group, namespace=""))
    if uid:
        rights.check(user, Act(verb="impersonate", group="authentication.k8s.io", resource="uids", name=uid))
    for key, values in extra.items():
        for value in values:
            act = Act(verb="impersonate", group="authentication.k8s.io", resource="userextras", subresource=key)
            rights.check(user, replace(act, name=value))
    known = UNAUTHENTICATED if name == "system:anonymous" else AUTHENTICATED
    if not {AUTHENTICATED, UNAUTHENTICATED} & set(given):
        given.append(known)
    return User(name, tuple(given), uid, tuple(extra.items()))
