"""Using RBAC Authorization: ServiceAccounts have the rights that roles and bindings give them, and no other."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.conformance.api import Api, Object, RefusedError, wait_for

GROUP = "rbac.authorization.k8s.io"
REVIEWS = "/apis/authorization.k8s.io/v1"
# Servers keep roles and bindings in caches that follow within moments.
WITHIN_S = 30


def rule(verbs: str, resources: str, group: str = "", **more: Any) -> Object:
    """A PolicyRule."""
    return {"verbs": verbs.split(), "apiGroups": [group], "resources": resources.split(), **more}


def account(api: Api) -> Api:
    """A new ServiceAccount `robot`: the API as it sees it."""
    api.create("serviceaccounts", {"metadata": {"name": "robot"}})
    wanted = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    made = api.call("POST", api.path("serviceaccounts", "robot", "token"), wanted)
    return Api(api.access.with_token(made["status"]["token"]), api.namespace, api.image)


def user(api: Api) -> str:
    """Its name."""
    return f"system:serviceaccount:{api.namespace}:robot"


def bind(api: Api, role: str, kind: str = "Role", plural: str = "rolebindings", name: str = "bound") -> None:
    """The role is the robot's, in its namespace or everywhere."""
    subject = {"kind": "ServiceAccount", "name": "robot", "namespace": api.namespace}
    ref = {"apiGroup": GROUP, "kind": kind, "name": role}
    api.create(plural, {"metadata": {"name": name}, "subjects": [subject], "roleRef": ref})


def grant(api: Api, *rules: Object) -> None:
    """A role of its namespace with these rules."""
    api.create("roles", {"metadata": {"name": "granted"}, "rules": list(rules)})
    bind(api, "granted")


@contextlib.contextmanager
def cluster_role(api: Api, *rules: Object) -> Iterator[str]:
    """A ClusterRole, and room for a ClusterRoleBinding of the same name; both go."""
    api.create("clusterroles", {"metadata": {"name": api.namespace}, "rules": list(rules)})
    try:
        yield api.namespace
    finally:
        for plural in ("clusterrolebindings", "clusterroles"):
            with contextlib.suppress(RefusedError):
                api.delete(plural, api.namespace)


def may(api: Api, **attributes: str) -> bool:
    """What a SelfSubjectAccessReview says."""
    review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview"}
    asked = review | {"spec": {"resourceAttributes": attributes}}
    return bool(api.call("POST", f"{REVIEWS}/selfsubjectaccessreviews", asked)["status"]["allowed"])


def soon(what: Callable[[], Any]) -> Any:
    """Once caches have followed."""
    return wait_for(what, "the right in force", WITHIN_S)


def code(api: Api, method: str, path: str, body: Any = None, **options: Any) -> int:
    """The status alone."""
    return api.send(method, path, body, **options)[0]


@pytest.mark.parametrize(
    ("method", "path", "named", "what"),
    [
        ("GET", "/api/v1/namespaces/{ns}/pods", "pods", 'list resource "pods" in API group ""'),
        ("GET", "/api/v1/namespaces/{ns}/pods/a", 'pods "a"', 'get resource "pods" in API group ""'),
        ("DELETE", "/api/v1/namespaces/{ns}/pods", "pods", 'deletecollection resource "pods" in API group ""'),
        ("GET", "/api/v1/namespaces/{ns}/pods/a/log", 'pods "a"', 'get resource "pods/log" in API group ""'),
        ("GET", "/api/v1/nodes", "nodes", 'list resource "nodes" in API group ""'),
        ("GET", "/api/v1/nodes?watch=1", "nodes", 'watch resource "nodes" in API group ""'),
        ("GET", "/apis/apps/v1/deployments", "deployments.apps", 'list resource "deployments" in API group "apps"'),
    ],
)
def test_what_nobody_granted_is_forbidden(api: Api, method: str, path: str, named: str, what: str) -> None:
    """Authorization: 403 that names the user, the verb, the resource and where."""
    with pytest.raises(RefusedError) as told:
        account(api).call(method, path.format(ns=api.namespace))

    where = f'in the namespace "{api.namespace}"' if "{ns}" in path else "at the cluster scope"
    assert (told.value.code, told.value.reason) == (403, "Forbidden")
    assert told.value.message == f'{named} is forbidden: User "{user(api)}" cannot {what} {where}'


def test_pages_that_are_no_resources_are_forbidden_too(api: Api) -> None:
    """Non-resource requests: by their path."""
    with pytest.raises(RefusedError) as told:
        account(api).call("GET", "/metrics")
    assert told.value.message == f'forbidden: User "{user(api)}" cannot get path "/metrics"'


