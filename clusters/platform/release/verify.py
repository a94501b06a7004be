"""Golden requests against the Service while a version rolls out: is what the new version answers right and in time?

Each request opens its own connection, so that it meets the pods as new users do.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from dataclasses import dataclass, field
from typing import Any

PROBES_PER_S = 20.0
THREADS = 4
TIMEOUT_S = 2.0
ENOUGH_ANSWERS = 20  # of the new version, before it may count as verified
SLOW_LEAST, SLOW_SHARE = 3, 0.1  # so many, and more than this share: not the noise of a busy machine
ERRORS_LEAST, ERRORS_SHARE = 5, 0.05


@dataclass(slots=True)
class Seen:
    """What the probes saw so far."""

    answers: dict[str, int] = field(default_factory=dict)  # by version
    wrong: int = 0  # of the new version
    slow: int = 0  # of the new version
    errors: int = 0  # by nobody in particular: no connection, no answer, an HTTP error
    asked: int = 0
    last_error: str = ""


class Prober:
    """Asks from `start` to `stop`, in threads of its own."""

    def __init__(self, endpoint: tuple[str, int], golden: dict[str, Any], version: str, latency_s: float) -> None:
        self._endpoint = endpoint
        self._golden = golden
        self._version = version
        self._latency_s = latency_s
        self._seen = Seen()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(n,), daemon=True) for n in range(THREADS)]

    def start(self) -> None:
        """The probes are under way."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """No probe is under way any more."""
        self._stop.set()
        for thread in self._threads:
            thread.join(2 * TIMEOUT_S)

    def seen(self) -> dict[str, Any]:
        """The figures, as data."""
        with self._lock:
            return {name: getattr(self._seen, name) for name in Seen.__slots__} | {"answers": dict(self._seen.answers)}

    def finding(self) -> str | None:
        """Why the version is bad, as far as seen; None while nothing speaks against it."""
        with self._lock:
            seen = self._seen
            fresh = seen.answers.get(self._version, 0)
            if seen.wrong:
                return f"{seen.wrong} of {fresh} answers of version {self._version} are wrong"
            if seen.slow >= SLOW_LEAST and seen.slow > SLOW_SHARE * fresh:
                limit_ms = self._latency_s * 1000
                return f"{seen.slow} of {fresh} answers of version {self._version} took more than {limit_ms:.0f} ms"
            if seen.errors >= ERRORS_LEAST and seen.errors > ERRORS_SHARE * seen.asked:
                return f"{seen.errors} of {seen.asked} requests failed, the last one by {seen.last_error}"
        return None

    def enough(self) -> bool:
        """The new version answered often enough to be called verified."""
        with self._lock:
            return self._seen.answers.get(self._version, 0) >= ENOUGH_ANSWERS

    def _run(self, number: int) -> None:
        cases = self._golden["cases"]
        turn = number
        pause_s = THREADS / PROBES_PER_S
        self._stop.wait(number / PROBES_PER_S)
        while not self._stop.is_set():
            begin = time.monotonic()
            self._probe(cases[turn % len(cases)])
            turn += THREADS
            self._stop.wait(max(0.0, pause_s - (time.monotonic() - begin)))

    def _probe(self, case: dict[str, Any]) -> None:
        begin = time.monotonic()
        error = ""
        answer: dict[str, Any] = {}
        try:
            answer = self._ask(case)
        except (OSError, http.client.HTTPException, ValueError) as failure:
            error = f"{type(failure).__name__}: {failure}"
        took_s = time.monotonic() - begin
        with self._lock:
            seen = self._seen
            seen.asked += 1
            if error:
                seen.errors += 1
                seen.last_error = error
                return
            version = str(answer.get("model_version"))
            seen.answers[version] = seen.answers.get(version, 0) + 1
            if version == self._version:
                seen.wrong += not right(answer, case, self._golden["tolerance"])
                seen.slow += took_s > self._latency_s

    def _ask(self, case: dict[str, Any]) -> dict[str, Any]:
        connection = http.client.HTTPConnection(*self._endpoint, timeout=TIMEOUT_S)
        try:
            path = f"/v2/models/{self._golden['model']}/infer"
            headers = {"Content-Type": "application/json", "Connection": "close"}
            connection.request("POST", path, json.dumps({"inputs": case["inputs"]}), headers)
            response = connection.getresponse()
            body = response.read()
            if response.status != 200:
                raise ValueError(f"HTTP {response.status} {body[:100]!r}")
            answer: dict[str, Any] = json.loads(body)
            return answer
        finally:
            connection.close()


def right(answer: dict[str, Any], case: dict[str, Any], tolerance: float) -> bool:
    """The answer has the golden outputs, each number within `tolerance`."""
    outputs = {output["name"]: output for output in answer.get("outputs", ())}
    for golden in case["outputs"]:
        output = outputs.get(golden["name"], {})
        data = output.get("data") or []
        if output.get("shape") != golden["shape"] or len(data) != len(golden["data"]):
            return False
        if not all(abs(have - want) <= tolerance for have, want in zip(data, golden["data"], strict=True)):
            return False
    return True
