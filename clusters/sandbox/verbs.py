"""Create, update, patch, delete: what each verb does to the store, and what it answers."""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web

from clusters.sandbox import rbac, validation
from clusters.sandbox.apply import apply, track
from clusters.sandbox.call import Call, answer
from clusters.sandbox.decoding import decode
from clusters.sandbox.errors import ApiError, BadRequest, Conflict, Invalid, NotFound
from clusters.sandbox.objects import Object, Stored, thaw
from clusters.sandbox.patch import json_patch, merge, strategic
from clusters.sandbox.reading import selected
from clusters.sandbox.schema import type_of
from clusters.sandbox.store import Store

_PATCHES = ("json-patch+json", "merge-patch+json", "strategic-merge-patch+json", "apply-patch+yaml")
_RETURNED = {"pods", "services", "namespaces", "serviceaccounts", "resourcequotas"}  # what a delete answers with
_MUST_NAME_REVISION = {"leases", "poddisruptionbudgets"}
_SYSTEM = ("uid", "creationTimestamp", "selfLink", "generation", "deletionTimestamp", "deletionGracePeriodSeconds")


class Verbs:
    """The verbs that change objects, over one store."""

    def __init__(self, store: Store, rights: rbac.Rights) -> None:
        self._store, self._rights = store, rights

    def _found(self, call: Call) -> Stored:
        return self._store.get(call.kind.key, call.name or "", call.namespace)

    async def create(self, call: Call) -> web.Response:
        """A new object from the body."""
        obj = decode(call, await call.body())
        return answer(self._create(call, obj).wire(call.shown_as), 201, call.warnings)

    def _create(self, call: Call, obj: Object) -> Stored:
        meta, kind = obj["metadata"], call.kind
        if meta.get("resourceVersion"):
            raise BadRequest("resourceVersion should not be set on objects to be created")
        for field in _SYSTEM:
            meta.pop(field, None)
        if kind.has_status and kind.key != "nodes":
            obj.pop("status", None)
        self._check_namespace(call)
        self._check_definition(call)
        if not meta.get("name") and not meta.get("generateName"):
            what = "metadata.name"
            causes = [(what, "FieldValueRequired", "Required value: name or generateName is required")]
            raise Invalid(kind.kind, kind.group, "", causes)
        validation.check(kind, obj, None)
        if kind.group == rbac.GROUP:
            self._rights.check_grant(call.user, obj)
        if "managedFields" not in meta or not meta["managedFields"]:
            track(kind, None, obj, call.manager)
        return self._store.create(kind.key, obj, call.namespace, dry_run=call.dry_run)

    def _may_create(self, call: Call) -> None:
        """An update or patch that would make the object takes the right to create it too."""
        where = {"namespace": call.namespace or "", "name": call.name or ""}
        self._rights.check(
            call.user, rbac.Act(verb="create", group=call.kind.group, resource=call.kind.plural, **where)
        )

    def _check_namespace(self, call: Call) -> None:
        if not call.kind.namespaced:
            return
        name = call.namespace or "default"
        space = self._store.find("namespaces", name)
        if space is None:
            raise NotFound("namespaces", name)
        if "deletionTimestamp" in space["metadata"]:
            why = f"unable to create new content in namespace {name} because it is being terminated"
            cause = {"reason": "NamespaceTerminating", "message": f"namespace {name} is being terminated"}
            message = f"{call.kind.qualified} is forbidden: {why}"
            raise ApiError(403, "Forbidden", message, {"causes": [cause | {"field": "metadata.namespace"}]})

    def _check_definition(self, call: Call) -> None:
        kind = call.kind
        definition = self._store.find("customresourcedefinitions", kind.key) if kind.custom else None
        if definition is not None and "deletionTimestamp" in definition["metadata"]:
            why = "create not allowed while custom resource definition is terminating"
            raise ApiError(403, "Forbidden", f"{kind.qualified} is forbidden: {why}")

    async def update(self, call: Call) -> web.Response:
        """Replaces an object, or its status."""
        obj = decode(call, await call.body())
        if call.kind.key == "leases" and self._store.find("leases", call.name or "", call.namespace) is None:
            self._may_create(call)
            return answer(self._create(call, obj).wire(call.shown_as), 201, call.warnings)
        return answer(self._update(call, obj).wire(call.shown_as), 200, call.warnings)

    def _update(self, call: Call, obj: Object, *, tracked: bool = False) -> Stored:
        kind, old, meta = call.kind, self._found(call), obj["metadata"]
        status = call.subresource == "status"
        if not meta.get("resourceVersion") and (kind.key in _MUST_NAME_REVISION or kind.custom):
            said = "Invalid value: 0x0: must be specified for an update"
            raise Invalid(
                kind.kind, kind.group, meta["name"], [("metadata.resourceVersion", "FieldValueInvalid", said)]
            )
        if meta.get("resourceVersion") not in (None, "", old["metadata"]["resourceVersion"]):
            raise Conflict(kind.qualified, meta["name"])
        if call.subresource == "finalize":
            merged = thaw(old)
            merged["spec"]["finalizers"] = (obj.get("spec") or {}).get("finalizers", [])
            return self._store.update(kind.key, merged, dry_run=call.dry_run)
        if not status:
            validation.check(kind, obj, old)
        elif kind.custom:
            validation.check_status(kind, obj)
        if kind.group == rbac.GROUP:
            self._rights.check_grant(call.user, obj)
        if not tracked:
            track(kind, old, obj, call.manager, "status" if status else "")
        return self._store.update(kind.key, obj, status=status, dry_run=call.dry_run)

    async def patch(self, call: Call) -> web.Response:
        """Changes an object by one of the four patch types; server-side apply may create it."""
        content = call.request.content_type.removeprefix("application/")
        if content not in _PATCHES or (call.kind.custom and content == "strategic-merge-patch+json"):
            accepted = ", ".join(f"application/{p}" for p in _PATCHES)
            said = f"the body of the request was in an unknown format - accepted media types include: {accepted}"
            raise ApiError(415, "UnsupportedMediaType", said)
        body = await call.body()
        if content == "apply-patch+yaml":
            return self._apply(call, body)
        old = self._found(call)
        if content == "json-patch+json":
            changed = json_patch(thaw(old), body)
        elif not isinstance(body, dict):
            raise BadRequest("json: cannot unmarshal array into Go value of type map[string]interface {}")
        elif content == "merge-patch+json":
            changed = merge(thaw(old), body)
        else:
            changed = strategic(thaw(old), body, type_of(call.kind))
        if not isinstance(changed, dict):
            raise BadRequest("the patched object is no object")
        if (uid := (changed.get("metadata") or {}).get("uid")) not in (None, "", old["metadata"]["uid"]):
            cause = ("metadata.uid", "FieldValueInvalid", f'Invalid value: "{uid}": field is immutable')
            raise Invalid(call.kind.kind, call.kind.group, old["metadata"]["name"], [cause])
        return answer(self._update(call, decode(call, changed)).wire(call.shown_as), 200, call.warnings)

    def _apply(self, call: Call, body: Any) -> web.Response:
        if not call.option("fieldManager"):
            raise BadRequest(
                'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch'
            )
        wish = decode(call, body)
        if wish["metadata"].get("managedFields"):
            raise BadRequest("metadata.managedFields must be nil")
        old = self._store.find(call.kind.key, call.name or "", call.namespace)
        if old is None:
            self._may_create(call)
            bare = {"metadata": {k: v for k, v in wish["metadata"].items() if k in ("name", "namespace")}}
            fresh = apply(call.kind, bare | {k: wish[k] for k in ("apiVersion", "kind")}, wish, call.manager, False)
            return answer(self._create(call, fresh).wire(call.shown_as), 201, call.warnings)
        if (
            wish["metadata"].get("resourceVersion", old["metadata"]["resourceVersion"])
            != old["metadata"]["resourceVersion"]
        ):
            raise Conflict(call.kind.qualified, call.name or "")
        changed = apply(call.kind, old, wish, call.manager, call.flag("force"))
        return answer(self._update(call, changed, tracked=True).wire(call.shown_as), 200, call.warnings)

    async def delete(self, call: Call) -> web.Response:
        """Deletes one object as the DeleteOptions say."""
        options = await self._delete_options(call)
        kind, name = call.kind, call.name or ""
        obj = self._store.delete(kind.key, name, call.namespace, **options)
        kept = self._store.find(kind.key, name, call.namespace) is not None
        if kept or kind.key in _RETURNED:
            return answer(obj.wire(call.shown_as))
        details = {"name": name} | ({"group": kind.group} if kind.group else {})
        details |= {"kind": kind.plural, "uid": obj["metadata"]["uid"]}
        status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
        return answer(status)

    async def delete_collection(self, call: Call) -> web.Response:
        """Deletes everything that the selectors mean."""
        if call.kind.key == "namespaces":
            raise ApiError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
        options, matches = await self._delete_options(call), selected(call)
        found = [o for o in self._store.list(call.kind.key, call.namespace) if matches is None or matches(o)]
        for obj in found:
            meta = obj["metadata"]
            self._store.delete(call.kind.key, meta["name"], meta.get("namespace"), **options)
        items = b",".join(obj.item() for obj in found)
        api = call.kind.api_version
        meta = {"resourceVersion": str(self._store.revision)}
        head = f'{{"kind":"{call.kind.kind}List","apiVersion":"{api}","metadata":{json.dumps(meta)},"items":['
        return answer(head.encode() + items + b"]}")

    async def _delete_options(self, call: Call) -> dict[str, Any]:
        return delete_options(await call.body(required=False), call)


def delete_options(body: Any, call: Call) -> dict[str, Any]:
    """DeleteOptions from the body, or where it says nothing from the query, as arguments of Store.delete."""
    body = body if isinstance(body, dict) else {}
    grace: Any = body.get("gracePeriodSeconds", call.option("gracePeriodSeconds") or None)
    policy = body.get("propagationPolicy") or call.option("propagationPolicy")
    orphan = body.get("orphanDependents")
    if not policy:
        policy = "Orphan" if orphan is True or call.flag("orphanDependents") else "Background"
    if policy not in ("Background", "Foreground", "Orphan"):
        supported = 'supported values: "Background", "Foreground", "Orphan"'
        said = f'Unsupported value: "{policy}": {supported}'
        raise Invalid("DeleteOptions", "meta.k8s.io", "", [("propagationPolicy", "FieldValueNotSupported", said)])
    preconditions = body.get("preconditions") or {}
    return {
        "grace": None if grace is None else int(grace),
        "uid": preconditions.get("uid"),
        "revision": preconditions.get("resourceVersion"),
        "propagation": policy,
        "dry_run": call.dry_run or "All" in (body.get("dryRun") or ()),
    }
