"""Which objects the API server refuses, and in which words."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from clusters.sandbox import pod_rules, rbac, structural
from clusters.sandbox.amounts import parse
from clusters.sandbox.causes import Faults
from clusters.sandbox.errors import Invalid
from clusters.sandbox.kinds import Kind
from clusters.sandbox.names import DNS_LABEL, SAID_LABEL, SAID_SUBDOMAIN, SUBDOMAIN, labels, qualified
from clusters.sandbox.objects import Object, Stored
from clusters.sandbox.schema import fields, type_of


def check(kind: Kind, obj: Object, old: Stored | None) -> None:
    """Raises Invalid with every fault found; `old` is what an update replaces."""
    faults = Faults()
    _metadata(kind, obj["metadata"], faults)
    if old is not None and "deletionTimestamp" in old["metadata"]:
        added = set(obj["metadata"].get("finalizers") or ()) - set(old["metadata"].get("finalizers") or ())
        if added:
            found = ", ".join(f'"{one}"' for one in sorted(added))
            why = "no new finalizers can be added if the object is being deleted, found new finalizers"
            said = f"Forbidden: {why} []string{{{found}}}"
            faults.causes.append(("metadata.finalizers", "FieldValueForbidden", said))
    _required(obj, type_of(kind), "", faults)
    if kind.custom:
        structural.fill(kind.schema[kind.version], obj)
        faults.causes += structural.faults(kind.schema[kind.version], obj)
    if not faults.causes and (more := _KINDS.get(kind.key)):
        more(obj, old, faults)
    if faults.causes:
        name = obj["metadata"].get("name") or obj["metadata"].get("generateName", "")
        raise Invalid(kind.kind, kind.group, name, faults.causes)


def check_status(kind: Kind, obj: Object) -> None:
    """The same for the status of a custom object, which is all that its subresource writes."""
    schema = (kind.schema[kind.version].get("properties") or {}).get("status")
    causes = list(structural.faults(schema, obj["status"], "status")) if schema and "status" in obj else []
    if causes:
        raise Invalid(kind.kind, kind.group, obj["metadata"]["name"], causes)


def _metadata(kind: Kind, meta: Object, faults: Faults) -> None:
    name = meta.get("name") or meta.get("generateName", "").rstrip("-") or "x"
    if kind.key in ("namespaces", "services"):
        if not DNS_LABEL.fullmatch(name) or len(name) > 63:
            faults.invalid("metadata.name", name, SAID_LABEL)
    elif kind.group == rbac.GROUP:
        if name in (".", "..") or "/" in name or "%" in name:
            faults.invalid("metadata.name", name, "may not contain '/' or '%', and may not be '.' or '..'")
    elif not SUBDOMAIN.fullmatch(name) or len(name) > 253:
        faults.invalid("metadata.name", name, SAID_SUBDOMAIN)
    labels(meta.get("labels") or {}, "metadata.labels", faults)
    for key in meta.get("annotations") or {}:
        if not qualified(key.lower()):
            faults.invalid(
                "metadata.annotations", key, "name part must consist of alphanumeric characters, '-', '_' or '.'"
            )


def _required(obj: Any, type_name: str | None, path: str, faults: Faults) -> None:
    """Every field that the schema calls required is there."""
    known = fields(type_name) if type_name else None
    if known is None or not isinstance(obj, dict) or path.startswith("status"):
        return
    for name, field in known.items():
        inner = f"{path}.{name}" if path else name
        value = obj.get(name)
        if field.required and (value is None or value == []) and name != "status":
            faults.required(inner)
        if value is None:
            continue
        if field.shape == "[":
            for i, item in enumerate(value):
                _required(item, field.of, f"{inner}[{i}]", faults)
        elif not field.shape:
            _required(value, field.of, inner, faults)


def _service(obj: Object, old: Stored | None, faults: Faults) -> None:
    spec = obj.get("spec") or {}
    ports = spec.get("ports") or []
    if not ports and spec.get("clusterIP") != "None" and spec.get("type") != "ExternalName":
        faults.required("spec.ports")
    names: set[str] = set()
    for i, port in enumerate(ports):
        if not 0 < port["port"] < 65536:
            faults.invalid(f"spec.ports[{i}].port", port["port"], "must be between 1 and 65535, inclusive")
        if len(ports) > 1 and not port.get("name"):
            faults.required(f"spec.ports[{i}].name")
        elif port.get("name") in names:
            faults.duplicate(f"spec.ports[{i}].name", port["name"])
        names.add(port.get("name", ""))
    if spec.get("type", "ClusterIP") not in ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort"):
        faults.unsupported("spec.type", spec["type"], ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort"))
    before = old["spec"].get("clusterIP") if old else None
    if before and spec.get("clusterIP") not in (None, "", before):
        faults.invalid("spec.clusterIPs[0]", spec["clusterIP"], "may not change once set")


def _budget(obj: Object, old: Stored | None, faults: Faults) -> None:
    spec = obj.get("spec") or {}
    if "minAvailable" in spec and "maxUnavailable" in spec:
        faults.invalid("spec", "...", "minAvailable and maxUnavailable cannot be both set")
    for field in ("minAvailable", "maxUnavailable"):
        value = spec.get(field, 0)
        if isinstance(value, int) and value < 0:
            faults.invalid(f"spec.{field}", value, "must be greater than or equal to 0")
        elif isinstance(value, str) and not re.fullmatch(r"\d+%", value):
            said = "a valid percent string must be a numeric string followed by an ending '%'"
            faults.invalid(f"spec.{field}", value, said)


def _lease(obj: Object, old: Stored | None, faults: Faults) -> None:
    spec = obj.get("spec") or {}
    for field, least in (("leaseDurationSeconds", 1), ("leaseTransitions", 0)):
        if field in spec and spec[field] < least:
            why = "must be greater than 0" if least else "must be greater than or equal to 0"
            faults.invalid(f"spec.{field}", spec[field], why)


def _keep_data(obj: Object, old: Stored | None, faults: Faults) -> None:
    for field in ("data", "binaryData", "stringData"):
        for key in obj.get(field) or {}:
            if not re.fullmatch(r"[-._a-zA-Z0-9]+", key) or len(key) > 253:
                said = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
                faults.invalid(f"{field}[{key}]", key, said)
    if (
        old is not None
        and old.get("immutable")
        and any(obj.get(f) != old.get(f) for f in ("data", "binaryData", "immutable"))
    ):
        faults.forbidden("data", "field is immutable when `immutable` is set")


def _autoscaler(obj: Object, old: Stored | None, faults: Faults) -> None:
    spec = obj["spec"]
    least, most = spec.get("minReplicas", 1), spec["maxReplicas"]
    if least < 1:
        faults.invalid("spec.minReplicas", least, "must be greater than or equal to 1")
    if most == 0:
        faults.required("spec.maxReplicas", "must be set and greater than 0")
    elif most < 1:
        faults.invalid("spec.maxReplicas", most, "must be greater than or equal to 1")
    elif most < least:
        faults.invalid("spec.maxReplicas", most, "must be greater than or equal to `minReplicas`")


def _quota(obj: Object, old: Stored | None, faults: Faults) -> None:
    for name, amount in ((obj.get("spec") or {}).get("hard") or {}).items():
        if parse(amount) < 0:
            faults.invalid(f"spec.hard[{name}]", amount, "must be greater than or equal to 0")
        if not qualified(name):
            faults.invalid(f"spec.hard[{name}]", name, "must be a standard resource type or fully qualified")
    if old is not None and (obj.get("spec") or {}).get("scopes") != old["spec"].get("scopes"):
        faults.invalid("spec.scopes", (obj.get("spec") or {}).get("scopes"), "field is immutable")


def _definition(obj: Object, old: Stored | None, faults: Faults) -> None:
    spec = obj["spec"]
    names, versions, group = spec["names"], spec["versions"], spec["group"]
    if obj["metadata"].get("name") != f"{names['plural']}.{group}":
        faults.invalid("metadata.name", obj["metadata"].get("name"), 'must be spec.names.plural+"."+spec.group')
    if not SUBDOMAIN.fullmatch(group) or "." not in group:
        faults.invalid("spec.group", group, "should be a domain with at least one dot")
    if spec["scope"] not in ("Cluster", "Namespaced"):
        faults.unsupported("spec.scope", spec["scope"], ("Cluster", "Namespaced"))
    if sum(bool(version.get("storage")) for version in versions) != 1:
        faults.causes.append(
            ("spec.versions", "FieldValueInvalid", "must have exactly one version marked as storage version")
        )
    for i, version in enumerate(versions):
        faults.causes += structural.definition_faults(version, f"spec.versions[{i}]")
    if (spec.get("conversion") or {}).get("strategy", "None") != "None":
        faults.forbidden("spec.conversion.strategy", "the sandbox converts by name alone; see docs/sandbox.md")
    if old is not None:
        for field in ("group", "scope"):
            if spec[field] != old["spec"][field]:
                faults.invalid(f"spec.{field}", spec[field], "field is immutable")


def _node(obj: Object, old: Stored | None, faults: Faults) -> None:
    for i, taint in enumerate((obj.get("spec") or {}).get("taints") or ()):
        if taint["effect"] not in ("NoSchedule", "PreferNoSchedule", "NoExecute"):
            known = ("NoSchedule", "PreferNoSchedule", "NoExecute")
            faults.unsupported(f"metadata.taints[{i}].effect", taint["effect"], known)


def _role(obj: Object, old: Stored | None, faults: Faults) -> None:
    for i, rule in enumerate(obj.get("rules") or ()):
        at, pages = f"rules[{i}]", rule.get("nonResourceURLs")
        if not rule["verbs"]:
            faults.required(f"{at}.verbs", "verbs must contain at least one value")
        if pages:
            shown = "[" + ",".join(f'"{page}"' for page in pages) + "]"
            why = "namespaced rules cannot apply to non-resource URLs" if obj["kind"] == "Role" else ""
            if not why and (rule.get("apiGroups") or rule.get("resources") or rule.get("resourceNames")):
                why = "rules cannot apply to both regular resources and non-resource URLs"
            if why:
                faults.causes.append((f"{at}.nonResourceURLs", "FieldValueInvalid", f"Invalid value: {shown}: {why}"))
            continue
        for field, what in (("apiGroups", "api group"), ("resources", "resource")):
            if not rule.get(field):
                faults.required(f"{at}.{field}", f"resource rules must supply at least one {what}")


def _binding(obj: Object, old: Stored | None, faults: Faults) -> None:
    ref = obj["roleRef"]
    kinds = ("Role", "ClusterRole") if obj["kind"] == "RoleBinding" else ("ClusterRole",)
    if ref.get("apiGroup", rbac.GROUP) != rbac.GROUP:
        faults.unsupported("roleRef.apiGroup", ref["apiGroup"], (rbac.GROUP,))
    if ref["kind"] not in kinds:
        faults.unsupported("roleRef.kind", ref["kind"], kinds)
    if not ref["name"]:
        faults.required("roleRef.name")
    for i, subject in enumerate(obj.get("subjects") or ()):
        if not subject["name"]:
            faults.required(f"subjects[{i}].name")
        if subject["kind"] not in ("ServiceAccount", "User", "Group"):
            faults.unsupported(f"subjects[{i}].kind", subject["kind"], ("ServiceAccount", "User", "Group"))
        elif subject["kind"] == "ServiceAccount" and not subject.get("namespace") and obj["kind"] != "RoleBinding":
            faults.required(f"subjects[{i}].namespace")
    if old is not None and {**ref, "apiGroup": rbac.GROUP} != old["roleRef"]:
        shown = f'{{"APIGroup":"{rbac.GROUP}","Kind":"{ref["kind"]}","Name":"{ref["name"]}"}}'
        faults.causes.append(("roleRef", "FieldValueInvalid", f"Invalid value: {shown}: cannot change roleRef"))


_KINDS: dict[str, Callable[[Object, Stored | None, Faults], None]] = {
    "pods": pod_rules.pod,
    "deployments": pod_rules.workload,
    "replicasets": pod_rules.workload,
    "daemonsets": pod_rules.workload,
    "services": _service,
    "poddisruptionbudgets": _budget,
    "leases": _lease,
    "configmaps": _keep_data,
    "secrets": _keep_data,
    "nodes": _node,
    "horizontalpodautoscalers": _autoscaler,
    "resourcequotas": _quota,
    "customresourcedefinitions": _definition,
    "roles": _role,
    "clusterroles": _role,
    "rolebindings": _binding,
    "clusterrolebindings": _binding,
}