def test_a_token_names_its_account(api: Api) -> None:
    """Service account tokens: user and groups; discovery is everybody's."""
    robot = account(api)

    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    about = robot.call("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", review)["status"]["userInfo"]

    assert about["username"] == user(api)
    groups = {"system:serviceaccounts", f"system:serviceaccounts:{api.namespace}", "system:authenticated"}
    assert set(about["groups"]) == groups
    assert code(robot, "GET", "/apis") == code(robot, "GET", "/version") == 200


def test_a_role_grants_its_verbs_in_its_namespace_alone(api: Api) -> None:
    """Role and RoleBinding: what the rules say, no other verb, no other namespace, no subresource."""
    robot = account(api)
    grant(api, rule("get list", "pods"))
    pods = robot.path("pods")

    soon(lambda: code(robot, "GET", pods) == 200)
    assert code(robot, "GET", f"{pods}/a") == 404
    assert code(robot, "DELETE", f"{pods}/a") == 403
    assert code(robot, "GET", f"{pods}/a/log") == 403
    assert code(robot, "GET", "/api/v1/pods") == 403
    assert code(robot, "GET", "/api/v1/namespaces/default/pods") == 403


def test_resource_names_narrow_a_rule(api: Api) -> None:
    """resourceNames: the named object, and a list or watch of it by field selector; nothing else."""
    robot = account(api)
    grant(api, rule("get list", "configmaps", resourceNames=["mine"]))
    maps = robot.path("configmaps")

    soon(lambda: code(robot, "GET", f"{maps}/mine") == 404)
    assert code(robot, "GET", f"{maps}/other") == 403
    assert code(robot, "GET", maps) == 403
    assert code(robot, "GET", maps, fieldSelector="metadata.name=mine") == 200


def test_a_role_in_a_namespace_may_grant_reading_the_namespace_itself(api: Api) -> None:
    """A request for one namespace counts as a request in it."""
    robot = account(api)
    grant(api, rule("get", "namespaces"))

    soon(lambda: code(robot, "GET", f"/api/v1/namespaces/{api.namespace}") == 200)
    assert code(robot, "GET", "/api/v1/namespaces/default") == 403
    assert code(robot, "GET", "/api/v1/namespaces") == 403


def test_a_cluster_role_in_a_role_binding_holds_in_its_namespace(api: Api) -> None:
    """A RoleBinding may refer to a ClusterRole, whose rights then hold in the binding's namespace only."""
    robot = account(api)
    with cluster_role(api, rule("list", "pods nodes")) as name:
        bind(api, name, "ClusterRole")

        soon(lambda: code(robot, "GET", robot.path("pods")) == 200)
        assert code(robot, "GET", "/api/v1/pods") == code(robot, "GET", "/api/v1/nodes") == 403


def test_a_cluster_role_binding_holds_everywhere(api: Api) -> None:
    """ClusterRoleBinding: all namespaces, and what is in none."""
    robot = account(api)
    with cluster_role(api, rule("list", "pods nodes")) as name:
        bind(api, name, "ClusterRole", "clusterrolebindings", name)

        soon(lambda: code(robot, "GET", "/api/v1/nodes") == 200)
        assert code(robot, "GET", "/api/v1/pods") == 200


def test_a_right_goes_with_its_binding(api: Api) -> None:
    """Deleting the RoleBinding takes the rights back."""
    robot = account(api)
    grant(api, rule("list", "pods"))
    soon(lambda: code(robot, "GET", robot.path("pods")) == 200)

    api.delete("rolebindings", "bound")

    soon(lambda: code(robot, "GET", robot.path("pods")) == 403)


def test_reviews_of_ones_own_rights_agree(api: Api) -> None:
    """SelfSubjectAccessReview and SelfSubjectRulesReview say what a request would meet."""
    robot, asked = account(api), {"resource": "pods", "namespace": api.namespace}
    grant(api, rule("list", "pods"))

    soon(lambda: may(robot, verb="list", **asked))
    assert not may(robot, verb="delete", **asked)
    assert not may(robot, verb="list", resource="pods")
    assert may(api, verb="delete", resource="anything", group="at.all")
    review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview"}
    found = robot.call("POST", f"{REVIEWS}/selfsubjectrulesreviews", review | {"spec": {"namespace": api.namespace}})
    assert {"verbs": ["list"], "apiGroups": [""], "resources": ["pods"]} in found["status"]["resourceRules"]


