"""The method and the rollbacks: ordinary Chaos Toolkit activities, executed by chaoslib, one after the other.

chaoslib loads, substitutes and executes; order, interruption, time limits and what a failure means are ours. Each
activity runs in a thread, so that the run stays able to hear a signal, the abort condition and its own time limit while
the activity blocks.
"""

from __future__ import annotations

import contextlib
import contextvars
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from harness.errors import Interrupted, InvalidRun
from harness.experiment.model import Experiment
from harness.history.records import Action, Note, Record

# An activity of ours sees the interrupt at once and ends; a foreign one is given this long before the undo begins.
INTERRUPT_GRACE_S = 10.0


@contextlib.contextmanager
def chaosk8s_pointed_at(kubeconfig: Path, context: str) -> Iterator[None]:
    """chaostoolkit-kubernetes activities work on the run's cluster while this is open, and on no other.

    chaosk8s looks at the environment at every call, but the kubernetes client has read KUBECONFIG when it was imported:
    without the second assignment an activity would strike whatever cluster the user's own kubeconfig names.
    """
    from kubernetes.config import kube_config

    before = {name: os.environ.get(name) for name in ("KUBECONFIG", "KUBERNETES_CONTEXT")}
    location = kube_config.KUBE_CONFIG_DEFAULT_LOCATION
    os.environ.update({"KUBECONFIG": str(kubeconfig), "KUBERNETES_CONTEXT": context})
    kube_config.KUBE_CONFIG_DEFAULT_LOCATION = str(kubeconfig)
    try:
        yield
    finally:
        kube_config.KUBE_CONFIG_DEFAULT_LOCATION = location
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


class Activities:
    """Executes the activities of one experiment and records how each began and ended."""

    def __init__(self, experiment: Experiment, record: Callable[[Record], None], interrupted: threading.Event) -> None:
        from chaoslib.configuration import load_configuration
        from chaoslib.secret import load_secrets

        self._chaos = experiment.chaos
        self._configuration = load_configuration(experiment.chaos.get("configuration") or {})
        self._secrets = load_secrets(experiment.chaos.get("secrets") or {}, self._configuration)
        self._record = record
        self._interrupted = interrupted
        self._background: list[tuple[threading.Thread, dict[str, Any]]] = []

    def run(self, section: str, limit_s: float, while_waiting: Callable[[], None]) -> bool:
        """Run the `method` or the `rollbacks`, within `limit_s` seconds. True when every activity succeeded.

        Stops at the first failure. `while_waiting` is called ten times a second and may raise: the activity is then
        told to end (the `interrupted` event), and what was raised goes on. Raises InvalidRun when the time is over.
        """
        deadline = time.monotonic() + limit_s
        for activity in self._chaos.get(section) or []:
            if not self._execute(section, activity, deadline, while_waiting):
                return False
        return self._join_background(section, deadline, while_waiting)

    def _execute(
        self, section: str, activity: dict[str, Any], deadline: float, while_waiting: Callable[[], None]
    ) -> bool:
        pauses = activity.get("pauses") or {}
        self._pause(pauses.get("before"), deadline, while_waiting)
        thread, outcome = self._begin(section, {key: value for key, value in activity.items() if key != "pauses"})
        if activity.get("background"):
            self._background.append((thread, outcome))
            return True
        self._wait(thread, activity["name"], deadline, while_waiting)
        if not self._finish(section, outcome):
            return False
        self._pause(pauses.get("after"), deadline, while_waiting)
        return True

    def _join_background(self, section: str, deadline: float, while_waiting: Callable[[], None]) -> bool:
        pending, self._background = self._background, []
        succeeded = True
        for thread, outcome in pending:
            self._wait(thread, outcome["name"], deadline, while_waiting)
            succeeded = self._finish(section, outcome) and succeeded
        return succeeded

    def _begin(self, section: str, activity: dict[str, Any]) -> tuple[threading.Thread, dict[str, Any]]:
        from chaoslib.activity import execute_activity

        outcome: dict[str, Any] = {"name": activity["name"], "provider": activity["provider"]["type"]}

        def target() -> None:
            try:
                outcome["run"] = execute_activity(self._chaos, activity, self._configuration, self._secrets, dry=None)
            except Interrupted as error:
                outcome["interrupted"] = error
            except BaseException as error:  # noqa: BLE001 - whatever a foreign activity raises is its failure, an exit too
                outcome["error"] = f"{type(error).__name__}: {error}"

        self._record(Action(t_ns=time.monotonic_ns(), step="begin", name=activity["name"], section=section))
        context = contextvars.copy_context()
        thread = threading.Thread(target=context.run, args=(target,), name=f"activity-{activity['name']}", daemon=True)
        thread.start()
        return thread, outcome

    def _finish(self, section: str, outcome: dict[str, Any]) -> bool:
        if "interrupted" in outcome:
            raise outcome["interrupted"]
        run = outcome.get("run") or {}
        error = outcome.get("error")
        if run.get("status") == "failed":
            error = "".join(run.get("exception") or ["failed"]).strip()
        elif error is None:
            error = _unsuccessful(outcome["provider"], run.get("output"))
        step = "failed" if error else "end"
        detail = error or _short(run.get("output"))
        self._record(Action(t_ns=time.monotonic_ns(), step=step, name=outcome["name"], section=section, detail=detail))
        return error is None

    def _wait(self, thread: threading.Thread, name: str, deadline: float, while_waiting: Callable[[], None]) -> None:
        """The activity has ended after this; when something else ends the wait, it is told and given its grace."""
        try:
            while thread.is_alive():
                thread.join(0.1)
                if thread.is_alive():
                    while_waiting()
                    if time.monotonic() > deadline:
                        raise InvalidRun(
                            f'the activity "{name}" did not end within its phase',
                            hint="lengthen bulletproof.phases.fault, or give the activity a shorter deadline",
                        )
        except BaseException as error:
            # The undo must never race with an act that is still going on.
            self._interrupted.set()
            thread.join(INTERRUPT_GRACE_S)
            if thread.is_alive():
                text = f'the activity "{name}" was still running {INTERRUPT_GRACE_S:.0f} s after it was told to end'
                self._record(Note(t_ns=time.monotonic_ns(), text=text, level="warning"))
            else:
                text = f'the activity "{name}" was ended early: {error}'
                self._record(Note(t_ns=time.monotonic_ns(), text=text))
            raise

    def _pause(self, seconds: float | None, deadline: float, while_waiting: Callable[[], None]) -> None:
        end = min(time.monotonic() + float(seconds or 0), deadline)
        while (left := end - time.monotonic()) > 0:
            if self._interrupted.wait(min(0.1, left)):
                raise Interrupted("during a pause")
            while_waiting()


def _unsuccessful(provider: str, output: Any) -> str | None:
    """What a program's exit code or an HTTP status says of its failure; chaoslib only warns of it."""
    if provider == "process" and output["status"] != 0:
        said = output["stderr"].strip() or output["stdout"].strip()
        return _short(f"exit code {output['status']}: {said}")
    if provider == "http" and output["status"] >= 400:
        return _short(f"HTTP status {output['status']}: {output['body']}")
    return None


def _short(output: object) -> str:
    text = "" if output is None else str(output)
    return text if len(text) <= 300 else text[:297] + "..."
