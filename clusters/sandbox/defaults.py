"""What the API server fills in: defaults of fields left out, and what admission adds to every pod.

Only what clients and controllers read; `admit` runs on every create and update, controllers' included.
"""

from __future__ import annotations

import base64
import ipaddress
import uuid
from collections.abc import Callable

from clusters.sandbox import quota, rbac
from clusters.sandbox.amounts import canonical, parse
from clusters.sandbox.controllers import definitions
from clusters.sandbox.errors import Invalid
from clusters.sandbox.kinds import Kind
from clusters.sandbox.objects import Object, Stored, thaw
from clusters.sandbox.settings import Settings
from clusters.sandbox.store import Store

_ACCOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
_AUTHORITY = "kube-root-ca.crt"


def pod_spec(spec: Object) -> None:
    """Defaults of a pod's spec, also in templates."""
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("securityContext", {})
    spec.setdefault("schedulerName", "default-scheduler")
    if "serviceAccountName" in spec:
        spec["serviceAccount"] = spec["serviceAccountName"]
    for container in [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]:
        _container(container)
    for volume in spec.get("volumes") or ():
        if len(volume) == 1:
            volume["emptyDir"] = {}
        for source in ("configMap", "secret", "projected", "downwardAPI"):
            if source in volume:
                volume[source].setdefault("defaultMode", 420)
        if "hostPath" in volume:
            volume["hostPath"].setdefault("type", "")
        for source in (volume.get("projected") or {}).get("sources") or ():
            _field_refs((source.get("downwardAPI") or {}).get("items"))
        _field_refs((volume.get("downwardAPI") or {}).get("items"))


def _container(container: Object) -> None:
    container.setdefault("resources", {})
    container.setdefault("terminationMessagePath", "/dev/termination-log")
    container.setdefault("terminationMessagePolicy", "File")
    tag = str(container.get("image", "")).rpartition("/")[2].partition(":")[2]
    container.setdefault("imagePullPolicy", "IfNotPresent" if tag and tag != "latest" else "Always")
    for port in container.get("ports") or ():
        port.setdefault("protocol", "TCP")
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        if probe := container.get(name):
            for field, value in (("timeoutSeconds", 1), ("periodSeconds", 10)):
                probe[field] = probe.get(field) or value
            for field, value in (("successThreshold", 1), ("failureThreshold", 3)):
                probe[field] = probe.get(field) or value
            _handler(probe)
    for hook in (container.get("lifecycle") or {}).values():
        if isinstance(hook, dict):
            _handler(hook)
    _field_refs([e["valueFrom"] for e in container.get("env") or () if "valueFrom" in e])


def _handler(handler: Object) -> None:
    if "httpGet" in handler:
        handler["httpGet"].setdefault("path", "/")
        handler["httpGet"].setdefault("scheme", "HTTP")
    if "grpc" in handler:
        handler["grpc"].setdefault("service", "")


def _field_refs(sources: list[Object] | None) -> None:
    for source in sources or ():
        if "fieldRef" in source:
            source["fieldRef"].setdefault("apiVersion", "v1")


