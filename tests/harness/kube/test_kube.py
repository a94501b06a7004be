"""The client against a real API server (the sandbox's), and against servers that are gone, hang or break."""

from __future__ import annotations

import http.server
import json
import socket
import threading
import time
from collections.abc import Iterator

import pytest
import yaml

from clusters.sandbox import client as sandboxes
from harness.errors import InvalidRun
from harness.kube import Cluster, Refused, Unreachable
from harness.run.watch import watch


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[Cluster]:
    """A bare sandbox."""
    folder = tmp_path_factory.mktemp("kube") / "sandbox"
    running = sandboxes.start(folder, nodes=1, gpus=0)
    yield Cluster.connect(running.kubeconfig, running.context)
    sandboxes.stop(folder)


@pytest.fixture
def namespace(cluster):
    name = f"test-{time.monotonic_ns()}"
    cluster.create("Namespace", {"metadata": {"name": name}})
    yield name
    cluster.delete("Namespace", name)


def config_map(name, **data):
    return {"metadata": {"name": name, "labels": {"of": "test"}}, "data": data}


def server_at(tmp_path, port):
    """A kubeconfig for a plain HTTP server of this test."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "clusters": [{"name": "here", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
        "users": [{"name": "me", "user": {"token": "x"}}],
    }
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    return path


def test_objects_are_made_read_changed_and_deleted(cluster, namespace):
    """As plain dicts; what is not there is None or False, not an error."""
    assert cluster.get("ConfigMap", "a", namespace) is None
    made = cluster.create("ConfigMap", config_map("a", k="1"), namespace)

    assert cluster.get("ConfigMap", "a", namespace) == made
    assert cluster.patch("ConfigMap", "a", namespace, {"data": {"k": None, "l": "2"}})["data"] == {"l": "2"}
    replaced = cluster.patch("ConfigMap", "a", namespace, [{"op": "replace", "path": "/data/l", "value": "3"}])
    assert replaced["data"] == {"l": "3"}
    assert [each["metadata"]["name"] for each in cluster.list("ConfigMap", namespace, "of=test")] == ["a"]
    assert cluster.list("ConfigMap", namespace, "of=other") == []
    assert cluster.delete("ConfigMap", "a", namespace, uid="another") is False
    assert cluster.delete("ConfigMap", "a", namespace, uid=made["metadata"]["uid"]) is True
    assert cluster.delete("ConfigMap", "a", namespace) is False


def test_long_lists_come_in_full(cluster, namespace):
    """Over several pages of 500."""
    for number in range(520):
        cluster.create("ConfigMap", config_map(f"c{number}"), namespace)

    assert len(cluster.list("ConfigMap", namespace, "of=test")) == 520


def test_refusals_carry_their_code(cluster, namespace):
    """409 for a taken name and a stale version, 404 for a kind or object that is not there, 422 for a failed test."""
    cluster.create("ConfigMap", config_map("a", k="1"), namespace)

    for code, act in (
        (409, lambda: cluster.create("ConfigMap", config_map("a"), namespace)),
        (409, lambda: cluster.patch("ConfigMap", "a", namespace, {"metadata": {"resourceVersion": "1"}})),
        (404, lambda: cluster.patch("ConfigMap", "b", namespace, {"data": {}})),
        (422, lambda: cluster.patch("ConfigMap", "a", namespace, [{"op": "test", "path": "/data/k", "value": "2"}])),
    ):
        with pytest.raises(Refused) as refused:
            act()
        assert refused.value.code == code


def test_an_eviction_is_granted_or_too_late(cluster, namespace):
    """Too late also means that the name belongs to another pod by now. (Blocked ones: see the drain.)"""
    spec = {"nodeSelector": {"no": "where"}, "containers": [{"name": "c", "image": "none:1"}]}
    pod = cluster.create("Pod", {"metadata": {"name": "p"}, "spec": spec}, namespace)
    uid = pod["metadata"]["uid"]

    assert cluster.evict("p", namespace, "another uid") == "gone"
    assert cluster.evict("p", namespace, uid) == "evicted"
    assert cluster.evict("p", namespace, uid) == "gone"


def test_a_watch_lists_follows_and_stops_at_once(cluster, namespace):
    """LISTED for what was there, then each change in its order; a stop does not wait for an event."""
    cluster.create("ConfigMap", config_map("before"), namespace)
    seen: list[tuple[str, str]] = []
    stop = threading.Event()
    watching = threading.Thread(
        target=watch,
        args=(
            cluster,
            "ConfigMap",
            namespace,
            "of=test",
            lambda verb, it: seen.append((verb, it["metadata"]["name"])),
            stop,
        ),
    )
    watching.start()
    wait_until(lambda: seen == [("LISTED", "before")])
    cluster.create("ConfigMap", config_map("after"), namespace)
    cluster.patch("ConfigMap", "after", namespace, {"data": {"k": "v"}})
    cluster.delete("ConfigMap", "after", namespace)
    wait_until(lambda: len(seen) == 4)

    stop.set()
    watching.join(10)

    assert not watching.is_alive()
    assert seen[1:] == [("ADDED", "after"), ("MODIFIED", "after"), ("DELETED", "after")]


def test_a_watch_whose_server_ends_tells_the_gap_and_what_it_missed(tmp_path):
    """LOST when it breaks, RESUMED when it is back; what was deleted meanwhile is told."""
    folder = tmp_path / "sandbox"
    running = sandboxes.start(folder, nodes=1, gpus=0)
    cluster = Cluster.connect(running.kubeconfig, running.context)
    seen: list[str] = []
    stop = threading.Event()
    watching = threading.Thread(
        target=watch, args=(cluster, "Namespace", None, None, lambda verb, it: seen.append(verb), stop)
    )
    watching.start()
    wait_until(lambda: "LISTED" in seen)

    sandboxes.stop(folder)

    wait_until(lambda: seen[-1] == "LOST")
    time.sleep(0.6)
    assert seen.count("LOST") == 1
    stop.set()
    watching.join(5)
    assert not watching.is_alive()


@pytest.mark.parametrize("gone", ["event", "status"])
@pytest.mark.parametrize("ends", ["break", "end"])
def test_a_gap_is_told_with_what_was_missed(tmp_path, ends, gone):
    """LOST and RESUMED around it; the state is listed again, and what went meanwhile is DELETED first.

    Also where the stream ended in order, and its version was forgotten before it was taken up again.
    """
    lists = iter([("1", "a", "b"), ("9", "b", "c")])
    watches = iter([ends, "gone", "stay"])
    ended = threading.Event()

    def item(name, version):
        return {"metadata": {"name": name, "uid": f"uid-{name}", "resourceVersion": version}}

    class Api(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            if "watch=true" in self.path:
                self.watched(next(watches))
            elif self.path == "/version":
                self.answer(200, {"gitVersion": "v1"})
            else:
                version, *names = next(lists)
                self.answer(
                    200, {"metadata": {"resourceVersion": version}, "items": [item(name, version) for name in names]}
                )

        def watched(self, how):
            error = {"kind": "Status", "code": 410, "message": "too old resource version"}
            if how == "gone" and gone == "status":
                self.answer(410, error)
                return
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            if how == "gone":
                self.chunk({"type": "ERROR", "object": error})
                self.wfile.write(b"0\r\n\r\n")
            elif how in ("break", "end"):
                self.chunk({"type": "ADDED", "object": item("x", "2")})
                self.wfile.write(b"1000\r\n{" if how == "break" else b"0\r\n\r\n")
                self.close_connection = True
            else:
                self.wfile.flush()
                ended.wait(10)

        def chunk(self, event):
            line = json.dumps(event).encode() + b"\n"
            self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")

        def answer(self, code, body):
            data = json.dumps(body).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_):
            pass

    seen = []
    stop = threading.Event()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        cluster = Cluster.connect(server_at(tmp_path, server.server_port), "here")

        def on_event(verb, it):
            seen.append((verb, it.get("metadata", {}).get("name", "")))

        watching = threading.Thread(target=watch, args=(cluster, "Node", None, None, on_event, stop))
        watching.start()
        wait_until(lambda: ("LISTED", "c") in seen)
        stop.set()
        watching.join(5)
        ended.set()
        server.shutdown()

    assert seen[:4] == [("LISTED", "a"), ("LISTED", "b"), ("ADDED", "x"), ("LOST", "")]
    assert seen[4] == ("RESUMED", "")
    assert sorted(seen[5:7]) == [("DELETED", "a"), ("DELETED", "x")]
    assert seen[7:] == [("LISTED", "b"), ("LISTED", "c")]


def test_a_server_that_refuses_connections_is_unreachable(tmp_path):
    """With advice; never an empty list."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    with pytest.raises(Unreachable, match="did not answer") as unreachable:
        Cluster.connect(server_at(tmp_path, port), "here")

    assert unreachable.value.exit_code == 2


