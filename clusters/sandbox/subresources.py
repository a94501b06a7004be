"""Scale and binding."""

from __future__ import annotations

from aiohttp import web

from clusters.sandbox.apply import track
from clusters.sandbox.call import Call, answer
from clusters.sandbox.errors import BadRequest, Conflict, Invalid
from clusters.sandbox.objects import Object, Stored, now, thaw
from clusters.sandbox.patch import json_patch, merge
from clusters.sandbox.store import Store


def scale_of(obj: Stored) -> Object:
    """The Scale object of a workload."""
    meta, selector = obj["metadata"], obj["spec"].get("selector") or {}
    labels = [f"{k}={v}" for k, v in sorted((selector.get("matchLabels") or {}).items())]
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    status = {"replicas": (obj.get("status") or {}).get("replicas", 0), "selector": ",".join(labels)}
    scale: Object = {"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": {k: meta[k] for k in kept}}
    return scale | {"spec": {"replicas": obj["spec"].get("replicas", 0)}, "status": status}


async def scale(call: Call, store: Store) -> web.Response:
    """Reads or sets the wished number of replicas."""
    obj = store.get(call.kind.key, call.name or "", call.namespace)
    if call.request.method == "GET":
        return answer(scale_of(obj))
    body = await call.body()
    wish = body
    if call.request.method == "PATCH":
        present = scale_of(obj)
        wish = json_patch(present, body) if isinstance(body, list) else merge(present, body)
    if not isinstance(wish, dict):
        raise BadRequest("the body is no Scale")
    revision = (wish.get("metadata") or {}).get("resourceVersion")
    if revision and revision != obj["metadata"]["resourceVersion"]:
        raise Conflict(call.kind.qualified, call.name or "")
    replicas = (wish.get("spec") or {}).get("replicas", 0)
    if not isinstance(replicas, int) or replicas < 0:
        said = f"Invalid value: {replicas}: must be greater than or equal to 0"
        raise Invalid("Scale", "autoscaling", call.name or "", [("spec.replicas", "FieldValueInvalid", said)])
    changed = thaw(obj)
    changed["spec"]["replicas"] = replicas
    track(call.kind, obj, changed, call.manager, "scale")
    return answer(scale_of(store.update(call.kind.key, changed, dry_run=call.dry_run)))


async def bind(call: Call, store: Store) -> web.Response:
    """Puts a pod on a node, once."""
    body = await call.body()
    target = (body.get("target") or {}).get("name") if isinstance(body, dict) else None
    if not target:
        raise Invalid("Binding", "", call.name or "", [("target.name", "FieldValueRequired", "Required value")])

    def put(pod: Object) -> None:
        if pod["spec"].get("nodeName"):
            why = f'pod {pod["metadata"]["name"]} is already assigned to node "{pod["spec"]["nodeName"]}"'
            raise Conflict("pods/binding", pod["metadata"]["name"], why)
        pod["spec"]["nodeName"] = target

    def say(pod: Object) -> None:
        conditions = [c for c in pod["status"].get("conditions") or () if c["type"] != "PodScheduled"]
        scheduled = {"type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": now()}
        pod["status"]["conditions"] = [*conditions, scheduled]

    if not call.dry_run:
        store.mutate("pods", call.name or "", call.namespace, put)
        store.mutate("pods", call.name or "", call.namespace, say, status=True)
    return answer({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}, 201)
