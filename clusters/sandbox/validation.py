"""Which objects the API server refuses, and in which words."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from clusters.sandbox import defaults, rbac, structural
from clusters.sandbox.amounts import parse
from clusters.sandbox.errors import Invalid
from clusters.sandbox.kinds import Kind
from clusters.sandbox.schema import fields, type_of
from clusters.sandbox.selectors import label_matcher
from clusters.sandbox.store import Object, Stored, thaw

_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_DNS_LABEL = re.compile(_LABEL)
_QUALIFIED = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc", "sleep")
_SAID_SUBDOMAIN = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_SAID_LABEL = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    "an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
_SAID_VALUE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)


class Faults:
    """Collects what is wrong with one object."""

    def __init__(self) -> None:
        self.causes: list[tuple[str, str, str]] = []

    def invalid(self, path: str, value: Any, why: str) -> None:
        shown = f'"{value}"' if isinstance(value, str) else str(value)
        self.causes.append((path, "FieldValueInvalid", f"Invalid value: {shown}: {why}"))

    def required(self, path: str, why: str = "") -> None:
        self.causes.append((path, "FieldValueRequired", "Required value" + (f": {why}" if why else "")))

    def duplicate(self, path: str, value: Any) -> None:
        self.causes.append((path, "FieldValueDuplicate", f'Duplicate value: "{value}"'))

    def unsupported(self, path: str, value: Any, supported: Iterable[str]) -> None:
        known = ", ".join(f'"{s}"' for s in supported)
        said = f'Unsupported value: "{value}": supported values: {known}'
        self.causes.append((path, "FieldValueNotSupported", said))

    def forbidden(self, path: str, why: str) -> None:
        self.causes.append((path, "FieldValueForbidden", f"Forbidden: {why}"))


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
        if not _DNS_LABEL.fullmatch(name) or len(name) > 63:
            faults.invalid("metadata.name", name, _SAID_LABEL)
    elif kind.group == rbac.GROUP:
        if name in (".", "..") or "/" in name or "%" in name:
            faults.invalid("metadata.name", name, "may not contain '/' or '%', and may not be '.' or '..'")
    elif not _SUBDOMAIN.fullmatch(name) or len(name) > 253:
        faults.invalid("metadata.name", name, _SAID_SUBDOMAIN)
    labels(meta.get("labels") or {}, "metadata.labels", faults)
    for key in meta.get("annotations") or {}:
        if not _key(key.lower()):
            faults.invalid(
                "metadata.annotations", key, "name part must consist of alphanumeric characters, '-', '_' or '.'"
            )


def _key(key: str) -> bool:
    prefix, slash, name = key.rpartition("/")
    return bool(_QUALIFIED.fullmatch(name)) and len(name) <= 63 and (not slash or bool(_SUBDOMAIN.fullmatch(prefix)))


def labels(given: Object, path: str, faults: Faults) -> None:
    """Keys are qualified names, values at most 63 plain characters."""
    for key, value in given.items():
        if not _key(key):
            why = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
            faults.invalid(path, key, f"{why}alphanumeric character")
        if not _VALUE.fullmatch(value):
            faults.invalid(path, value, _SAID_VALUE)
        elif len(value) > 63:
            faults.invalid(path, value, "must be no more than 63 bytes")


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


def pod_spec(spec: Object, path: str, faults: Faults) -> None:
    """The rules for a pod, alone or in a template."""
    names: set[str] = set()
    volumes = {v["name"] for v in spec.get("volumes") or ()}
    for field in ("initContainers", "containers"):
        for i, container in enumerate(spec.get(field) or ()):
            at = f"{path}.{field}[{i}]"
            if not _DNS_LABEL.fullmatch(container["name"]):
                faults.invalid(f"{at}.name", container["name"], _SAID_LABEL)
            if container["name"] in names:
                faults.duplicate(f"{at}.name", container["name"])
            names.add(container["name"])
            _container(container, at, volumes, faults)
    if not spec.get("containers"):
        faults.required(f"{path}.containers")
    if spec.get("restartPolicy", "Always") not in ("Always", "OnFailure", "Never"):
        faults.unsupported(f"{path}.restartPolicy", spec["restartPolicy"], ("Always", "OnFailure", "Never"))
    if spec.get("terminationGracePeriodSeconds", 0) < 0:
        faults.invalid(
            f"{path}.terminationGracePeriodSeconds",
            spec["terminationGracePeriodSeconds"],
            "must be greater than or equal to 0",
        )
    for i, spread in enumerate(spec.get("topologySpreadConstraints") or ()):
        if spread["maxSkew"] < 1:
            faults.invalid(
                f"{path}.topologySpreadConstraints[{i}].maxSkew", spread["maxSkew"], "must be greater than zero"
            )
        if spread["whenUnsatisfiable"] not in ("DoNotSchedule", "ScheduleAnyway"):
            at = f"{path}.topologySpreadConstraints[{i}].whenUnsatisfiable"
            faults.unsupported(at, spread["whenUnsatisfiable"], ("DoNotSchedule", "ScheduleAnyway"))


def _container(container: Object, path: str, volumes: set[str], faults: Faults) -> None:
    if not container.get("image"):
        faults.required(f"{path}.image")
    for i, port in enumerate(container.get("ports") or ()):
        if not 0 < port["containerPort"] < 65536:
            faults.invalid(
                f"{path}.ports[{i}].containerPort", port["containerPort"], "must be between 1 and 65535, inclusive"
            )
    for i, mount in enumerate(container.get("volumeMounts") or ()):
        if mount["name"] not in volumes:
            faults.causes.append(
                (f"{path}.volumeMounts[{i}].name", "FieldValueNotFound", f'Not found: "{mount["name"]}"')
            )
    for name in _PROBES:
        probe = container.get(name)
        if probe is not None:
            _handler(probe, f"{path}.{name}", faults)
            for field in (
                "initialDelaySeconds",
                "timeoutSeconds",
                "periodSeconds",
                "successThreshold",
                "failureThreshold",
            ):
                if probe.get(field, 0) < 0:
                    faults.invalid(f"{path}.{name}.{field}", probe[field], "must be greater than or equal to 0")
            if name != "readinessProbe" and probe.get("successThreshold", 1) not in (0, 1):
                faults.invalid(f"{path}.{name}.successThreshold", probe["successThreshold"], "must be 1")
    for name in ("preStop", "postStart"):
        if hook := (container.get("lifecycle") or {}).get(name):
            _handler(hook, f"{path}.lifecycle.{name}", faults)
    resources = container.get("resources") or {}
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    for name, value in requests.items():
        if name in limits and parse(value) > parse(limits[name]):
            said = f"must be less than or equal to {name} limit of {limits[name]}"
            faults.invalid(f"{path}.resources.requests", value, said)
    for name in {n for n in (*limits, *requests) if "/" in n}:
        if parse(limits.get(name, requests.get(name))).denominator != 1:
            faults.invalid(f"{path}.resources.limits[{name}]", limits.get(name), "must be an integer")
        if name not in limits:
            faults.required(f"{path}.resources.limits", "Limit must be set for non overcommitable resources")
        elif name in requests and parse(requests[name]) != parse(limits[name]):
            faults.invalid(
                f"{path}.resources.requests", requests[name], f"must be equal to {name} limit of {limits[name]}"
            )


def _handler(handler: Object, path: str, faults: Faults) -> None:
    given = [h for h in _HANDLERS if h in handler]
    if not given:
        faults.required(path, "must specify a handler type")
    for extra in given[1:]:
        faults.forbidden(f"{path}.{extra}", "may not specify more than 1 handler type")
    for name in ("httpGet", "tcpSocket"):
        port = (handler.get(name) or {}).get("port")
        if isinstance(port, int) and not 0 < port < 65536:
            faults.invalid(f"{path}.{name}.port", port, "must be between 1 and 65535, inclusive")


def _pod(pod: Object, old: Stored | None, faults: Faults) -> None:
    pod_spec(pod["spec"], "spec", faults)
    if old is None:
        return
    before, after = _fixed(old["spec"]), _fixed(pod["spec"])
    added = pod["spec"].get("tolerations") or []
    if before != after or any(t not in added for t in old["spec"].get("tolerations") or ()):
        faults.forbidden(
            "spec",
            "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
            "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
            "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
        )


def _fixed(spec: Object) -> Object:
    """A pod's spec, defaults filled in, without what an update may change."""
    spec = thaw(spec)
    defaults.pod_spec(spec)
    kept = {k: v for k, v in spec.items() if k not in ("activeDeadlineSeconds", "tolerations", "schedulingGates")}
    for field in ("containers", "initContainers"):
        if field in spec:
            kept[field] = [{k: v for k, v in c.items() if k != "image"} for c in spec[field]]
    return kept


