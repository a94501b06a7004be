"""The one interpreter of undo data: what each operation does, how it is verified, and the command that does it by hand.

`apply` may be called any number of times, by anyone, also when the act never happened or somebody has changed the
object since: it restores what we changed and nothing else.
"""

from __future__ import annotations

import json
import shlex
import time
from typing import Any

from harness.kube import Cluster, Object, Refused
from harness.undo import pointer, start_node
from harness.undo.entry import (
    RUN_LABEL,
    AwaitWithdrawn,
    DeleteCreated,
    LatencyOff,
    Op,
    RestoreFields,
    StartNode,
    run_label,
)

POLL_S = 0.1
CONFLICTS = 5  # times that a change of somebody else's may come between our read and our patch


class NotUndone(Exception):  # noqa: N818
    """The operation could not be done or not be verified; the text says what is left."""


def apply(op: Op, cluster: Cluster) -> str:
    """Do it. Returns what was done or found, for people. Raises NotUndone, Unreachable or Refused."""
    match op:
        case RestoreFields():
            return _restore(op, cluster)
        case DeleteCreated():
            return _delete(op, cluster)
        case AwaitWithdrawn():
            return _await_withdrawn(op, cluster)
        case LatencyOff():
            return _latency_off(op, cluster)
        case StartNode():
            try:
                return start_node.start(op, cluster)
            except start_node.NotStartedError as error:
                raise NotUndone(str(error)) from error


def verify(op: Op, cluster: Cluster) -> None:
    """Read back, and wait as long as the operation allows. Raises NotUndone with what is left."""
    match op:
        case RestoreFields():
            _verify_restored(op, cluster)
        case DeleteCreated():
            _wait(lambda: _still_ours(op, cluster), op.within_s)
        case LatencyOff():
            _wait(lambda: _latency_left(op, cluster), 0.0)
        case StartNode():
            _wait(lambda: start_node.left(op, cluster), op.within_s)
        case AwaitWithdrawn():
            pass  # it is a pause for the traffic's sake; what must be gone has an operation of its own


def command(op: Op, context: str | None) -> str:
    """The command that does the same by hand; empty where nothing is to be done."""
    kubectl = f"kubectl --context {shlex.quote(context)}" if context else "kubectl"
    match op:
        case RestoreFields():
            return _restore_command(op, kubectl)
        case DeleteCreated():
            return f"{kubectl} delete {op.kind.lower()} {op.name}{_in(op.namespace)}"
        case LatencyOff():
            return f"{kubectl} delete pod {op.pod}{_in(op.namespace)}"
        case StartNode():
            return shlex.join(op.by_hand)
        case AwaitWithdrawn():
            return ""


# -- fields --


def _restore(op: RestoreFields, cluster: Cluster) -> str:
    for _ in range(CONFLICTS):
        current = cluster.get(op.kind, op.name, op.namespace)
        if current is None or current["metadata"]["uid"] != op.uid:
            return f"{op.kind.lower()} {op.name} is gone: nothing to restore"
        if op.mark and not _marked(op, current):
            return "nothing of ours is there"
        patch, kept = _backward(op, current)
        if not patch:
            return "; ".join(kept) or "it is as it was"
        try:
            changed = cluster.patch(op.kind, op.name, op.namespace, patch)
        except Refused as error:
            # A `test` of the patch did not hold: somebody changed the object meanwhile. Look again.
            if error.code in (409, 422):
                continue
            raise
        left = [each.at for each in op.fields if _is_ours(op, each.at, changed)]
        if left:
            raise NotUndone(f"{', '.join(left)} did not take its old value")
        return "; ".join(["restored", *kept])
    raise NotUndone(f"{op.kind.lower()} {op.name} was changed by somebody else at every try")


def _backward(op: RestoreFields, current: Object) -> tuple[list[Object], list[str]]:
    """The patch that restores, and a line for each field that somebody else has changed since."""
    patch: list[Object] = []
    kept: list[str] = []
    for each in op.fields:
        now = pointer.read(current, each.at)
        if now == each.before:
            continue
        if each.after is not None and now != each.after:
            kept.append(f"{each.at} was changed by somebody else since and is left as it is: {_short(now)}")
            continue
        patch += pointer.change(each.at, now, each.before)
    if op.mark:
        at = pointer.join("metadata", "annotations", op.mark)
        patch += pointer.change(at, pointer.value(op.mark_value), pointer.ABSENT)
    return patch, kept


def _verify_restored(op: RestoreFields, cluster: Cluster) -> None:
    current = cluster.get(op.kind, op.name, op.namespace)
    if current is None or current["metadata"]["uid"] != op.uid:
        return
    if op.mark:
        # Fields and mark change in one patch: without the mark, what is there is not ours.
        if _marked(op, current):
            raise NotUndone(f"{op.kind.lower()} {op.name} still carries {op.mark}")
        return
    left = [each.at for each in op.fields if _is_ours(op, each.at, current)]
    if left:
        raise NotUndone(f"{op.kind.lower()} {op.name}: {', '.join(left)} is not as it was")
    if op.rollout_within_s and all(pointer.read(current, each.at) == each.before for each in op.fields):
        _wait(lambda: _rollout_left(op, cluster), op.rollout_within_s)


