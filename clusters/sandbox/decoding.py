"""The body of a request becomes an object of its kind, or is refused."""

from __future__ import annotations

from typing import Any

from clusters.sandbox import structural
from clusters.sandbox.call import Call
from clusters.sandbox.errors import ApiError, BadRequest
from clusters.sandbox.objects import Object
from clusters.sandbox.schema import Decoder, type_of


def decode(call: Call, body: Any) -> Object:
    """The body as an object of the call's kind, checked against its type, its place and its name."""
    kind = call.kind
    if not isinstance(body, dict):
        raise BadRequest("couldn't get version/kind; json parse error: the body is not an object")
    api = f"{kind.group}/{call.version}" if kind.group else call.version
    if body.get("kind", kind.kind) != kind.kind or body.get("apiVersion", api) != api:
        given = f"{body.get('kind')} in version {body.get('apiVersion')!r}"
        raise BadRequest(f"{given} cannot be handled as a {kind.kind}: it does not match {api}, Kind={kind.kind}")
    decoder, type_name = Decoder(kind.kind, call.version), type_of(kind, call.version)
    obj = decoder.decode(body, type_name or "")
    obj["metadata"] = (
        decoder.decode(body.get("metadata") or {}, "ObjectMeta") if kind.custom else obj.get("metadata", {})
    )
    if kind.custom:
        decoder.unknown += structural.prune(kind.schema[call.version], obj)
    if call.option("fieldValidation") == "Strict":
        decoder.refuse_unknown()
    elif call.option("fieldValidation") != "Ignore":
        call.warnings += [f'unknown field "{path}"' for path in decoder.unknown]
    if not kind.custom and call.version != kind.version:
        _convert(call, obj)
    obj |= {"apiVersion": kind.api_version, "kind": kind.kind}
    meta = obj["metadata"]
    if kind.namespaced:
        if meta.get("namespace", call.namespace) != call.namespace:
            said = "the namespace of the provided object does not match the namespace sent on the request"
            raise BadRequest(said)
        meta["namespace"] = call.namespace
    else:
        meta.pop("namespace", None)
    if call.name and meta.setdefault("name", call.name) != call.name:
        said = f"the name of the object ({meta['name']}) does not match the name on the URL ({call.name})"
        raise BadRequest(said)
    return obj


def _convert(call: Call, obj: Object) -> None:
    """A new HorizontalPodAutoscaler of autoscaling/v1, as `kubectl autoscale` sends it, becomes one of v2."""
    if call.request.method != "POST":
        said = f"the sandbox changes {call.kind.plural} as {call.kind.api_version} alone; see docs/sandbox.md"
        raise ApiError(501, "NotImplemented", said)
    percent = obj["spec"].pop("targetCPUUtilizationPercentage", None)
    if percent is not None:
        target = {"type": "Utilization", "averageUtilization": percent}
        obj["spec"]["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