def test_a_server_that_hangs_is_unreachable_after_its_timeout_and_not_asked_again(tmp_path, monkeypatch):
    """urllib3 by itself would ask four times."""
    monkeypatch.setattr("harness.kube.READ_TIMEOUT_S", 0.4)
    asked = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            while True:
                try:
                    asked.append(server.accept())
                except OSError:
                    return

        threading.Thread(target=accept, daemon=True).start()
        with pytest.raises(Unreachable):
            Cluster.connect(server_at(tmp_path, server.getsockname()[1]), "here")
        assert len(asked) == 1
        for connection, _ in asked:
            connection.close()


def test_an_answer_that_is_no_json_is_a_refusal_with_its_text(tmp_path):
    """A login page, or a gateway in between."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(502)
            self.send_header("Content-Length", "11")
            self.end_headers()
            self.wfile.write(b"bad gateway")

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(Refused, match="502 bad gateway"):
            Cluster.connect(server_at(tmp_path, server.server_port), "here")
        server.shutdown()


def test_a_gateways_404_does_not_say_that_an_object_is_gone(tmp_path):
    """What cannot be reached would count as undone."""

    class Gateway(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            data = b'{"gitVersion": "v1"}' if self.path == "/version" else b"404 page not found"
            self.send_response(200 if self.path == "/version" else 404)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Gateway) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        cluster = Cluster.connect(server_at(tmp_path, server.server_port), "here")

        with pytest.raises(Refused, match="404 page not found"):
            cluster.get("Node", "gpu-1")
        server.shutdown()


def test_a_context_that_is_not_there_is_named(tmp_path):
    """Before anything is asked of any cluster."""
    with pytest.raises(InvalidRun, match="kubeconfig cannot be used"):
        Cluster.connect(server_at(tmp_path, 1), "elsewhere")


def wait_until(true, within_s=20.0):
    end = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)