def _workload(obj: Object, old: Stored | None, faults: Faults) -> None:
    spec = obj["spec"]
    for field in ("replicas", "minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"):
        if spec.get(field, 0) < 0:
            faults.invalid(f"spec.{field}", spec[field], "must be greater than or equal to 0")
    template, selector = spec.get("template") or {}, spec.get("selector") or {}
    pod_labels = (template.get("metadata") or {}).get("labels") or {}
    labels(pod_labels, "spec.template.metadata.labels", faults)
    matches = label_matcher(selector)
    if matches is None:
        faults.invalid("spec.selector", "{}", f"empty selector is invalid for {obj['kind'].lower()}")
    elif not matches(pod_labels):
        shown = "map[string]string{" + ", ".join(f'"{k}":"{v}"' for k, v in sorted(pod_labels.items())) + "}"
        said = f"Invalid value: {shown}: `selector` does not match template `labels`"
        faults.causes.append(("spec.template.metadata.labels", "FieldValueInvalid", said))
    pod_spec(template.get("spec") or {}, "spec.template.spec", faults)
    if (template.get("spec") or {}).get("restartPolicy", "Always") != "Always":
        faults.unsupported("spec.template.spec.restartPolicy", template["spec"]["restartPolicy"], ("Always",))
    if old is not None and old["spec"].get("selector") != selector:
        faults.invalid("spec.selector", "...", "field is immutable")
    strategy = spec.get("strategy") or {}
    if strategy.get("type", "RollingUpdate") not in ("Recreate", "RollingUpdate"):
        faults.unsupported("spec.strategy.type", strategy["type"], ("Recreate", "RollingUpdate"))
    rolling = strategy.get("rollingUpdate") or {}
    if strategy.get("type") == "Recreate" and rolling:
        why = "may not be specified when strategy `type` is 'Recreate'"
        faults.forbidden("spec.strategy.rollingUpdate", why)
    if _none(rolling.get("maxSurge", 1)) and _none(rolling.get("maxUnavailable", 1)):
        why = "may not be 0 when `maxSurge` is 0"
        faults.invalid("spec.strategy.rollingUpdate.maxUnavailable", rolling.get("maxUnavailable"), why)


def _none(value: Any) -> bool:
    return str(value) in ("0", "0%")


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
        if not _key(name):
            faults.invalid(f"spec.hard[{name}]", name, "must be a standard resource type or fully qualified")
    if old is not None and (obj.get("spec") or {}).get("scopes") != old["spec"].get("scopes"):
        faults.invalid("spec.scopes", (obj.get("spec") or {}).get("scopes"), "field is immutable")


def _definition(obj: Object, old: Stored | None, faults: Faults) -> None:
    spec = obj["spec"]
    names, versions, group = spec["names"], spec["versions"], spec["group"]
    if obj["metadata"].get("name") != f"{names['plural']}.{group}":
        faults.invalid("metadata.name", obj["metadata"].get("name"), 'must be spec.names.plural+"."+spec.group')
    if not _SUBDOMAIN.fullmatch(group) or "." not in group:
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
    "pods": _pod,
    "deployments": _workload,
    "replicasets": _workload,
    "daemonsets": _workload,
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
