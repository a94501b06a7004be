"""RBAC on the sandbox: ServiceAccounts have the rights that roles and bindings give them, and no other."""

from __future__ import annotations

import time

import pytest

RBAC = "/apis/rbac.authorization.k8s.io/v1"
REVIEWS = "/apis/authorization.k8s.io/v1"


def rule(verbs, resources, group="", **more):
    return {"verbs": verbs.split(), "apiGroups": [group], "resources": resources.split(), **more}


@pytest.fixture
def account(http, namespace):
    """A ServiceAccount without rights: its user name and a token of its own."""
    http.ok("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts", {"metadata": {"name": "robot"}})
    made = http.ok("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts/robot/token", {"spec": {}})
    return f"system:serviceaccount:{namespace}:robot", made["status"]["token"]


def grant(http, namespace, *rules, name="granted"):
    """The rules, bound to the ServiceAccount robot in its namespace."""
    http.ok("POST", f"{RBAC}/namespaces/{namespace}/roles", {"metadata": {"name": name}, "rules": list(rules)})
    subject = {"kind": "ServiceAccount", "name": "robot", "namespace": namespace}
    ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}
    binding = {"metadata": {"name": name}, "subjects": [subject], "roleRef": ref}
    return http.ok("POST", f"{RBAC}/namespaces/{namespace}/rolebindings", binding)


def may(http, token, **attributes):
    body = {"spec": {"resourceAttributes": attributes}}
    return http.ok("POST", f"{REVIEWS}/selfsubjectaccessreviews", body, token=token)["status"]["allowed"]


def test_without_a_role_everything_is_forbidden_in_kubernetes_words(http, namespace, account):
    """403 names the user, the verb, the resource and where."""
    user, token = account
    pods = f"/api/v1/namespaces/{namespace}/pods"
    for method, path, said in [
        (
            "GET",
            pods,
            f'pods is forbidden: User "{user}" cannot list resource "pods" in API group "" in the namespace ',
        ),
        ("GET", f"{pods}/a", f'pods "a" is forbidden: User "{user}" cannot get resource "pods" in API group "" in '),
        ("POST", f"{pods}/a/eviction", f'pods "a" is forbidden: User "{user}" cannot create resource "pods/eviction" '),
        ("DELETE", pods, f'pods is forbidden: User "{user}" cannot deletecollection resource "pods" in API group "" '),
        ("GET", "/api/v1/nodes?watch=1", f'nodes is forbidden: User "{user}" cannot watch resource "nodes" in API '),
        ("GET", "/apis/apps/v1/deployments", f'deployments.apps is forbidden: User "{user}" cannot list resource '),
        ("GET", "/apis/no.such/v1/things", f'things.no.such is forbidden: User "{user}" cannot list resource "things"'),
        ("GET", "/metrics", f'forbidden: User "{user}" cannot get path "/metrics"'),
    ]:
        status, answer = http(method, path, {} if method == "POST" else None, token=token)
        assert (status, answer["reason"]) == (403, "Forbidden"), path
        assert answer["message"].startswith(said), answer["message"]
    status, answer = http("GET", "/api/v1/nodes", token=token)
    assert answer["message"] == (
        f'nodes is forbidden: User "{user}" cannot list resource "nodes" in API group "" at the cluster scope'
    )
    assert answer["details"] == {"kind": "nodes"}
    assert http("GET", "/api", token=token)[0] == http("GET", "/apis/apps/v1", token=token)[0] == 200  # discovery


def test_a_role_grants_its_verbs_in_its_namespace(http, namespace, account):
    """What the rules say, at once, and nothing beside it; gone with the binding."""
    _, token = account
    pods, maps = f"/api/v1/namespaces/{namespace}/pods", f"/api/v1/namespaces/{namespace}/configmaps"
    binding = grant(http, namespace, rule("get list", "pods"), rule("get", "configmaps", resourceNames=["mine"]))

    assert http("GET", pods, token=token)[0] == 200
    assert http("GET", f"{pods}/a", token=token)[0] == 404  # allowed, and not there
    assert http("GET", f"{pods}?watch=1&timeoutSeconds=1", token=token)[0] == 403
    assert http("GET", f"{pods}/a/log", token=token)[0] == 403
    assert http("GET", "/api/v1/pods", token=token)[0] == 403
    assert http("GET", f"{maps}/mine", token=token)[0] == 404
    assert http("GET", f"{maps}/other", token=token)[0] == 403
    assert http("GET", maps, token=token)[0] == 403

    http.ok("DELETE", f"{RBAC}/namespaces/{namespace}/rolebindings/{binding['metadata']['name']}")
    assert http("GET", pods, token=token)[0] == 403


