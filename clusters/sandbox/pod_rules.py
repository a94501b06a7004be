"""Which pods the API server refuses, and which workloads for the pods of their template."""

from __future__ import annotations

from typing import Any

from clusters.sandbox import defaults
from clusters.sandbox.amounts import parse
from clusters.sandbox.causes import Faults
from clusters.sandbox.names import DNS_LABEL, SAID_LABEL, labels
from clusters.sandbox.objects import Object, Stored, thaw
from clusters.sandbox.selectors import label_matcher

_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc", "sleep")


def _pod_spec(spec: Object, path: str, faults: Faults) -> None:
    """The rules for a pod, alone or in a template."""
    names: set[str] = set()
    volumes = {v["name"] for v in spec.get("volumes") or ()}
    for field in ("initContainers", "containers"):
        for i, container in enumerate(spec.get(field) or ()):
            at = f"{path}.{field}[{i}]"
            if not DNS_LABEL.fullmatch(container["name"]):
                faults.invalid(f"{at}.name", container["name"], SAID_LABEL)
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


def pod(obj: Object, old: Stored | None, faults: Faults) -> None:
    """A pod, and what an update may change of it."""
    _pod_spec(obj["spec"], "spec", faults)
    if old is None:
        return
    before, after = _fixed(old["spec"]), _fixed(obj["spec"])
    added = obj["spec"].get("tolerations") or []
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


def workload(obj: Object, old: Stored | None, faults: Faults) -> None:
    """A Deployment, ReplicaSet or DaemonSet: how many, of which pods, replaced in which way."""
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
    _pod_spec(template.get("spec") or {}, "spec.template.spec", faults)
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
