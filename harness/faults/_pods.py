"""Which pods are struck, and what the cluster says of them afterwards."""

from __future__ import annotations

from typing import Any

from harness import guard
from harness.faults._prove import Claim
from harness.faults._strike import Aim, FaultError
from harness.kube import Cluster, Object


def choose(aim: Aim, selector: str, count: int | str) -> list[Object]:
    """`count` ready pods ("all": every one), chosen by the run's seed. Raises FaultError; nothing was touched."""
    pods = matching(aim, selector)
    ready = sorted((pod for pod in pods if guard.is_ready(pod)), key=lambda pod: str(pod["metadata"]["name"]))
    wanted = len(ready) if count == "all" else int(count)
    if wanted < 1:
        raise FaultError(f"count is {count}: no pod would be struck. Nothing was touched.")
    if len(ready) < wanted:
        raise FaultError(
            f"{wanted} pods were to be struck, and {len(ready)} of the {len(pods)} that match are ready",
            hint="lower count, or look at the pods that are not ready. Nothing was touched.",
        )
    aim.refuse_excess(pods=wanted, nodes=0, total=len(pods), left=len(ready) - wanted)
    return aim.rng.sample(ready, wanted)


def matching(aim: Aim, selector: str) -> list[Object]:
    """The pods of a selector. Raises FaultError that names the labels in use when there is none."""
    pods = aim.cluster.list("Pod", aim.namespace, selector)
    if not pods:
        refusal = guard.no_target(selector, aim.namespace, aim.cluster)
        raise FaultError(refusal.message, hint=refusal.hint)
    return pods


def facts_of(pod: Object) -> dict[str, Any]:
    """What the judge must know of a pod."""
    return {"pod": pod["metadata"]["name"], "uid": pod["metadata"]["uid"], "node": pod["spec"].get("nodeName")}


def controller_of(pod: Object) -> Object | None:
    """The owner reference that will replace the pod."""
    owners = pod["metadata"].get("ownerReferences") or []
    return next((owner for owner in owners if owner.get("controller")), None)


def gone(cluster: Cluster, pod: Object) -> Claim:
    """The pod's uid is no longer there; a new pod of the same name is another one."""
    name, namespace, uid = (pod["metadata"][key] for key in ("name", "namespace", "uid"))

    def check() -> str:
        found = cluster.get("Pod", name, namespace)
        return f"pod {name} is gone" if found is None or found["metadata"]["uid"] != uid else ""

    return Claim(name="pod-gone", check=check, key=_gone_key(pod), facts={"pod": name, "uid": uid})


def withdrawn(cluster: Cluster, pod: Object, service: str) -> Claim:
    """The Service leads no new connection to the pod."""
    name, namespace, uid = (pod["metadata"][key] for key in ("name", "namespace", "uid"))

    def check() -> str:
        slices = cluster.list("EndpointSlice", namespace, f"kubernetes.io/service-name={service}")
        return "" if any(_leads_to(each, uid) for each in slices) else f"no endpoint of {service} leads to {name}"

    return Claim(
        name="endpoint-withdrawn",
        check=check,
        key=_withdrawn_key(pod),
        facts={"pod": name, "uid": uid, "service": service},
    )


def silent_once_withdrawn(pod: Object) -> Claim:
    """No answer from a pod that was killed, once its endpoint is withdrawn. The requests tell."""
    return Claim(name="pod-silent", channel="requests", facts=facts_of(pod), after=_withdrawn_key(pod))


def silent_once_gone(pod: Object) -> Claim:
    """No answer from a pod that was evicted, once it is gone. Until then it may finish what kept connections ask."""
    return Claim(name="pod-silent", channel="requests", facts=facts_of(pod), after=_gone_key(pod))


def _leads_to(endpoint_slice: Object, uid: str) -> bool:
    return any(
        (endpoint.get("targetRef") or {}).get("uid") == uid and (endpoint.get("conditions") or {}).get("ready", True)
        for endpoint in endpoint_slice.get("endpoints") or []
    )


def _withdrawn_key(pod: Object) -> str:
    return f"endpoint-withdrawn {pod['metadata']['uid']}"


def _gone_key(pod: Object) -> str:
    return f"pod-gone {pod['metadata']['uid']}"