def _service_account_volume(spec: Object) -> None:
    """The volume that real clusters give every pod (and that clients count on being there), without the token."""
    every = [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]
    missing = [c for c in every if all(m["mountPath"] != _ACCOUNT_PATH for m in c.get("volumeMounts") or ())]
    if spec.get("automountServiceAccountToken") is False or not missing:
        return
    name = f"kube-api-access-{uuid.uuid4().hex[:5]}"
    authority = {"name": _AUTHORITY, "items": [{"key": "ca.crt", "path": "ca.crt"}], "optional": True}
    namespace = {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
    sources = [{"configMap": authority}, {"downwardAPI": {"items": [namespace]}}]
    volumes = spec.setdefault("volumes", [])
    volumes.append({"name": name, "projected": {"sources": sources, "defaultMode": 420}})
    for container in missing:
        mounts = container.setdefault("volumeMounts", [])
        mounts.append({"name": name, "readOnly": True, "mountPath": _ACCOUNT_PATH})


class Admission:
    """Fills objects in; knows the store for what depends on other objects (Service addresses, priorities)."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store, self._settings = store, settings
        self._last_address = -1
        self._kinds: dict[str, Callable[[Object, Stored | None], None]] = {
            "pods": self._pod,
            "deployments": self._deployment,
            "replicasets": self._replicaset,
            "daemonsets": self._daemonset,
            "services": self._service,
            "namespaces": self._namespace,
            "secrets": self._secret,
            "endpointslices": self._endpointslice,
            "horizontalpodautoscalers": self._autoscaler,
            "poddisruptionbudgets": self._budget,
            "priorityclasses": self._priority_class,
            "rolebindings": self._binding,
            "clusterrolebindings": self._binding,
            "customresourcedefinitions": lambda obj, old: definitions.fill(obj),
        }

    def admit(self, kind: Kind, obj: Object, old: Stored | None) -> None:
        """Called by the store before it writes."""
        if fill := self._kinds.get(kind.key):
            fill(obj, old)
        if old is None:
            quota.admit(self._store, kind, obj)

    def _pod(self, pod: Object, old: Stored | None) -> None:
        spec = pod.setdefault("spec", {})
        pod_spec(spec)
        for container in [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]:
            resources = container["resources"]
            if limits := resources.get("limits"):
                resources["requests"] = {k: canonical(v) for k, v in limits.items()} | (resources.get("requests") or {})
        if old is not None:
            return
        spec.setdefault("serviceAccountName", "default")
        spec["serviceAccount"] = spec["serviceAccountName"]
        spec.setdefault("enableServiceLinks", True)
        _service_account_volume(spec)
        self._priority(spec)
        tolerations = spec.setdefault("tolerations", [])
        for key in ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"):
            if not any(t.get("key") in (key, None) and t.get("effect") in ("NoExecute", None) for t in tolerations):
                seconds = self._settings.default_toleration_s
                added = {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds}
                tolerations.append(added)
        status = pod.setdefault("status", {})
        status.setdefault("phase", "Pending")
        status["qosClass"] = quality(spec)

    def _priority(self, spec: Object) -> None:
        name = spec.get("priorityClassName")
        if name:
            found = self._store.find("priorityclasses", name)
            builtin = {"system-cluster-critical": 2000000000, "system-node-critical": 2000001000}
            spec["priority"] = found["value"] if found else builtin.get(name, 0)
            spec["preemptionPolicy"] = found["preemptionPolicy"] if found else "PreemptLowerPriority"
        spec.setdefault("priority", 0)
        spec.setdefault("preemptionPolicy", "PreemptLowerPriority")

    @staticmethod
    def _template(obj: Object) -> Object:
        spec: Object = obj.setdefault("spec", {})
        pod_spec(spec.setdefault("template", {}).setdefault("spec", {}))
        return spec

    def _deployment(self, obj: Object, old: Stored | None) -> None:
        spec = self._template(obj)
        spec.setdefault("replicas", 1)
        spec.setdefault("revisionHistoryLimit", 10)
        spec.setdefault("progressDeadlineSeconds", 600)
        strategy = spec.setdefault("strategy", {})
        if strategy.setdefault("type", "RollingUpdate") == "RollingUpdate":
            rolling = strategy.setdefault("rollingUpdate", {})
            rolling.setdefault("maxUnavailable", "25%")
            rolling.setdefault("maxSurge", "25%")

    def _replicaset(self, obj: Object, old: Stored | None) -> None:
        self._template(obj).setdefault("replicas", 1)

    def _daemonset(self, obj: Object, old: Stored | None) -> None:
        spec = self._template(obj)
        spec.setdefault("revisionHistoryLimit", 10)
        strategy = spec.setdefault("updateStrategy", {})
        if strategy.setdefault("type", "RollingUpdate") == "RollingUpdate":
            strategy["rollingUpdate"] = {"maxUnavailable": 1, "maxSurge": 0} | (strategy.get("rollingUpdate") or {})

    def _service(self, obj: Object, old: Stored | None) -> None:
        spec = obj.setdefault("spec", {})
        kind = spec.setdefault("type", "ClusterIP")
        spec.setdefault("sessionAffinity", "None")
        for port in spec.get("ports") or ():
            port.setdefault("protocol", "TCP")
            port["targetPort"] = port.get("targetPort") or port.get("port")
        obj.setdefault("status", {"loadBalancer": {}})
        if kind == "ExternalName":
            return
        spec.setdefault("internalTrafficPolicy", "Cluster")
        spec.setdefault("ipFamilies", ["IPv4"])
        spec.setdefault("ipFamilyPolicy", "SingleStack")
        if old is not None:
            spec["clusterIP"] = spec.get("clusterIP") or old["spec"].get("clusterIP", "")
        if not spec.get("clusterIP"):
            spec["clusterIP"] = self._free_address()
        spec["clusterIPs"] = [spec["clusterIP"]]
        if kind in ("NodePort", "LoadBalancer"):
            spec.setdefault("externalTrafficPolicy", "Cluster")
            taken = {p.get("nodePort") for s in self._store.list("services") for p in s["spec"].get("ports") or ()}
            for port in spec.get("ports") or ():
                if not port.get("nodePort"):
                    port["nodePort"] = next(n for n in range(30000, 32768) if n not in taken)
                    taken.add(port["nodePort"])

    def _free_address(self) -> str:
        """The next free ClusterIP, 127.A.8.2 to 127.A.15.254, in turn: one that was just given back still has its
        old listener for as long as kube-proxy lags."""
        taken = {s["spec"].get("clusterIP") for s in self._store.list("services")}
        first = int(ipaddress.ip_address(f"{self._settings.network}.8.2"))
        span = 8 * 256 - 4
        for step in range(1, span + 1):
            number = first + (self._last_address + step) % span
            address = str(ipaddress.ip_address(number))
            if address not in taken and number % 256 not in (0, 255):
                self._last_address = number - first
                return address
        causes = [("spec.clusterIPs", "FieldValueInvalid", "failed to allocate IP: range is full")]
        raise Invalid("Service", "", "", causes)

    def _namespace(self, obj: Object, old: Stored | None) -> None:
        name = obj["metadata"]["name"]
        labels = obj["metadata"].setdefault("labels", {})
        labels["kubernetes.io/metadata.name"] = name
        if old is None:
            obj.setdefault("spec", {})["finalizers"] = ["kubernetes"]
            obj["status"] = {"phase": "Active"}

    def _secret(self, obj: Object, old: Stored | None) -> None:
        obj.setdefault("type", "Opaque")
        for key, text in (obj.pop("stringData", None) or {}).items():
            obj.setdefault("data", {})[key] = base64.b64encode(text.encode()).decode()

    def _endpointslice(self, obj: Object, old: Stored | None) -> None:
        for port in obj.get("ports") or ():
            port.setdefault("protocol", "TCP")
            port.setdefault("name", "")

    def _autoscaler(self, obj: Object, old: Stored | None) -> None:
        spec = obj.setdefault("spec", {})
        spec.setdefault("minReplicas", 1)
        cpu = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}
        spec.setdefault("metrics", [{"type": "Resource", "resource": cpu}])

    def _budget(self, obj: Object, old: Stored | None) -> None:
        obj.setdefault("spec", {})
        empty = {"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0}
        obj.setdefault("status", empty)

    def _binding(self, obj: Object, old: Stored | None) -> None:
        obj.get("roleRef", {}).setdefault("apiGroup", rbac.GROUP)
        for subject in obj.get("subjects") or ():
            if subject["kind"] in ("User", "Group"):
                subject.setdefault("apiGroup", rbac.GROUP)

    def _priority_class(self, obj: Object, old: Stored | None) -> None:
        obj.setdefault("preemptionPolicy", "PreemptLowerPriority")


def quality(spec: Object) -> str:
    """The QoS class: Guaranteed, Burstable or BestEffort, by cpu and memory alone."""
    some, all_equal = False, True
    for container in [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]:
        requests = container["resources"].get("requests") or {}
        limits = container["resources"].get("limits") or {}
        for name in ("cpu", "memory"):
            some = some or name in requests or name in limits
            all_equal = all_equal and name in limits and parse(requests.get(name, 0)) == parse(limits[name])
    return "Guaranteed" if some and all_equal else "Burstable" if some else "BestEffort"


def seed(store: Store, settings: Settings) -> None:
    """The objects that every cluster starts with."""
    rbac.seed(store)
    for name in ("default", "kube-system", "kube-public", "kube-node-lease"):
        store.create("namespaces", {"metadata": {"name": name}})
    port = {"name": "https", "port": settings.port, "protocol": "TCP", "targetPort": settings.port}
    labels = {"component": "apiserver", "provider": "kubernetes"}
    service: Object = {"metadata": {"name": "kubernetes", "labels": labels}}
    service["spec"] = {"clusterIP": settings.api_address, "ports": [port]}
    store.create("services", thaw(service), "default")
    labels = {"kubernetes.io/service-name": "kubernetes"}
    endpoints = [{"addresses": [settings.api_address], "conditions": {"ready": True}}]
    ports = [{"name": "https", "port": settings.port, "protocol": "TCP"}]
    slice_: Object = {"metadata": {"name": "kubernetes", "labels": labels}, "addressType": "IPv4"}
    store.create("endpointslices", slice_ | {"endpoints": endpoints, "ports": ports}, "default")


def on_namespace(store: Store, name: str, authority: bytes) -> None:
    """What every new namespace gets: the default ServiceAccount, and the API server's authority."""
    if store.find("serviceaccounts", "default", name) is None:
        store.create("serviceaccounts", {"metadata": {"name": "default"}}, name)
    if store.find("configmaps", _AUTHORITY, name) is None:
        store.create("configmaps", {"metadata": {"name": _AUTHORITY}, "data": {"ca.crt": authority.decode()}}, name)
