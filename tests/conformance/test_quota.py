"""Resource Quotas: what a namespace may hold, counted by a controller, refused at the door."""

from __future__ import annotations

import pytest

from tests.conformance.api import Api, Object, RefusedError, condition, wait_for
from tests.conformance.manifests import deployment, pod


def quota(api: Api, **hard: str) -> None:
    """A quota `q`, counted once. `requests_cpu` is requests.cpu; `nvidia` is requests.nvidia.com/gpu."""
    names = {"nvidia": "requests.nvidia.com/gpu", "count_secrets": "count/secrets",
             "count_deployments": "count/deployments.apps"}  # fmt: skip
    limits = {names.get(name, name.replace("_", ".")): value for name, value in hard.items()}
    api.create("resourcequotas", {"metadata": {"name": "q"}, "spec": {"hard": limits}})
    api.until("resourcequotas", "q", lambda q: set(q.get("status", {}).get("used", {})) == set(limits), "counted")


def secret(name: str) -> Object:
    """An object of a kind that no namespace has any of by itself."""
    return {"metadata": {"name": name}, "stringData": {"k": "v"}}


def used(api: Api) -> Object:
    """What the quota's status says is used."""
    return api.get("resourcequotas", "q")["status"]["used"]


def counted(api: Api, what: str, amount: str) -> None:
    """So much is used. What a server let in before it heard of the quota is counted by the controller."""
    api.until("resourcequotas", "q", lambda q: q["status"]["used"][what] == amount, "counted")


def taken(api: Api, plural: str, obj: Object) -> None:
    """It is created, once every server has heard that there is room."""
    wait_for(lambda: api.send("POST", api.path(plural), obj)[0] == 201, "room", 30)


def idle(api: Api, name: str, **resources: Object) -> Object:
    """A pod that no node takes: only its count matters."""
    made = pod(api, name, resources=resources) if resources else pod(api, name)
    made["spec"]["nodeSelector"] = {"conformance": "nowhere"}
    return made


def test_status_shows_the_limit_and_what_is_used(api: Api) -> None:
    """Viewing quotas: status.hard repeats the limits, status.used counts, in canonical amounts."""
    quota(api, count_secrets="10", requests_cpu="2000m", requests_memory="2048Mi", pods="5")

    assert api.get("resourcequotas", "q")["status"]["hard"] == {
        "count/secrets": "10", "requests.cpu": "2", "requests.memory": "2Gi", "pods": "5",
    }  # fmt: skip
    assert used(api) == {"count/secrets": "0", "requests.cpu": "0", "requests.memory": "0", "pods": "0"}
    api.create("secrets", secret("one"))
    counted(api, "count/secrets", "1")


def test_a_quota_refuses_what_goes_beyond_it(api: Api) -> None:
    """403 with what was asked, used and allowed; what is there already stays."""
    quota(api, count_secrets="1")
    api.create("secrets", secret("one"))
    counted(api, "count/secrets", "1")

    with pytest.raises(RefusedError) as told:
        api.create("secrets", secret("two"))

    assert (told.value.code, told.value.reason) == (403, "Forbidden")
    assert told.value.message == (
        'secrets "two" is forbidden: exceeded quota: q, requested: count/secrets=1, '
        "used: count/secrets=1, limited: count/secrets=1"
    )
    assert api.get("secrets", "one")


def test_pods_are_counted_and_given_back(api: Api) -> None:
    """Object count quota: pods in a terminal state or deleted make room."""
    quota(api, pods="1")
    api.create("pods", idle(api, "one"))
    counted(api, "pods", "1")

    with pytest.raises(RefusedError) as told:
        api.create("pods", idle(api, "two"))
    assert "exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1" in told.value.message

    api.delete("pods", "one")
    api.until("resourcequotas", "q", lambda q: q["status"]["used"]["pods"] == "0", "given back", within_s=60)
    taken(api, "pods", idle(api, "two"))