def test_a_cluster_role_is_bound_everywhere_or_in_one_namespace(http, namespace, account):
    """ClusterRoleBinding: all namespaces; RoleBinding of a ClusterRole: its own only. A missing role is told."""
    user, token = account
    ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": namespace}
    subject = {"kind": "ServiceAccount", "name": "robot", "namespace": namespace}
    binding = {"metadata": {"name": namespace}, "subjects": [subject], "roleRef": ref}
    http.ok("POST", f"{RBAC}/namespaces/{namespace}/rolebindings", binding)
    _, answer = http("GET", "/api/v1/namespaces/default/pods", token=token)
    assert "RBAC" not in answer["message"]
    _, answer = http("GET", f"/api/v1/namespaces/{namespace}/pods", token=token)
    assert answer["message"].endswith(f': RBAC: clusterrole.rbac.authorization.k8s.io "{namespace}" not found')

    try:
        role = {"metadata": {"name": namespace}, "rules": [rule("list", "pods nodes")]}
        http.ok("POST", f"{RBAC}/clusterroles", role)
        assert http("GET", f"/api/v1/namespaces/{namespace}/pods", token=token)[0] == 200
        assert http("GET", "/api/v1/namespaces/default/pods", token=token)[0] == 403
        assert http("GET", "/api/v1/nodes", token=token)[0] == 403

        http.ok("POST", f"{RBAC}/clusterrolebindings", binding)
        assert http("GET", "/api/v1/namespaces/default/pods", token=token)[0] == 200
        assert http("GET", "/api/v1/nodes", token=token)[0] == 200
    finally:
        http("DELETE", f"{RBAC}/clusterrolebindings/{namespace}")
        http("DELETE", f"{RBAC}/clusterroles/{namespace}")
    assert user


def test_reviews_tell_the_truth(http, namespace, account):
    """SelfSubjectAccessReview, SubjectAccessReview, LocalSubjectAccessReview and the rules in force agree with 403s."""
    user, token = account
    grant(http, namespace, rule("get list", "pods pods/log"))

    assert may(http, token, verb="list", resource="pods", namespace=namespace)
    assert may(http, token, verb="get", resource="pods", subresource="log", namespace=namespace)
    assert not may(http, token, verb="list", resource="pods")
    assert not may(http, token, verb="delete", resource="pods", namespace=namespace)
    assert may(http, "", verb="delete", resource="anything", group="at.all")
    page = {"spec": {"nonResourceAttributes": {"path": "/apis", "verb": "get"}}}
    assert http.ok("POST", f"{REVIEWS}/selfsubjectaccessreviews", page, token=token)["status"]["allowed"]

    asked = {"verb": "list", "resource": "pods", "namespace": namespace}
    about = {"spec": {"user": user, "resourceAttributes": asked}}
    told = http.ok("POST", f"{REVIEWS}/subjectaccessreviews", about)["status"]
    assert told["allowed"]
    binding = f'RoleBinding "granted/{namespace}" of Role "granted" to ServiceAccount "robot/{namespace}"'
    assert told["reason"] == f"RBAC: allowed by {binding}"
    local = f"{REVIEWS}/namespaces/{namespace}/localsubjectaccessreviews"
    assert http.ok("POST", local, about)["status"]["allowed"]
    assert http("POST", local, about, token=token)[0] == 403
    assert http("POST", f"{REVIEWS}/subjectaccessreviews", about, token=token)[0] == 403

    rules = http.ok("POST", f"{REVIEWS}/selfsubjectrulesreviews", {"spec": {"namespace": namespace}}, token=token)
    assert {"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods", "pods/log"]} in (
        rules["status"]["resourceRules"]
    )
    who = http.ok("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {}, token=token)["status"]["userInfo"]
    assert who["username"] == user
    assert who["groups"] == ["system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"]


def test_tokens_are_bound_to_their_account_and_time(http, namespace, account):
    """A changed token, one for another audience, and one of a deleted account are all 401; short ones are refused."""
    _, token = account
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/robot/token"
    made = http.ok("POST", path, {"spec": {"expirationSeconds": 700}})
    assert made["kind"] == "TokenRequest" and made["spec"]["expirationSeconds"] == 700
    left_s = time.mktime(time.strptime(made["status"]["expirationTimestamp"], "%Y-%m-%dT%H:%M:%SZ")) - time.timezone
    assert 600 < left_s - time.time() <= 700
    other = http.ok("POST", path, {"spec": {"audiences": ["elsewhere"]}})["status"]["token"]
    status, answer = http("POST", path, {"spec": {"expirationSeconds": 60}})
    assert (status, answer["message"]) == (
        422,
        'TokenRequest.authentication.k8s.io "" is invalid: spec.expirationSeconds: Invalid value: 60: '
        "may not specify a duration less than 10 minutes",
    )

    assert http("GET", "/apis", token=token)[0] == 200
    head, claims, signature = token.split(".")
    for wrong in (other, f"{head}.{claims}x.{signature}", f"{head}.{claims}.", "x.y.z", "nonsense"):
        assert http("GET", "/apis", token=wrong)[0] == 401, wrong
    http.ok("DELETE", f"/api/v1/namespaces/{namespace}/serviceaccounts/robot")
    assert http("GET", "/apis", token=token)[0] == 401


def test_impersonation_takes_the_right_to_it(http, namespace, account):
    """The administrator sees what another may; a ServiceAccount may not speak for others."""
    user, token = account
    grant(http, namespace, rule("list", "pods"))
    pods = f"/api/v1/namespaces/{namespace}/pods"

    assert http("GET", pods, headers={"Impersonate-User": user})[0] == 200
    assert http("GET", f"{pods}/a", headers={"Impersonate-User": user})[0] == 403
    _, answer = http("GET", pods, headers={"Impersonate-User": "bob"})
    assert 'User "bob" cannot list' in answer["message"]
    assert http("GET", pods, headers={"Impersonate-User": "bob", "Impersonate-Group": "system:masters"})[0] == 200
    status, answer = http("GET", pods, token=token, headers={"Impersonate-User": "bob"})
    assert status == 403
    assert answer["message"] == (
        f'users "bob" is forbidden: User "{user}" cannot impersonate resource "users" in API group "" '
        "at the cluster scope"
    )


def test_nobody_grants_what_they_have_not(http, namespace, account):
    """Privilege escalation is prevented for roles and for bindings."""
    user, token = account
    grant(
        http, namespace, rule("create update", "roles rolebindings", "rbac.authorization.k8s.io"), rule("get", "pods")
    )
    roles = f"{RBAC}/namespaces/{namespace}/roles"

    assert http("POST", roles, {"metadata": {"name": "a"}, "rules": [rule("get", "pods")]}, token=token)[0] == 201
    status, answer = http("POST", roles, {"metadata": {"name": "b"}, "rules": [rule("get", "secrets")]}, token=token)
    assert status == 403
    assert f'user "{user}" (groups=["system:serviceaccounts"' in answer["message"]
    assert answer["message"].endswith(
        "is attempting to grant RBAC permissions not currently held:\n"
        '{APIGroups:[""], Resources:["secrets"], Verbs:["get"]}'
    )
    binding = {
        "metadata": {"name": "b"},
        "subjects": [{"kind": "ServiceAccount", "name": "robot", "namespace": namespace}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
    }
    assert http("POST", f"{RBAC}/namespaces/{namespace}/rolebindings", binding, token=token)[0] == 403


def test_applying_what_is_not_there_takes_the_right_to_create(http, namespace, account):
    """patch alone changes, and does not make."""
    _, token = account
    grant(http, namespace, rule("get patch", "configmaps"))
    path = f"/api/v1/namespaces/{namespace}/configmaps/a"
    wish = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "v"}}
    sent = {"content_type": "application/apply-patch+yaml", "fieldManager": "test"}

    status, answer = http("PATCH", path, wish, token=token, **sent)
    assert status == 403 and 'cannot create resource "configmaps"' in answer["message"]
    http.ok("PATCH", path, wish, **sent)
    assert http("PATCH", path, wish, token=token, **sent)[0] == 200


