"""What `kubectl get` prints: Table objects, with the columns of each kind."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from clusters.sandbox import jsonpath
from clusters.sandbox.kinds import Kind

Row = Callable[[Mapping[str, Any]], list[Any]]


def table(kind: Kind, objects: Sequence[Mapping[str, Any]], meta: dict[str, Any], *, whole: bool = False) -> Any:
    """The objects as rows; each row carries the object's metadata (or the whole object) for labels and sorting."""
    columns, row = _KINDS.get(kind.key) or _plain(kind)
    definitions, kinds = [], {name: how for name, how, _ in kind.columns}
    for column in columns:
        name, wide, _ = column.partition("*")
        form = "name" if name == "Name" else ""
        definition = {
            "name": name,
            "type": kinds.get(column, "string"),
            "format": form,
            "description": "",
            "priority": 1 if wide else 0,
        }
        definitions.append(definition)
    rows = []
    for obj in objects:
        partial = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj["metadata"]}
        name = obj["metadata"]["name"]
        cells = [*row(obj), name] if kind.key == "events" else [name, *row(obj)]
        rows.append({"cells": cells, "object": obj if whole else partial})
    head = {"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": meta}
    return head | {"columnDefinitions": definitions, "rows": rows}


def age(time: str | None) -> str:
    """How long ago, as kubectl writes it."""
    if not time:
        return "<unknown>"
    then = datetime.datetime.fromisoformat(time)
    seconds = int((datetime.datetime.now(datetime.UTC) - then).total_seconds())
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if seconds < 120:
        return f"{max(seconds, 0)}s"
    if minutes < 10:
        return f"{minutes}m{seconds % 60}s" if seconds % 60 else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    return f"{days}d{hours % 24}h" if hours % 24 and days < 8 else f"{days}d"


def _born(obj: Mapping[str, Any]) -> str:
    return age(obj["metadata"].get("creationTimestamp"))


def _path(obj: Any, *steps: str, otherwise: Any = "<none>") -> Any:
    for step in steps:
        obj = obj.get(step) if isinstance(obj, Mapping) else None
    return otherwise if obj in (None, "", {}, []) else obj


def _number(obj: Any, *steps: str) -> int:
    found = _path(obj, *steps, otherwise=0)
    return found if isinstance(found, int) else 0


def _containers(spec: Mapping[str, Any]) -> list[str]:
    listed = spec.get("containers") or ()
    return [",".join(c["name"] for c in listed), ",".join(c.get("image", "") for c in listed)]


def _selector(selector: Any) -> str:
    if not selector:
        return "<none>"
    if "matchLabels" not in selector and "matchExpressions" not in selector:
        return ",".join(f"{k}={v}" for k, v in sorted(selector.items()))
    said = [f"{k}={v}" for k, v in sorted((selector.get("matchLabels") or {}).items())]
    for e in selector.get("matchExpressions") or ():
        values = f" ({','.join(e.get('values') or ())})" if e.get("values") else ""
        said.append({"Exists": e["key"], "DoesNotExist": f"!{e['key']}"}.get(e["operator"], "") or
                    f"{e['key']} {e['operator'].lower()}{values}")  # fmt: skip
    return ",".join(said)