def test_reviews_of_others_take_the_right_to_ask(api: Api) -> None:
    """SubjectAccessReview and LocalSubjectAccessReview, for the administrator alone."""
    robot = account(api)
    grant(api, rule("list", "pods"))
    asked = {"verb": "list", "resource": "pods", "namespace": api.namespace}
    review = {"apiVersion": "authorization.k8s.io/v1", "spec": {"user": user(api), "resourceAttributes": asked}}
    local = f"{REVIEWS}/namespaces/{api.namespace}/localsubjectaccessreviews"

    for path, kind in ((f"{REVIEWS}/subjectaccessreviews", "Subject"), (local, "LocalSubject")):
        body = review | {"kind": f"{kind}AccessReview"}
        soon(lambda path=path, body=body: api.call("POST", path, body)["status"]["allowed"])
        assert code(robot, "POST", path, body) == 403


def test_the_administrator_may_speak_for_others(api: Api) -> None:
    """User impersonation: with their rights, not one's own; a ServiceAccount may not."""
    robot = account(api)
    grant(api, rule("list", "pods"))
    pods, head = api.path("pods"), {"Impersonate-User": user(api)}

    soon(lambda: code(api, "GET", pods, headers=head) == 200)
    assert code(api, "GET", f"{pods}/a", headers=head) == 403
    with pytest.raises(RefusedError) as told:
        robot.call("GET", pods, headers={"Impersonate-User": "bob"})
    assert told.value.code == 403
    # Which right is named depends on whether the server knows constrained impersonation.
    assert f'User "{user(api)}" cannot impersonate' in told.value.message


def test_nobody_grants_rights_that_they_lack(api: Api) -> None:
    """Privilege escalation prevention, for roles and for bindings."""
    robot = account(api)
    grant(api, rule("create", "roles rolebindings", GROUP), rule("get", "pods"))
    role = {"apiVersion": f"{GROUP}/v1", "kind": "Role"}

    soon(lambda: may(robot, verb="create", resource="roles", group=GROUP, namespace=api.namespace))
    robot.call("POST", robot.path("roles"), role | {"metadata": {"name": "a"}, "rules": [rule("get", "pods")]})
    with pytest.raises(RefusedError) as told:
        robot.call("POST", robot.path("roles"), role | {"metadata": {"name": "b"}, "rules": [rule("get", "secrets")]})
    assert told.value.code == 403
    assert "is attempting to grant RBAC permissions not currently held" in told.value.message
    assert '{APIGroups:[""], Resources:["secrets"], Verbs:["get"]}' in told.value.message
    with pytest.raises(RefusedError) as told:
        bind(robot, "cluster-admin", "ClusterRole", name="c")
    assert told.value.code == 403


def test_the_role_of_a_binding_never_changes(api: Api) -> None:
    """roleRef is immutable: 422."""
    account(api)
    grant(api, rule("get", "pods"))

    with pytest.raises(RefusedError) as told:
        api.patch("rolebindings", "bound", {"roleRef": {"name": "other"}})

    assert told.value.code == 422
    assert "cannot change roleRef" in told.value.message


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"verbs": ["get"], "resources": ["pods"]}, "rules[0].apiGroups: Required value: resource rules must supply"),
        ({"verbs": [], "apiGroups": [""], "resources": ["pods"]}, "rules[0].verbs: Required value"),
        ({"verbs": ["get"], "nonResourceURLs": ["/x"]}, "namespaced rules cannot apply to non-resource URLs"),
    ],
)  # fmt: skip
def test_rules_are_checked(api: Api, wrong: Object, said: str) -> None:
    """Roles whose rules say nothing are refused: 422."""
    with pytest.raises(RefusedError) as told:
        api.create("roles", {"metadata": {"name": "wrong"}, "rules": [wrong]})
    assert told.value.code == 422
    assert said in told.value.message


def test_a_token_lives_at_least_ten_minutes(api: Api) -> None:
    """TokenRequest: expirationSeconds below 600 is refused, and what is given is told."""
    api.create("serviceaccounts", {"metadata": {"name": "robot"}})
    path, body = api.path("serviceaccounts", "robot", "token"), {"apiVersion": "authentication.k8s.io/v1"}

    made = api.call("POST", path, body | {"kind": "TokenRequest", "spec": {"expirationSeconds": 700}})
    assert made["status"]["expirationTimestamp"] and made["spec"]["expirationSeconds"] == 700
    with pytest.raises(RefusedError) as told:
        api.call("POST", path, body | {"kind": "TokenRequest", "spec": {"expirationSeconds": 60}})
    assert told.value.code == 422
    assert "may not specify a duration less than 10 minutes" in told.value.message


@pytest.mark.long
def test_a_token_ends_with_its_account(api: Api) -> None:
    """Deleting the ServiceAccount makes its tokens invalid (servers remember good ones for seconds): 401."""
    robot = account(api)
    assert code(robot, "GET", "/apis") == 200

    api.delete("serviceaccounts", "robot")

    wait_for(lambda: code(robot, "GET", "/apis") == 401, "401", 60)