def test_roles_and_bindings_are_checked(http, namespace):
    """The messages of the real validation; a binding's role never changes."""
    roles, bindings = f"{RBAC}/namespaces/{namespace}/roles", f"{RBAC}/namespaces/{namespace}/rolebindings"
    for bad, said in [
        ({"verbs": ["get"], "resources": ["pods"]}, "rules[0].apiGroups: Required value: resource rules must supply"),
        ({"verbs": [], "apiGroups": [""], "resources": ["pods"]}, "rules[0].verbs: Required value"),
        ({"verbs": ["get"], "nonResourceURLs": ["/x"]}, "namespaced rules cannot apply to non-resource URLs"),
    ]:
        status, answer = http("POST", roles, {"metadata": {"name": "a:b"}, "rules": [bad]})
        assert status == 422 and said in answer["message"], answer["message"]
    http.ok("POST", roles, {"metadata": {"name": "a:b"}, "rules": []})
    ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "a:b"}
    http.ok("POST", bindings, {"metadata": {"name": "a"}, "roleRef": ref})
    changed = {"metadata": {"name": "a"}, "roleRef": {**ref, "name": "other"}}
    status, answer = http("PUT", f"{bindings}/a", changed)
    assert status == 422 and answer["message"].endswith(": cannot change roleRef")
    assert http("POST", bindings, {"metadata": {"name": "b"}, "roleRef": {**ref, "kind": "Thing"}})[0] == 422


def test_the_administrator_keeps_every_right(http, namespace):
    """system:masters is above all roles, whatever is bound."""
    http.ok("GET", "/api/v1/nodes")
    http.ok("GET", f"/api/v1/namespaces/{namespace}/secrets")
    names = [role["metadata"]["name"] for role in http.ok("GET", f"{RBAC}/clusterroles")["items"]]
    assert {"cluster-admin", "view", "edit", "admin", "system:discovery"} <= set(names)