def test_compute_is_the_sum_of_the_containers_requests(api: Api) -> None:
    """Compute Resource Quota: requests and limits of all pods that are not in a terminal state."""
    quota(api, requests_cpu="1", limits_memory="1Gi")
    api.create("pods", idle(api, "one", requests={"cpu": "600m"}, limits={"memory": "512Mi"}))
    counted(api, "requests.cpu", "600m")

    assert used(api)["limits.memory"] == "512Mi"
    with pytest.raises(RefusedError) as told:
        api.create("pods", idle(api, "two", requests={"cpu": "500m"}, limits={"memory": "1Mi"}))
    assert told.value.message.endswith(
        "exceeded quota: q, requested: requests.cpu=500m, used: requests.cpu=600m, limited: requests.cpu=1"
    )


def test_a_quota_on_compute_demands_that_pods_name_it(api: Api) -> None:
    """If quota is enabled for cpu or memory, each container must specify them; else the pod is refused."""
    quota(api, requests_cpu="1", limits_memory="1Gi")

    with pytest.raises(RefusedError) as told:
        api.create("pods", idle(api, "one"))

    assert told.value.code == 403
    assert "failed quota: q: must specify limits.memory for: main; requests.cpu for: main" in told.value.message


def test_extended_resources_are_quotaed_by_their_requests(api: Api) -> None:
    """Quota for extended resources: requests.nvidia.com/gpu."""
    quota(api, nvidia="1")
    api.create("pods", idle(api, "one", limits={"nvidia.com/gpu": "1"}))
    counted(api, "requests.nvidia.com/gpu", "1")

    with pytest.raises(RefusedError) as told:
        api.create("pods", idle(api, "two", limits={"nvidia.com/gpu": "1"}))
    assert "requested: requests.nvidia.com/gpu=1, used: requests.nvidia.com/gpu=1" in told.value.message
    api.create("pods", idle(api, "plain"))


def test_other_kinds_are_counted_by_their_resource_and_group(api: Api) -> None:
    """count/<resource>.<group>."""
    quota(api, count_deployments="1")
    api.create("deployments", deployment(api, "one", replicas=0))
    counted(api, "count/deployments.apps", "1")

    with pytest.raises(RefusedError) as told:
        api.create("deployments", deployment(api, "two", replicas=0))

    assert told.value.message.startswith('deployments.apps "two" is forbidden: exceeded quota: q, ')


def test_a_workload_beyond_the_quota_says_so(api: Api) -> None:
    """The Deployment is taken, its ReplicaSet cannot make all pods, and the condition has the quota's words."""
    quota(api, pods="1")
    api.create("deployments", deployment(api, "web", replicas=2))

    def failed() -> str:
        failure = "ReplicaFailure"
        found = api.get("deployments", "web")
        if condition(found, failure) != "True":
            return ""
        return str(next(c["message"] for c in found["status"]["conditions"] if c["type"] == failure))

    said = wait_for(failed, "the condition", 60)
    assert "exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1" in said


def test_a_quota_with_a_scope_counts_only_what_is_in_it(api: Api) -> None:
    """Quota Scopes: BestEffort matches pods without requests."""
    spec = {"hard": {"pods": "1"}, "scopes": ["BestEffort"]}
    api.create("resourcequotas", {"metadata": {"name": "q"}, "spec": spec})
    api.until("resourcequotas", "q", lambda q: "pods" in q.get("status", {}).get("used", {}), "counted")

    api.create("pods", idle(api, "guaranteed", limits={"cpu": "10m", "memory": "10Mi"}))
    api.create("pods", idle(api, "one"))
    with pytest.raises(RefusedError):
        api.create("pods", idle(api, "two"))


def test_a_raised_limit_makes_room(api: Api) -> None:
    """Changing the quota takes effect for what is created afterwards."""
    quota(api, count_secrets="1")
    api.create("secrets", secret("one"))
    counted(api, "count/secrets", "1")
    with pytest.raises(RefusedError):
        api.create("secrets", secret("two"))

    api.patch("resourcequotas", "q", {"spec": {"hard": {"count/secrets": "3"}}}, "merge")
    api.until("resourcequotas", "q", lambda q: q["status"]["hard"]["count/secrets"] == "3", "followed")
    taken(api, "secrets", secret("two"))