def _pod(pod: Mapping[str, Any]) -> list[Any]:
    status, spec = pod.get("status") or {}, pod.get("spec") or {}
    reason = status.get("reason") or status.get("phase", "Unknown")
    restarts, ready, last = 0, 0, ""
    initializing = False
    total = len(spec.get("initContainers") or ())
    for i, container in enumerate(status.get("initContainerStatuses") or ()):
        state = container.get("state") or {}
        restarts += container.get("restartCount", 0)
        done = state.get("terminated")
        if done and done.get("exitCode") == 0:
            continue
        initializing = True
        if done:
            reason = f"Init:{done.get('reason') or 'ExitCode:' + str(done.get('exitCode'))}"
        elif (waiting := (state.get("waiting") or {}).get("reason")) and waiting != "PodInitializing":
            reason = f"Init:{waiting}"
        else:
            reason = f"Init:{i}/{total}"
        break
    if not initializing:
        restarts, running = 0, False
        for container in reversed(status.get("containerStatuses") or ()):
            state = container.get("state") or {}
            restarts += container.get("restartCount", 0)
            last = max(last, _path(container, "lastState", "terminated", "finishedAt", otherwise=""))
            waiting, ended = state.get("waiting") or {}, state.get("terminated") or {}
            if waiting.get("reason"):
                reason = waiting["reason"]
            elif ended.get("reason"):
                reason = ended["reason"]
            elif ended:
                reason = f"Signal:{ended['signal']}" if ended.get("signal") else f"ExitCode:{ended.get('exitCode')}"
            elif container.get("ready") and "running" in state:
                running, ready = True, ready + 1
        if reason == "Completed" and running:
            happy = any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions") or ())
            reason = "Running" if happy else "NotReady"
    if pod["metadata"].get("deletionTimestamp"):
        reason = "Unknown" if status.get("reason") == "NodeLost" else "Terminating"
    restarted = f"{restarts} ({age(last)} ago)" if last and restarts else str(restarts)
    gates = spec.get("readinessGates") or ()
    row = [f"{ready}/{len(spec.get('containers') or ())}", reason, restarted, _born(pod)]
    row += [_path(status, "podIP"), _path(spec, "nodeName"), _path(status, "nominatedNodeName")]
    return [*row, f"0/{len(gates)}" if gates else "<none>"]


def _node(node: Mapping[str, Any]) -> list[Any]:
    status = node.get("status") or {}
    states = {c["type"]: c["status"] for c in status.get("conditions") or ()}
    words = ["Ready" if states.get("Ready") == "True" else "NotReady"] if "Ready" in states else ["Unknown"]
    if (node.get("spec") or {}).get("unschedulable"):
        words.append("SchedulingDisabled")
    prefix = "node-role.kubernetes.io/"
    roles = sorted(k.removeprefix(prefix) for k in node["metadata"].get("labels") or {} if k.startswith(prefix))
    at = {a["type"]: a["address"] for a in status.get("addresses") or ()}
    info = status.get("nodeInfo") or {}
    row = [",".join(words), ",".join(roles) or "<none>", _born(node), _path(info, "kubeletVersion")]
    row += [at.get("InternalIP", "<none>"), at.get("ExternalIP", "<none>")]
    known = ("osImage", "kernelVersion", "containerRuntimeVersion")
    return row + [_path(info, k, otherwise="<unknown>") for k in known]


def _service(service: Mapping[str, Any]) -> list[Any]:
    spec = service.get("spec") or {}
    ports = [f"{p['port']}{':' + str(p['nodePort']) if p.get('nodePort') else ''}/{p.get('protocol', 'TCP')}"
             for p in spec.get("ports") or ()]  # fmt: skip
    row = [spec.get("type"), _path(spec, "clusterIP"), "<pending>" if spec.get("type") == "LoadBalancer" else "<none>"]
    return [*row, ",".join(ports) or "<none>", _born(service), _selector(spec.get("selector"))]


def _endpointslice(obj: Mapping[str, Any]) -> list[Any]:
    ports = ",".join(str(p.get("port", "*")) for p in obj.get("ports") or ()) or "<unset>"
    addresses = [a for e in obj.get("endpoints") or () for a in e["addresses"]]
    shown = ",".join(addresses[:3]) + (f" + {len(addresses) - 3} more..." if len(addresses) > 3 else "")
    return [obj.get("addressType"), ports, shown or "<unset>", _born(obj)]


def _endpoints(obj: Mapping[str, Any]) -> list[Any]:
    listed = [f"{a['ip']}:{p['port']}" for s in obj.get("subsets") or () for p in s.get("ports") or ()
              for a in s.get("addresses") or ()]  # fmt: skip
    shown = ",".join(listed[:3]) + (f" + {len(listed) - 3} more..." if len(listed) > 3 else "")
    return [shown or "<none>", _born(obj)]


