"""Says which pods a Service may send to: EndpointSlices, with ready, serving and terminating for each pod."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from clusters.sandbox.controllers.loop import Informers, Reconciler
from clusters.sandbox.controllers.pods import is_ready, is_terminating, suffix
from clusters.sandbox.objects import Object
from clusters.sandbox.selectors import label_matcher
from clusters.sandbox.store import Change, Store

SERVICE_LABEL = "kubernetes.io/service-name"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
_MANAGER = "endpointslice-controller.k8s.io"
_PER_SLICE = 100


class EndpointSlices:
    """The EndpointSlice controller; it keeps the older Endpoints objects too, which old clients still read."""

    def __init__(self, informers: Informers) -> None:
        self._store: Store = informers.store
        self._queue = Reconciler("endpointslice", self._sync)
        informers.on("services", self._service_changed)
        informers.on("pods", self._pod_changed)
        informers.on("endpointslices", self._slice_changed)

    def close(self) -> None:
        """Stops working."""
        self._queue.close()

    def _service_changed(self, change: Change) -> None:
        self._queue.add((change.obj["metadata"]["namespace"], change.obj["metadata"]["name"]))

    def _slice_changed(self, change: Change) -> None:
        """Somebody else's hand on a slice of ours is undone."""
        labels = change.obj["metadata"].get("labels") or {}
        if labels.get(MANAGED_BY) == _MANAGER and SERVICE_LABEL in labels:
            self._queue.add((change.obj["metadata"]["namespace"], labels[SERVICE_LABEL]))

    def _pod_changed(self, change: Change) -> None:
        old, new = change.old, change.obj
        namespace = new["metadata"]["namespace"]
        if old is not None and change.verb == "MODIFIED" and _facts(old) == _facts(new):
            return
        labels = [pod["metadata"].get("labels") or {} for pod in (old, new) if pod is not None]
        for service in self._store.list("services", namespace):
            matches = label_matcher(service["spec"].get("selector"))
            if matches is not None and any(matches(one) for one in labels):
                self._queue.add((namespace, service["metadata"]["name"]))

    def _sync(self, key: tuple[str, str]) -> None:
        namespace, name = key
        service = self._store.find("services", name, namespace)
        selector = service["spec"].get("selector") if service else None
        present = [s for s in self._store.list("endpointslices", namespace, {SERVICE_LABEL: name}) if _is_ours(s)]
        if service is None or not selector or is_terminating(service):
            if service is None:  # a Service that lost its selector keeps its slices, as in Kubernetes
                for obj in present:
                    self._store.delete("endpointslices", obj["metadata"]["name"], namespace)
                if self._store.find("endpoints", name, namespace) is not None:
                    self._store.delete("endpoints", name, namespace)
            return
        groups: dict[str, list[Object]] = {}
        for pod in self._store.list("pods", namespace, selector):
            endpoint = _endpoint(service, pod)
            if endpoint is not None:
                groups.setdefault(json.dumps(_ports(service, pod)), []).append(endpoint)
        if not groups:
            groups[json.dumps(None)] = []
        wanted = [
            (json.loads(ports), endpoints[start : start + _PER_SLICE])
            for ports, endpoints in groups.items()
            for start in range(0, max(len(endpoints), 1), _PER_SLICE)
        ]
        for ports, endpoints in wanted:
            known = next((s for s in present if (s.get("ports") or None) == (ports or None)), None)
            if known is not None:
                present.remove(known)
                self._update(known, endpoints)
            else:
                self._store.create("endpointslices", _slice(self._store, service, ports, endpoints), namespace)
        for obj in present:
            self._store.delete("endpointslices", obj["metadata"]["name"], namespace)
        self._keep_endpoints(service, wanted)

    def _update(self, known: Object, endpoints: list[Object]) -> None:
        meta = known["metadata"]

        def write(fresh: Object) -> None:
            fresh["endpoints"] = endpoints

        self._store.mutate("endpointslices", meta["name"], meta["namespace"], write)

    def _keep_endpoints(self, service: Object, wanted: list[tuple[Any, list[Object]]]) -> None:
        meta = service["metadata"]
        subsets: list[Object] = []
        for ports, endpoints in wanted:
            ready = [_address(e) for e in endpoints if e["conditions"]["ready"]]
            unready = [_address(e) for e in endpoints if not e["conditions"]["serving"]]
            if ready or unready:
                subset: Object = {"addresses": ready} if ready else {}
                subset |= {"notReadyAddresses": unready} if unready else {}
                subsets.append(subset | {"ports": ports or []})
        known = self._store.find("endpoints", meta["name"], meta["namespace"])
        if known is None:
            labels = dict(meta.get("labels") or {})
            obj: Object = {"metadata": {"name": meta["name"], "labels": labels}, "subsets": subsets}
            self._store.create("endpoints", obj, meta["namespace"])
            return

        def write(fresh: Object) -> None:
            fresh["subsets"] = subsets

        self._store.mutate("endpoints", meta["name"], meta["namespace"], write)


