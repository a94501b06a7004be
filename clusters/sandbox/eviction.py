"""Whether a pod may be evicted now: the disruption budgets' say, as the API server asks them."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from clusters.sandbox.call import Call, answer
from clusters.sandbox.errors import ApiError, BadRequest, TooManyRequests
from clusters.sandbox.objects import Object, Stored, now, thaw
from clusters.sandbox.selectors import label_matcher
from clusters.sandbox.store import Store
from clusters.sandbox.verbs import delete_options

_REFUSED = "Cannot evict pod as it would violate the pod's disruption budget."


async def evict(call: Call, store: Store) -> web.Response:
    """Deletes the pod with its grace if no budget is in the way, else 429. The body may lack apiVersion and kind."""
    body = await call.body()
    if not isinstance(body, dict):
        raise BadRequest("the body is no Eviction")
    if (body.get("metadata") or {}).get("name", call.name) != call.name:
        raise BadRequest("name in URL does not match name in Eviction object")
    options = delete_options(body.get("deleteOptions"), call)
    pod = store.get("pods", call.name or "", call.namespace)
    phase = (pod.get("status") or {}).get("phase")
    if phase not in ("Succeeded", "Failed", "Pending") and "deletionTimestamp" not in pod["metadata"]:
        _ask_budget(pod, store, options["dry_run"])
    _delete(pod, store, options)
    return answer({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}, 201)


def _ask_budget(pod: Stored, store: Store, dry_run: bool) -> None:
    budgets = [b for b in store.list("poddisruptionbudgets", pod["metadata"]["namespace"]) if _covers(b, pod)]
    if not budgets:
        return
    if len(budgets) > 1:
        said = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
        raise ApiError(500, "InternalError", said)
    budget, status = budgets[0], budgets[0].get("status") or {}
    name, healthy, desired = (
        budget["metadata"]["name"],
        status.get("currentHealthy", 0),
        status.get("desiredHealthy", 0),
    )
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions") or ())
    if not ready:
        always = budget["spec"].get("unhealthyPodEvictionPolicy") == "AlwaysAllow"
        if always or (healthy >= desired > 0):
            return
    if status.get("observedGeneration", 0) < budget["metadata"]["generation"]:
        raise _refusal(f"The disruption budget {name} is still being processed by the server.", 10)
    if status.get("disruptionsAllowed", 0) == 0:
        if healthy <= desired:
            raise _refusal(f"The disruption budget {name} needs {desired} healthy pods and has {healthy} currently")
        raise _refusal(f"The disruption budget {name} does not allow evicting pods currently")
    if dry_run:
        return

    def take_one(obj: Object) -> None:
        obj["status"]["disruptionsAllowed"] -= 1
        obj["status"].setdefault("disruptedPods", {})[pod["metadata"]["name"]] = now()
        if obj["status"]["disruptionsAllowed"] == 0:
            for condition in obj["status"].get("conditions") or ():
                if condition["type"] == "DisruptionAllowed":
                    condition |= {"status": "False", "reason": "InsufficientPods", "lastTransitionTime": now()}

    store.mutate("poddisruptionbudgets", name, pod["metadata"]["namespace"], take_one, status=True)


def _covers(budget: Stored, pod: Stored) -> bool:
    """A null selector means no pod, an empty one every pod."""
    selector = budget["spec"].get("selector")
    if selector is None:
        return False
    matches = label_matcher(selector)
    return matches is None or matches(pod["metadata"].get("labels") or {})


def _refusal(message: str, retry_after_s: int = 0) -> TooManyRequests:
    details: dict[str, Any] = {"causes": [{"reason": "DisruptionBudget", "message": message}]}
    return TooManyRequests(_REFUSED, details | ({"retryAfterSeconds": retry_after_s} if retry_after_s else {}))


def _delete(pod: Stored, store: Store, options: dict[str, Any]) -> None:
    meta = pod["metadata"]
    if options["uid"] in (None, meta["uid"]) and not options["dry_run"] and "deletionTimestamp" not in meta:
        said = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}
        said |= {"message": "Eviction API: evicting", "lastTransitionTime": now()}

        def mark(obj: Object) -> None:
            conditions = [c for c in obj["status"].get("conditions") or () if c["type"] != "DisruptionTarget"]
            obj["status"]["conditions"] = [*conditions, thaw(said)]

        if options["revision"] in (None, meta["resourceVersion"]):
            options |= {"revision": None}
            store.mutate("pods", meta["name"], meta["namespace"], mark, status=True)
    store.delete("pods", meta["name"], meta["namespace"], **options)
