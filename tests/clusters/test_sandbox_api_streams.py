"""Into the pods: logs, commands, and HTTP passed through the API server."""

from __future__ import annotations

import json
import re
import threading

import pytest
from conftest import wait_for
from kubernetes.stream import stream

SERVER = """
import http.server, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self):
        length = int(self.headers.get("Content-Length") or 0)
        body = f"{self.command} {self.path} {self.headers.get('X-Test')} {self.rfile.read(length).decode()}".encode()
        self.send_response(418 if self.path.startswith("/teapot") else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    do_GET = do_PUT = do_POST = do_DELETE = do_PATCH = answer
    def log_message(self, *words): pass
http.server.HTTPServer((os.environ["POD_IP"], 8080), Handler).serve_forever()
"""
POD_IP = {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}


@pytest.fixture
def run(http, namespace):
    """Starts a pod of one container and waits for what is asked of its status."""

    def start(name, command, until="running", restart="Never", **spec):
        container = {"name": "main", "image": "test/tools:1", "command": command, "env": [POD_IP]}
        container |= {"ports": [{"containerPort": 8080, "name": "web"}]}
        body = {"metadata": {"name": name}, "spec": {"containers": [container], "restartPolicy": restart} | spec}
        body["spec"]["terminationGracePeriodSeconds"] = 1
        path = f"/api/v1/namespaces/{namespace}/pods"
        http.ok("POST", path, body)

        def state():
            pod = http.ok("GET", f"{path}/{name}")
            return next((pod for s in pod["status"].get("containerStatuses") or () if until in s["state"]), None)

        wait_for(state, f"container that is {until}")
        return f"{path}/{name}"

    return start


def shell(script):
    return ["sh", "-c", script]


def test_a_log_is_what_the_container_wrote(http, run):
    """Whole, its last lines, its first bytes, with times."""
    path = run("a", shell("echo one; echo two >&2; echo three"), until="terminated") + "/log"

    assert sorted(http.ok("GET", path).split()) == ["one", "three", "two"]
    assert len(http.ok("GET", path, tailLines=2).splitlines()) == 2
    assert http.ok("GET", path, tailLines=0) == ""
    assert len(http.ok("GET", path, limitBytes=5)) == 5
    stamped = http.ok("GET", path, timestamps="true").splitlines()
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z \w+", line) for line in stamped)
    assert http.ok("GET", path, sinceTime="2999-01-01T00:00:00Z") == ""
    assert len(http.ok("GET", path, sinceSeconds=600).splitlines()) == 3


def test_a_followed_log_ends_with_the_container(core, run, namespace):
    """What comes later comes too; the stream closes when no more can come."""
    run("a", shell("for i in 1 2 3; do echo $i; sleep 0.1; done"))

    text = core.read_namespaced_pod_log("a", namespace, follow=True)

    assert text.split() == ["1", "2", "3"]


def test_the_log_of_the_previous_run_is_kept(http, run):
    """A container that crashed shows why."""
    path = run("a", shell("echo run; exit 1"), until="waiting", restart="Always")

    def again():
        pod = http.ok("GET", path)
        return pod["status"]["containerStatuses"][0]["restartCount"] > 0

    wait_for(again, "restart", 30)
    assert http.ok("GET", path + "/log", previous="true") == "run\n"


def test_a_log_needs_a_container_that_is_there(http, run):
    """Wrong names and runs that never were are a 400 with the reason."""
    path = run("a", shell("sleep 60")) + "/log"

    status, answer = http("GET", path, container="other")
    assert (status, answer["message"]) == (400, "container other is not valid for pod a")
    status, answer = http("GET", path, previous="true")
    assert (status, answer["message"]) == (400, 'previous terminated container "main" in pod "a" not found')


def test_exec_runs_a_command_with_its_output_and_exit_code(core, run, namespace):
    """The kubernetes client's stream: stdout, stderr and the error channel."""
    run("a", shell("sleep 60"))

    answer = stream(
        core.connect_get_namespaced_pod_exec,
        "a",
        namespace,
        command=shell("echo out; echo err >&2; exit 3"),
        stdout=True,
        stderr=True,
        _preload_content=False,
    )
    answer.run_forever(timeout=10)

    assert answer.read_stdout() == "out\n"
    assert answer.read_stderr() == "err\n"
    assert answer.returncode == 3


def test_exec_passes_stdin_on(core, run, namespace):
    """What is written arrives; the container's environment is there."""
    run("a", shell("sleep 60"))

    answer = stream(
        core.connect_get_namespaced_pod_exec,
        "a",
        namespace,
        command=shell('read line; echo "$line $POD_IP"'),
        stdin=True,
        stdout=True,
        _preload_content=False,
    )
    answer.write_stdin("hello\n")
    answer.run_forever(timeout=10)

    assert re.fullmatch(r"hello 127\.\d+\.\d+\.\d+\n", answer.read_stdout())
    assert answer.returncode == 0


def test_a_command_that_is_not_there_is_an_error(core, run, namespace):
    """Not a success with no output."""
    run("a", shell("sleep 60"))

    answer = stream(
        core.connect_get_namespaced_pod_exec, "a", namespace, command=["none-such"], stdout=True, _preload_content=False
    )
    answer.run_forever(timeout=10)

    assert json.loads(answer.read_channel(3))["status"] == "Failure"


@pytest.fixture
def web(http, run):
    path = run("web", ["python3", "-c", SERVER])
    wait_for(lambda: http("GET", f"{path}:8080/proxy/")[0] == 200, "answer of the server")
    return path


def test_the_proxy_passes_every_method_path_query_and_body(http, web):
    """And the answer's status, unread."""
    for method in ("GET", "PUT", "POST", "DELETE", "PATCH"):
        body = None if method == "GET" else b"text"
        status, text = http(method, f"{web}:8080/proxy/a/b%20c", body, headers={"X-Test": "yes"}, q="1 2")

        assert (status, text) == (200, f"{method} /a/b%20c?q=1+2 yes {'' if body is None else 'text'}")
    assert http("GET", f"{web}:web/proxy/teapot")[0] == 418
    assert http("GET", f"{web}/proxy/")[1].startswith("GET / ")


def test_the_proxy_says_when_nobody_listens(http, web):
    """503 with the address that was tried; 404 for a pod that is not there."""
    status, answer = http("GET", f"{web}:9999/proxy/")

    assert (status, answer["reason"]) == (503, "ServiceUnavailable")
    assert ":9999" in answer["message"]
    assert http("GET", web.replace("/web", "/none") + ":8080/proxy/")[0] == 404


def test_many_requests_pass_at_once(http, web):
    """The proxy does not queue them behind each other."""
    seen = []
    threads = [threading.Thread(target=lambda: seen.append(http("GET", f"{web}:8080/proxy/x")[0])) for _ in range(8)]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert seen == [200] * 8
