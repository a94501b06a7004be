"""The pods of a load inside the cluster: what they are made of, and what their status says of them."""

from __future__ import annotations

from collections.abc import Sequence

from harness.kube import Object
from harness.undo.entry import LOAD_LABEL, RUN_LABEL, run_label


def pod(
    name: str, arguments: list[str], env: dict[str, str], *, run_id: str, image: str, avoid: Sequence[str]
) -> Object:
    """`python3 -m loadtests ARGUMENTS` in a pod that is on none of the nodes in `avoid`."""
    labels = {RUN_LABEL: run_label(run_id), LOAD_LABEL: "true"}
    fields = {"POD_IP": "status.podIP", "POD_NAME": "metadata.name", "NODE_NAME": "spec.nodeName"}
    told = [{"name": field, "valueFrom": {"fieldRef": {"fieldPath": path}}} for field, path in fields.items()]
    spec: Object = {
        "restartPolicy": "Never",  # one that died is lost, and must not come back as another
        "terminationGracePeriodSeconds": 5,
        "automountServiceAccountToken": False,
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": labels},
            }
        ],
        "containers": [
            {
                "name": "load",
                "image": image,
                "imagePullPolicy": "IfNotPresent",
                "command": ["python3", "-m", "loadtests", *arguments],
                "env": told + [{"name": key, "value": value} for key, value in env.items()],
                # The request is its share of a busy node: with 100m, 1 to 6 % of the requests went out more than 5 ms
                # late on a real node of two busy cores. A limit would make more of them late.
                "resources": {"requests": {"cpu": "500m", "memory": "160Mi"}},
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "capabilities": {"drop": ["ALL"]},
                    "runAsNonRoot": True,
                    "runAsUser": 65532,
                },
            }
        ],
    }
    if avoid:
        # By name, not by the label kubernetes.io/hostname, which may be another.
        fields_not = [{"key": "metadata.name", "operator": "NotIn", "values": [node]} for node in avoid]
        required = {"nodeSelectorTerms": [{"matchFields": fields_not}]}
        spec["affinity"] = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}
    return {
        "metadata": {"name": name, "labels": {**labels, "app.kubernetes.io/name": "bulletproof-load"}},
        "spec": spec,
    }


def cannot_start(status: Object) -> str:
    """Why the pod waits, where it may wait for ever; empty where it is on its way."""
    for container in status.get("containerStatuses") or ():
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") not in (None, "ContainerCreating", "PodInitializing"):
            return f"{waiting['reason']}: {waiting.get('message', '')}".rstrip(": ")
    return ""


def why_ended(status: Object) -> str:
    """How the pod's container ended."""
    for container in status.get("containerStatuses") or ():
        ended = (container.get("state") or {}).get("terminated") or {}
        if ended:
            return f"{ended.get('reason', 'ended')}, exit code {ended.get('exitCode')}"
    return str(status.get("reason", "no reason given"))