def _rollout_left(op: RestoreFields, cluster: Cluster) -> str:
    current = cluster.get(op.kind, op.name, op.namespace)
    if current is None:
        return ""
    status: dict[str, Any] = current.get("status") or {}
    if status.get("observedGeneration", 0) < current["metadata"]["generation"]:
        return f"deployment {op.name}: its controller has not seen the restored template"
    old = status.get("replicas", 0) - status.get("updatedReplicas", 0)
    if old:
        return f"deployment {op.name}: {old} pods of another template are left"
    # The status does not count pods that are ending, and those still serve what connections they have.
    labels = current["spec"]["selector"].get("matchLabels") or {}
    pods = cluster.list("Pod", op.namespace, ",".join(f"{key}={value}" for key, value in sorted(labels.items())))
    staying = {_template_hash(pod) for pod in pods if "deletionTimestamp" not in pod["metadata"]}
    ending = [pod["metadata"]["name"] for pod in pods if _template_hash(pod) not in staying]
    return f"deployment {op.name}: {', '.join(ending)} of another template has not ended" if ending else ""


def _template_hash(pod: Object) -> str:
    return str((pod["metadata"].get("labels") or {}).get("pod-template-hash", ""))


def _is_ours(op: RestoreFields, at: str, current: Object) -> bool:
    each = next(each for each in op.fields if each.at == at)
    now = pointer.read(current, at)
    return now != each.before and (each.after is None or now == each.after)


def _marked(op: RestoreFields, current: Object) -> bool:
    return bool((current["metadata"].get("annotations") or {}).get(op.mark) == op.mark_value)


def _restore_command(op: RestoreFields, kubectl: str) -> str:
    target = f"{op.kind.lower()}/{op.name}{_in(op.namespace)}"
    lines = []
    for each in op.fields:
        if op.kind == "Node" and each.at == "/spec/unschedulable" and "absent" in each.before:
            lines.append(f"{kubectl} uncordon {op.name}")
            continue
        step = (
            {"op": "remove", "path": each.at}
            if "absent" in each.before
            else {"op": "replace", "path": each.at, **each.before}
        )
        lines.append(f"{kubectl} patch {target} --type=json -p {shlex.quote(json.dumps([step]))}")
    if op.mark:
        lines.append(f"{kubectl} annotate {target} {op.mark}-")
    return "\n  ".join(lines)


# -- objects that the run made --


def _delete(op: DeleteCreated, cluster: Cluster) -> str:
    current = cluster.get(op.kind, op.name, op.namespace)
    if current is None:
        return f"{op.kind.lower()} {op.name} is not there"
    if not _carries(current, op.run_id):
        return f"{op.kind.lower()} {op.name} is not ours and is left"
    cluster.delete(op.kind, op.name, op.namespace, uid=current["metadata"]["uid"])
    return f"{op.kind.lower()} {op.name} deleted"


def _still_ours(op: DeleteCreated, cluster: Cluster) -> str:
    current = cluster.get(op.kind, op.name, op.namespace)
    if current is None or not _carries(current, op.run_id):
        return ""
    return f"{op.kind.lower()} {op.name} is still there after {op.within_s:g} s"


def _carries(obj: Object, run_id: str) -> bool:
    return bool((obj["metadata"].get("labels") or {}).get(RUN_LABEL) == run_label(run_id))


# -- traffic --


def _await_withdrawn(op: AwaitWithdrawn, cluster: Cluster) -> str:
    if not any(cluster.get("Pod", pod, op.namespace) for pod in op.pods):
        return "the pods are gone"
    end = time.monotonic() + op.within_s
    while True:
        names = ready_endpoints(cluster, op.namespace, op.service)
        if names and not names & set(op.pods):
            break
        if time.monotonic() >= end:
            return f"the Service leads to {', '.join(sorted(names)) or 'no pod'} after {op.within_s:g} s"
        time.sleep(POLL_S)
    time.sleep(op.lag_s)
    return "no new connection reaches the pods"


def ready_endpoints(cluster: Cluster, namespace: str, service: str) -> set[str]:
    """Names of the pods that a Service leads new connections to."""
    slices = cluster.list("EndpointSlice", namespace, f"kubernetes.io/service-name={service}")
    return {
        (endpoint.get("targetRef") or {}).get("name", endpoint["addresses"][0])
        for each in slices
        for endpoint in each.get("endpoints") or []
        if (endpoint.get("conditions") or {}).get("ready", True)
    }


def _latency_off(op: LatencyOff, cluster: Cluster) -> str:
    if not _running(op, cluster):
        return f"proxy {op.pod} is gone"
    cluster.pod_proxy(op.namespace, op.pod, op.port, "PUT", "latency", {"latency_ns": 0, "jitter_ns": 0, "seed": 0})
    return "latency is off"


def _latency_left(op: LatencyOff, cluster: Cluster) -> str:
    if not _running(op, cluster):
        return ""
    state = cluster.pod_proxy(op.namespace, op.pod, op.port, "GET", "state")
    return f"proxy {op.pod} still adds {state['latency_ns']} ns" if state["latency_ns"] or state["jitter_ns"] else ""


def _running(op: LatencyOff, cluster: Cluster) -> bool:
    pod = cluster.get("Pod", op.pod, op.namespace)
    return (
        pod is not None
        and pod.get("status", {}).get("phase") == "Running"
        and "deletionTimestamp" not in pod["metadata"]
    )


# -- small things --


def _wait(left: Any, within_s: float) -> None:
    end = time.monotonic() + within_s
    while problem := left():
        if time.monotonic() >= end:
            raise NotUndone(problem)
        time.sleep(POLL_S)


def _in(namespace: str | None) -> str:
    return f" -n {namespace}" if namespace else ""


def _short(held: Any) -> str:
    text = "absent" if "absent" in held else json.dumps(held["value"])
    return text if len(text) <= 80 else text[:77] + "..."