def _deployment(obj: Mapping[str, Any]) -> list[Any]:
    spec, status = obj["spec"], obj.get("status") or {}
    row = [f"{_number(status, 'readyReplicas')}/{spec.get('replicas', 1)}", _number(status, "updatedReplicas")]
    row += [_number(status, "availableReplicas"), _born(obj)]
    return [*row, *_containers(spec["template"]["spec"]), _selector(spec.get("selector"))]


def _replicaset(obj: Mapping[str, Any]) -> list[Any]:
    spec, status = obj["spec"], obj.get("status") or {}
    row = [spec.get("replicas", 1), _number(status, "replicas"), _number(status, "readyReplicas"), _born(obj)]
    return [*row, *_containers(spec["template"]["spec"]), _selector(spec.get("selector"))]


def _daemonset(obj: Mapping[str, Any]) -> list[Any]:
    spec, status = obj["spec"], obj.get("status") or {}
    counts = ("desiredNumberScheduled", "currentNumberScheduled", "numberReady", "updatedNumberScheduled")
    row = [*(_number(status, c) for c in (*counts, "numberAvailable"))]
    chosen = _selector(spec["template"]["spec"].get("nodeSelector"))
    return [*row, chosen, _born(obj), *_containers(spec["template"]["spec"]), _selector(spec.get("selector"))]


def _budget(obj: Mapping[str, Any]) -> list[Any]:
    spec = obj.get("spec") or {}
    row = [str(spec.get("minAvailable", "N/A")), str(spec.get("maxUnavailable", "N/A"))]
    return [*row, _number(obj, "status", "disruptionsAllowed"), _born(obj)]


def _event(obj: Mapping[str, Any]) -> list[Any]:
    about = obj.get("involvedObject") or {}
    subject = f"{about.get('kind', '').lower()}/{about.get('name')}"
    last = obj.get("lastTimestamp") or obj.get("eventTime") or obj["metadata"].get("creationTimestamp")
    row = [age(last), obj.get("type"), obj.get("reason"), subject, about.get("fieldPath", "")]
    source = _path(obj, "source", "component", otherwise=obj.get("reportingComponent", ""))
    return [*row, source, (obj.get("message") or "").strip(), age(obj.get("firstTimestamp")), obj.get("count", 1)]


def _binding(obj: Mapping[str, Any]) -> list[Any]:
    bound = obj.get("subjects") or ()
    users, groups = (", ".join(s["name"] for s in bound if s["kind"] == kind) for kind in ("User", "Group"))
    accounts = ", ".join(f"{s.get('namespace', '')}/{s['name']}" for s in bound if s["kind"] == "ServiceAccount")
    return [f"{obj['roleRef']['kind']}/{obj['roleRef']['name']}", _born(obj), users, groups, accounts]


def _autoscaler(obj: Mapping[str, Any]) -> list[Any]:
    spec, status = obj["spec"], obj.get("status") or {}
    target = spec["scaleTargetRef"]
    current = {
        m["resource"]["name"]: m["resource"]["current"] for m in status.get("currentMetrics") or () if m.get("resource")
    }
    said = []
    for metric in spec.get("metrics") or ():
        resource = metric.get("resource")
        if resource:
            wanted = resource["target"].get("averageUtilization")
            seen = (current.get(resource["name"]) or {}).get("averageUtilization")
            said.append(f"{resource['name']}: {'<unknown>' if seen is None else f'{seen}%'}/{wanted}%")
    row = [f"{target['kind']}/{target['name']}", ", ".join(said) or "<none>", str(spec.get("minReplicas", 1))]
    return [*row, spec.get("maxReplicas"), _number(status, "currentReplicas"), _born(obj)]


