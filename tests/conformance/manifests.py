"""Objects that the tests make, and the small programs that run in their pods."""

from __future__ import annotations

from typing import Any

from tests.conformance.api import Api, Object, RefusedError, wait_for

# Every container program is `python3 -c PROGRAM ARGUMENT…`, so that one image with Python is enough on any cluster.
IDLE = """
import os, signal
signal.signal(15, lambda *a: os._exit(0))
print("up", flush=True)
while True:
    signal.pause()
"""

STUBBORN = """
import signal, time
signal.signal(15, lambda *a: print("TERM", flush=True))
print("up", flush=True)
while True:
    time.sleep(60)
"""

# GET /name says the pod's name; /sick/X and /well/X turn /check/X to 503 and back to 200; /exit/N ends with N.
SERVER = """
import os, signal, socket, sys
signal.signal(15, lambda *a: os._exit(0))
sick = set(sys.argv[1:])
server = socket.create_server((os.environ["POD_IP"], 8000), backlog=64)
print("serving", flush=True)
while True:
    client, _ = server.accept()
    try:
        client.settimeout(1)
        words = (client.recv(4096).decode() + "  ").split(" ")
        what, _, rest = words[1].strip("/").partition("/")
        status, body = 200, "ok"
        if what == "name":
            body = os.environ["HOSTNAME"]
        elif what == "sick":
            sick.add(rest)
        elif what == "well":
            sick.discard(rest)
        elif what == "check" and rest in sick:
            status = 503
        elif what == "exit":
            os._exit(int(rest))
        head = f"HTTP/1.1 {status} -\\r\\nContent-Length: {len(body)}\\r\\nConnection: close\\r\\n\\r\\n"
        client.sendall((head + body).encode())
    except OSError:
        pass
    finally:
        client.close()
"""

CHECK = {"httpGet": {"path": "/check/ready", "port": 8000}, "periodSeconds": 1}
POD_IP = {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}


def container(api: Api, program: str = IDLE, *arguments: str, name: str = "main", **more: Any) -> Object:
    """A container that runs the program."""
    env = [POD_IP, *more.pop("env", ())]
    command = ["python3", "-c", program, *arguments]
    made = {"name": name, "image": api.image, "imagePullPolicy": "IfNotPresent", "command": command, "env": env}
    return made | more


def pod_spec(api: Api, program: str = IDLE, *arguments: str, spec: Object | None = None, **more: Any) -> Object:
    """A pod spec with one container; `spec` adds to it, everything else goes to the container."""
    base = {"terminationGracePeriodSeconds": 1, "containers": [container(api, program, *arguments, **more)]}
    return base | (spec or {})


def pod(
    api: Api, name: str, program: str = IDLE, *arguments: str, labels: dict[str, str] | None = None, **more: Any
) -> Object:
    """A pod with one container."""
    meta = {"name": name, "labels": labels or {"app": name}}
    return {"metadata": meta, "spec": pod_spec(api, program, *arguments, **more)}


def nowhere(api: Api, name: str, **labels: str) -> Object:
    """A pod that no node takes: an object that nobody but the test changes."""
    return pod(api, name, labels=labels or {"app": name}, spec={"nodeSelector": {"conformance/exists": "nowhere"}})


def deployment(
    api: Api, name: str, replicas: int, program: str = IDLE, *arguments: str, deploy: Object | None = None, **more: Any
) -> Object:
    """A Deployment; `deploy` adds to its spec, the rest is the container's (and `spec` the pod's)."""
    template = {"metadata": {"labels": {"app": name}}, "spec": pod_spec(api, program, *arguments, **more)}
    wanted = {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template}
    return {"metadata": {"name": name}, "spec": wanted | (deploy or {})}


def unplaced(api: Api, name: str, replicas: int = 0, **more: Any) -> Object:
    """A Deployment whose pods no node takes."""
    return deployment(api, name, replicas, spec={"nodeSelector": {"conformance/exists": "nowhere"}}, **more)


def replicaset(api: Api, name: str, replicas: int, program: str = IDLE, **more: Any) -> Object:
    """A ReplicaSet."""
    made = deployment(api, name, replicas, program, **more)
    return {"metadata": {"name": name}, "spec": made["spec"]}


def service(name: str, selector: dict[str, str] | None = None, **more: Any) -> Object:
    """A Service on port 80 for pods that listen on 8000."""
    spec = {"selector": selector or {"app": name}, "ports": [{"name": "http", "port": 80, "targetPort": 8000}], **more}
    return {"metadata": {"name": name}, "spec": spec}


def budget(name: str, **more: Any) -> Object:
    """A PodDisruptionBudget for app=NAME."""
    return {"metadata": {"name": name}, "spec": {"selector": {"matchLabels": {"app": name}}} | more}


def config_map(name: str, labels: dict[str, str] | None = None, **data: str) -> Object:
    """A ConfigMap."""
    return {"metadata": {"name": name} | ({"labels": labels} if labels else {}), "data": data}


def visit(api: Api, pod_name: str, path: str) -> str:
    """A GET at a pod's port 8000, through the API; waits until the API knows the pod and the pod serves."""
    api.until("pods", pod_name, lambda p: p["status"].get("podIP"), "with an address")

    def answer() -> str:
        try:
            return str(api.call("GET", api.path("pods", f"{pod_name}:8000") + f"/proxy/{path}"))
        except RefusedError as refused:
            if refused.code == 503:
                return ""
            raise

    return wait_for(answer, f"an answer of {pod_name}")