def _facts(pod: Mapping[str, Any]) -> tuple[Any, ...]:
    """What of a pod a slice depends on."""
    meta, status = pod["metadata"], pod.get("status") or {}
    return (
        meta.get("labels"),
        status.get("podIP"),
        status.get("phase"),
        is_ready(pod),
        "deletionTimestamp" in meta,
        pod["spec"].get("nodeName"),
    )


def _is_ours(obj: Mapping[str, Any]) -> bool:
    return bool((obj["metadata"].get("labels") or {}).get(MANAGED_BY) == _MANAGER)


def _endpoint(service: Mapping[str, Any], pod: Mapping[str, Any]) -> Object | None:
    """A pod as a slice names it; None for pods that have no address or ended."""
    meta, status = pod["metadata"], pod.get("status") or {}
    if not status.get("podIP") or status.get("phase") in ("Succeeded", "Failed"):
        return None
    tolerant = bool(service["spec"].get("publishNotReadyAddresses"))
    serving, terminating = is_ready(pod), is_terminating(pod)
    endpoint: Object = {
        "addresses": [status["podIP"]],
        "conditions": {
            "ready": tolerant or (serving and not terminating),
            "serving": serving,
            "terminating": terminating,
        },
        "nodeName": pod["spec"]["nodeName"],
        "targetRef": {"kind": "Pod", "namespace": meta["namespace"], "name": meta["name"], "uid": meta["uid"]},
    }
    if pod["spec"].get("hostname") and pod["spec"].get("subdomain") == service["metadata"]["name"]:
        endpoint["hostname"] = pod["spec"]["hostname"]
    return endpoint


def _ports(service: Mapping[str, Any], pod: Mapping[str, Any]) -> list[Object] | None:
    """The Service's ports as numbers of this pod; a name that the pod does not know is left out."""
    ports: list[Object] = []
    for port in service["spec"].get("ports") or ():
        number = target_port(port, pod)
        if number is not None:
            known: Object = {"name": port.get("name", ""), "port": number, "protocol": port.get("protocol", "TCP")}
            if port.get("appProtocol"):
                known["appProtocol"] = port["appProtocol"]
            ports.append(known)
    return ports or None


def target_port(port: Mapping[str, Any], pod: Mapping[str, Any]) -> int | None:
    """The number behind a Service port's targetPort on this pod; None when its containers have no port so named."""
    target = port.get("targetPort", port["port"])
    if isinstance(target, int):
        return target or int(port["port"])
    for container in pod["spec"]["containers"]:
        for offered in container.get("ports") or ():
            if offered.get("name") == target and offered.get("protocol", "TCP") == port.get("protocol", "TCP"):
                return int(offered["containerPort"])
    return None


def _address(endpoint: Mapping[str, Any]) -> Object:
    return {
        "ip": endpoint["addresses"][0],
        "nodeName": endpoint["nodeName"],
        "targetRef": endpoint["targetRef"],
    }


def _slice(store: Store, service: Mapping[str, Any], ports: Any, endpoints: list[Object]) -> Object:
    meta = service["metadata"]
    inherited = {k: v for k, v in (meta.get("labels") or {}).items() if not k.startswith("endpointslice.")}
    owner = {"apiVersion": "v1", "kind": "Service", "name": meta["name"], "uid": meta["uid"]}
    return {
        "metadata": {
            "generateName": f"{meta['name']}-",
            "name": f"{meta['name']}-{suffix()}",
            "labels": inherited | {MANAGED_BY: _MANAGER, SERVICE_LABEL: meta["name"]},
            "ownerReferences": [owner | {"controller": True, "blockOwnerDeletion": True}],
        },
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": ports,
    }
