"""The release itself: set, watch and verify, and on anything bad put back what was there."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from clusters.api import Api, ApiRefused
from clusters.platform.release.rollout import Rollout, State
from clusters.platform.release.verify import Prober
from clusters.provider import ClusterError

SHIPPED, ROLLED_BACK, COULD_NOT_ROLL_BACK = 0, 1, 2
POLL_S = 0.2
POLICY = "release-policy"
AFTER_S = 3.0  # looked at for so long once every pod is new

Tell = Callable[..., None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What the team holds a release to: ConfigMap release-policy."""

    verify: bool = True
    latency_s: float = 0.5
    stall_s: float = 15.0

    @classmethod
    def read(cls, api: Api, namespace: str) -> Policy:
        """Without a ConfigMap: the defaults."""
        found = api.find(f"/api/v1/namespaces/{namespace}/configmaps/{POLICY}")
        data = (found or {}).get("data") or {}
        return cls(
            verify=data.get("verify", "true") != "false",
            latency_s=float(data.get("latency_ms", "500")) / 1000,
            stall_s=float(data.get("stall_seconds", "15")),
        )


class Bad(Exception):  # noqa: N818 - a finding
    """The version must not stay; says why."""


class Step:
    """Ships one version. `tell(step, **facts)` hears of everything that is done and found."""

    def __init__(
        self,
        api: Api,
        rollout: Rollout,
        policy: Policy,
        prober: Prober | None,
        *,
        version: str,
        timeout_s: float,
        tell: Tell,
        stop: threading.Event,
    ) -> None:
        self._api = api
        self._rollout = rollout
        self._policy = policy
        self._prober = prober
        self._version = version
        self._timeout_s = timeout_s
        self._tell = tell
        self._stop = stop
        self._told: State | None = None

    def ship(self) -> int:
        """The exit code: SHIPPED, ROLLED_BACK or COULD_NOT_ROLL_BACK."""
        if self._rollout.version == self._version:
            self._tell("nothing-to-do", version=self._version)
            return SHIPPED
        self._rollout.set_version(self._version)
        self._tell("version-set", before=self._rollout.version, version=self._version)
        try:
            self._watch()
        except (Bad, ClusterError) as finding:
            self._tell("bad", reason=str(finding), seen=self._prober.seen() if self._prober else None)
            return self._roll_back()
        finally:
            if self._prober is not None:
                self._prober.stop()
        self._tell("shipped", version=self._version, seen=self._prober.seen() if self._prober else None)
        return SHIPPED

    def _watch(self) -> None:
        """Returns once every pod is new and, where that is asked for, verified. Raises Bad."""
        if self._prober is not None:
            self._prober.start()
        deadline = time.monotonic() + self._timeout_s
        moved = time.monotonic()
        last: State | None = None
        complete_since: float | None = None
        while True:
            if self._stop.wait(POLL_S):
                raise Bad("interrupted")
            if self._prober is not None and (finding := self._prober.finding()):
                raise Bad(finding)
            state = self._rollout.state()
            self._tell_state(state)
            now = time.monotonic()
            if state != last:
                last, moved = state, now
            if state.complete:
                complete_since = complete_since or now
                if self._prober is None or (self._prober.enough() and now - complete_since >= AFTER_S):
                    return
            elif crash := self._rollout.crash(self._version):
                raise Bad(crash)
            elif now - moved > self._policy.stall_s:
                waiting = self._rollout.waiting(self._version)
                raise Bad(f"no progress for {self._policy.stall_s:g} s: {waiting}")
            if now > deadline:
                raise Bad(f"not complete within {self._timeout_s:g} s: {self._rollout.waiting(self._version)}")

    def _roll_back(self) -> int:
        """Puts the previous template back and waits until every pod has it; the API server may come and go."""
        deadline = time.monotonic() + self._timeout_s
        undone = False
        problem = ""
        while time.monotonic() < deadline:
            try:
                if not undone:
                    self._rollout.undo()
                    undone = True
                    self._tell("undone", version=self._rollout.version)
                state = self._rollout.state()
                self._tell_state(state)
                if state.complete:
                    self._tell("rolled-back", version=self._rollout.version)
                    return ROLLED_BACK
            except ApiRefused as error:
                problem = error.message
                if error.code in (401, 403, 404, 422):
                    break
            except ClusterError as error:
                problem = error.message
            time.sleep(POLL_S)
        self._tell("could-not-roll-back", version=self._rollout.version, reason=problem or "pods did not get ready")
        return COULD_NOT_ROLL_BACK

    def _tell_state(self, state: State) -> None:
        if state != self._told:
            self._told = state
            facts: dict[str, Any] = {name: getattr(state, name) for name in State.__slots__}
            self._tell("rollout", **facts)