_WORKLOAD = ("Containers*", "Images*", "Selector*")
_KINDS: dict[str, tuple[tuple[str, ...], Row]] = {
    "pods": (
        ("Name", "Ready", "Status", "Restarts", "Age", "IP*", "Node*", "Nominated Node*", "Readiness Gates*"),
        _pod,
    ),
    "nodes": (
        ("Name", "Status", "Roles", "Age", "Version", "Internal-IP*", "External-IP*", "OS-Image*", "Kernel-Version*",
         "Container-Runtime*"),
        _node,
    ),
    "namespaces": (("Name", "Status", "Age"), lambda o: [_path(o, "status", "phase"), _born(o)]),
    "services": (("Name", "Type", "Cluster-IP", "External-IP", "Port(s)", "Age", "Selector*"), _service),
    "events": (
        ("Last Seen", "Type", "Reason", "Object", "Subobject*", "Source*", "Message", "First Seen*", "Count*", "Name*"),
        _event,
    ),
    "endpoints": (("Name", "Endpoints", "Age"), _endpoints),
    "endpointslices": (("Name", "AddressType", "Ports", "Endpoints", "Age"), _endpointslice),
    "deployments": (("Name", "Ready", "Up-to-date", "Available", "Age", *_WORKLOAD), _deployment),
    "replicasets": (("Name", "Desired", "Current", "Ready", "Age", *_WORKLOAD), _replicaset),
    "daemonsets": (
        ("Name", "Desired", "Current", "Ready", "Up-to-date", "Available", "Node Selector", "Age", *_WORKLOAD),
        _daemonset,
    ),
    "configmaps": (("Name", "Data", "Age"), lambda o: [len(o.get("data", {}) | o.get("binaryData", {})), _born(o)]),
    "secrets": (("Name", "Type", "Data", "Age"), lambda o: [o.get("type"), len(o.get("data") or ()), _born(o)]),
    "leases": (("Name", "Holder", "Age"), lambda o: [_path(o, "spec", "holderIdentity", otherwise=""), _born(o)]),
    "serviceaccounts": (("Name", "Secrets", "Age"), lambda o: [len(o.get("secrets") or ()), _born(o)]),
    "poddisruptionbudgets": (("Name", "Min Available", "Max Unavailable", "Allowed Disruptions", "Age"), _budget),
    "horizontalpodautoscalers": (
        ("Name", "Reference", "Targets", "MinPods", "MaxPods", "Replicas", "Age"),
        _autoscaler,
    ),
    "roles": (("Name", "Created At"), lambda o: [o["metadata"]["creationTimestamp"]]),
    "clusterroles": (("Name", "Created At"), lambda o: [o["metadata"]["creationTimestamp"]]),
    "rolebindings": (("Name", "Role", "Age", "Users*", "Groups*", "ServiceAccounts*"), _binding),
    "clusterrolebindings": (("Name", "Role", "Age", "Users*", "Groups*", "ServiceAccounts*"), _binding),
    "priorityclasses": (
        ("Name", "Value", "Global-Default", "Age"),
        lambda o: [o.get("value"), str(bool(o.get("globalDefault"))).lower(), _born(o)],
    ),
    "customresourcedefinitions": (("Name", "Created At"), lambda o: [o["metadata"]["creationTimestamp"]]),
    "resourcequotas": (
        ("Name", "Request", "Limit", "Age"),
        lambda o: [*_quota(o), _born(o)],
    ),
}  # fmt: skip


def _quota(obj: Mapping[str, Any]) -> list[str]:
    used, hard = _path(obj, "status", "used", otherwise={}), _path(obj, "spec", "hard", otherwise={})
    said = {name: f"{name}: {used.get(name, '0')}/{hard[name]}" for name in sorted(hard)}
    limits = [text for name, text in said.items() if name.startswith("limits.")]
    return [", ".join(text for text in said.values() if text not in limits), ", ".join(limits)]


def _plain(kind: Kind) -> tuple[tuple[str, ...], Row]:
    """Custom kinds: the columns their definition prints."""
    names = [name for name, _, _ in kind.columns] or ["Age"]

    def row(obj: Mapping[str, Any]) -> list[Any]:
        if not kind.columns:
            return [_born(obj)]
        found = [(how, jsonpath.find(obj, path)) for _, how, path in kind.columns]
        return [age(value) if how == "date" and value else value for how, value in found]

    return ("Name", *names), row
