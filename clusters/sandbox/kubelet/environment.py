"""What a container finds in its environment, and what `$(NAME)` in its command means: Kubernetes' rules."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from clusters.sandbox.amounts import parse
from clusters.sandbox.store import Store

_REFERENCE = re.compile(r"\$(?:\$|\(([^()]*)\))")
_NAME = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")
_SUBSCRIPT = re.compile(r"^metadata\.(labels|annotations)\['(.+)'\]$")


class ConfigError(Exception):
    """The container cannot be made as its manifest says (CreateContainerConfigError)."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a pod runs."""

    node: str
    host_ip: str
    pod_ip: str
    allocatable: Mapping[str, str]


def expand(text: str, known: Mapping[str, str]) -> str:
    """Replaces `$(NAME)` by its value; `$$(NAME)` stays `$(NAME)`, and so does a name that nobody knows."""

    def value(match: re.Match[str]) -> str:
        if match[1] is None:
            return "$"
        return known.get(match[1], match[0])

    return _REFERENCE.sub(value, text)


def variables(store: Store, pod: Mapping[str, Any], container: Mapping[str, Any], place: Place) -> dict[str, str]:
    """The container's variables: those of Services, then envFrom, then env; later ones win. Raises ConfigError."""
    namespace = pod["metadata"]["namespace"]
    links = service_links(store, namespace, all_of_them=pod["spec"].get("enableServiceLinks", True))
    found: dict[str, str] = {}
    for source in container.get("envFrom") or ():
        prefix = source.get("prefix", "")
        for key, value in _bundle(store, namespace, source).items():
            if _NAME.fullmatch(prefix + key):
                found[prefix + key] = value
    for entry in container.get("env") or ():
        name = entry["name"]
        if "valueFrom" in entry:
            value_from = _value_from(store, pod, container, place, entry["valueFrom"])
            if value_from is not None:
                found[name] = value_from
        else:
            found[name] = expand(str(entry.get("value", "")), links | found)
    return links | found


def service_links(store: Store, namespace: str, *, all_of_them: bool) -> dict[str, str]:
    """NAME_SERVICE_HOST and NAME_SERVICE_PORT of the namespace's Services; always those of default/kubernetes."""
    services: Iterable[Mapping[str, Any]] = store.list("services", namespace) if all_of_them else ()
    api = store.find("services", "kubernetes", "default")
    named = {s["metadata"]["name"]: s for s in services}
    if api is not None:
        named.setdefault("kubernetes", api)
    links: dict[str, str] = {}
    for name, service in named.items():
        ip, ports = service["spec"].get("clusterIP"), service["spec"].get("ports") or ()
        if not ip or ip == "None" or not ports:
            continue
        base = name.upper().replace("-", "_")
        links[f"{base}_SERVICE_HOST"] = ip
        links[f"{base}_SERVICE_PORT"] = str(ports[0]["port"])
        for port in ports:
            if port.get("name"):
                links[f"{base}_SERVICE_PORT_{port['name'].upper().replace('-', '_')}"] = str(port["port"])
    return links


def _bundle(store: Store, namespace: str, source: Mapping[str, Any]) -> dict[str, str]:
    for field, plural in (("configMapRef", "configmaps"), ("secretRef", "secrets")):
        reference = source.get(field)
        if reference:
            obj = store.find(plural, reference["name"], namespace)
            if obj is None:
                if reference.get("optional"):
                    return {}
                raise ConfigError(f'{plural[:-1]} "{reference["name"]}" not found')
            return {key: content.decode(errors="replace") for key, content in contents(plural, obj).items()}
    return {}


def contents(plural: str, obj: Mapping[str, Any]) -> dict[str, bytes]:
    """The keys of a ConfigMap or Secret as bytes."""
    import base64

    if plural == "secrets":
        return {key: base64.b64decode(value) for key, value in (obj.get("data") or {}).items()}
    plain = {key: str(value).encode() for key, value in (obj.get("data") or {}).items()}
    return plain | {key: base64.b64decode(value) for key, value in (obj.get("binaryData") or {}).items()}


def _value_from(
    store: Store, pod: Mapping[str, Any], container: Mapping[str, Any], place: Place, source: Mapping[str, Any]
) -> str | None:
    if "fieldRef" in source:
        return field_value(pod, place, source["fieldRef"]["fieldPath"])
    if "resourceFieldRef" in source:
        return resource_value(pod, container, place, source["resourceFieldRef"])
    for field, plural in (("configMapKeyRef", "configmaps"), ("secretKeyRef", "secrets")):
        reference = source.get(field)
        if not reference:
            continue
        namespace = pod["metadata"]["namespace"]
        obj = store.find(plural, reference["name"], namespace)
        if obj is None:
            if reference.get("optional"):
                return None
            raise ConfigError(f'{plural[:-1]} "{reference["name"]}" not found')
        found = contents(plural, obj)
        if reference["key"] not in found:
            if reference.get("optional"):
                return None
            what = "ConfigMap" if plural == "configmaps" else "Secret"
            raise ConfigError(f"couldn't find key {reference['key']} in {what} {namespace}/{reference['name']}")
        return str(found[reference["key"]], "utf-8", "replace")
    raise ConfigError(f"unknown valueFrom: {sorted(source)}")


def field_value(pod: Mapping[str, Any], place: Place, path: str) -> str:
    """The downward API: what a fieldPath stands for on this pod. Raises ConfigError for what there is not."""
    meta, spec = pod["metadata"], pod["spec"]
    match = _SUBSCRIPT.match(path)
    if match:
        return str((meta.get(match[1]) or {}).get(match[2], ""))
    plain: dict[str, str] = {
        "metadata.name": meta["name"],
        "metadata.namespace": meta["namespace"],
        "metadata.uid": meta["uid"],
        "spec.nodeName": place.node,
        "spec.serviceAccountName": spec.get("serviceAccountName", "default"),
        "status.hostIP": place.host_ip,
        "status.hostIPs": place.host_ip,
        "status.podIP": place.pod_ip,
        "status.podIPs": place.pod_ip,
    }
    if path in ("metadata.labels", "metadata.annotations"):
        return "\n".join(f'{k}="{v}"' for k, v in sorted((meta.get(path[9:]) or {}).items()))
    if path not in plain:
        raise ConfigError(f"unsupported fieldPath: {path}")
    return plain[path]


def resource_value(
    pod: Mapping[str, Any], container: Mapping[str, Any], place: Place, reference: Mapping[str, Any]
) -> str:
    """A resourceFieldRef such as limits.cpu, in units of its divisor, rounded up; without a limit the node's."""
    wanted = reference.get("containerName")
    if wanted and wanted != container.get("name"):
        container = next(c for c in pod["spec"]["containers"] if c["name"] == wanted)
    side, _, resource = reference["resource"].partition(".")
    given = ((container.get("resources") or {}).get(side) or {}).get(resource)
    if given is None:
        given = place.allocatable.get(resource, "0") if side == "limits" else "0"
    divisor = parse(reference.get("divisor") or "1") or 1
    return str(math.ceil(parse(given) / divisor))
