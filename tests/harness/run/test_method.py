"""Activities run through chaoslib in order; failure, interruption and time limits are ours."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from harness.errors import Interrupted, InvalidRun
from harness.experiment.model import Experiment
from harness.history.records import Action
from harness.run.method import Activities, chaosk8s_pointed_at
from tests.harness.run import deeds


def activity(func: str, **more) -> dict:
    arguments = more.pop("arguments", {})
    provider = {"type": "python", "module": "tests.harness.run.deeds", "func": func, "arguments": arguments}
    return {"type": "action", "name": func, "provider": provider, **more}


@pytest.fixture
def activities():
    """A factory: the activities of a method, what they recorded, and the interrupt flag."""
    deeds.DONE.clear()
    deeds.RELEASE.clear()

    def make(*method: dict, configuration: dict | None = None) -> tuple[Activities, list, threading.Event]:
        chaos = {"title": "t", "description": "d", "method": list(method), "configuration": configuration or {}}
        experiment = Experiment.model_construct(chaos=chaos)
        records: list = []
        interrupted = threading.Event()
        return Activities(experiment, records.append, interrupted), records, interrupted

    yield make
    deeds.RELEASE.set()


def steps(records: list) -> list[tuple[str, str]]:
    return [(record.name, record.step) for record in records if isinstance(record, Action)]


def test_activities_run_in_order_with_their_configuration(activities):
    """chaoslib substitutes; each begin and end is recorded."""
    run, records, _ = activities(
        activity("note", arguments={"text": "${which}"}),
        activity("note", arguments={"text": "second"}),
        configuration={"which": "first"},
    )

    assert run.run("method", 10, lambda: None)
    assert deeds.DONE == ["first", "second"]
    assert steps(records) == [("note", "begin"), ("note", "end")] * 2


@pytest.mark.parametrize(("func", "said"), [("fail", "the node did not answer"), ("leave", "SystemExit: 1")])
def test_the_method_stops_at_the_first_failure(activities, func, said):
    """chaoslib would go on and end "completed"; here what follows a failure is not begun."""
    run, records, _ = activities(activity(func), activity("note", arguments={"text": "after"}))

    assert not run.run("method", 10, lambda: None)
    assert deeds.DONE == []
    assert steps(records) == [(func, "begin"), (func, "failed")]
    assert said in records[-1].detail


@pytest.mark.parametrize("background", [False, True])
def test_a_program_that_ends_with_an_error_has_failed(activities, background):
    """chaoslib only warns of the exit code, and would go on."""
    provider = {"type": "process", "path": "sh", "arguments": ["-c", "echo no such node >&2; exit 3"]}
    program = {"type": "action", "name": "cordon", "provider": provider, "background": background}
    run, records, _ = activities(program)

    assert not run.run("method", 10, lambda: None)
    assert steps(records) == [("cordon", "begin"), ("cordon", "failed")]
    assert records[-1].detail == "exit code 3: no such node"


@pytest.mark.parametrize(("status", "succeeded"), [(204, True), (503, False)])
def test_a_call_that_is_answered_with_an_error_has_failed(activities, status, succeeded):
    """The same of HTTP."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()

    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        provider = {"type": "http", "url": f"http://127.0.0.1:{server.server_port}"}
        run, _, _ = activities({"type": "action", "name": "call", "provider": provider})

        assert run.run("method", 10, lambda: None) is succeeded


def test_a_background_activity_is_waited_for(activities):
    """The method has not ended before it has."""
    run, _, _ = activities(
        activity("block", background=True),
        activity("note", arguments={"text": "meanwhile"}),
        activity("note", arguments={"text": "x"}),
    )

    def release() -> None:
        if "x" in deeds.DONE:
            deeds.RELEASE.set()

    assert run.run("method", 10, release)
    assert deeds.DONE == ["meanwhile", "x", "released"]


def test_what_ends_the_wait_is_told_to_the_activity_first(activities):
    """A signal while an activity blocks: the flag is set, the activity ends, and only then does the interrupt go on."""
    run, _, interrupted = activities(activity("block"))

    def stop() -> None:
        deeds.RELEASE.set()
        raise Interrupted("SIGINT")

    with pytest.raises(Interrupted):
        run.run("method", 10, stop)

    assert interrupted.is_set()
    assert deeds.DONE == ["released"]


def test_an_activity_that_does_not_end_makes_the_run_invalid(activities, monkeypatch):
    """The fault phase has a limit, and a foreign activity gets a bounded grace."""
    monkeypatch.setattr("harness.run.method.INTERRUPT_GRACE_S", 0.2)
    run, _, interrupted = activities(activity("block"))

    with pytest.raises(InvalidRun, match="did not end"):
        run.run("method", 0.3, lambda: None)

    assert interrupted.is_set()


def test_foreign_activities_work_on_the_cluster_of_the_run(tmp_path: Path, monkeypatch):
    """The kubernetes client read KUBECONFIG at its import; without us chaosk8s would strike that cluster."""
    from kubernetes.config import kube_config

    monkeypatch.setenv("KUBECONFIG", "/users/own/config")
    before = kube_config.KUBE_CONFIG_DEFAULT_LOCATION
    import os

    with chaosk8s_pointed_at(tmp_path / "kubeconfig", "sandbox"):
        inside = (os.environ["KUBECONFIG"], os.environ["KUBERNETES_CONTEXT"], kube_config.KUBE_CONFIG_DEFAULT_LOCATION)

    assert inside == (str(tmp_path / "kubeconfig"), "sandbox", str(tmp_path / "kubeconfig"))
    assert (os.environ["KUBECONFIG"], kube_config.KUBE_CONFIG_DEFAULT_LOCATION) == ("/users/own/config", before)
    assert "KUBERNETES_CONTEXT" not in os.environ
