"""What one load process is told: the CONFIG.json of `python -m loadtests CONFIG.json`, checked once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Any

HTTP = "kserve-v2-http"
GRPC = "kserve-v2-grpc"


class ConfigError(Exception):
    """The configuration cannot be used; the message names the field."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadConfig:
    """One worker's part of the load. Times in ns, rates of the whole load (all workers together)."""

    host: str
    http_port: int = 8000
    grpc_port: int = 8001
    protocol: str  # kserve-v2-http | kserve-v2-grpc
    user: str = "tritonclient"  # tritonclient | raw
    model: str
    golden: str  # path of the golden answers
    rate_per_s: float
    arrivals: str = "poisson"  # poisson | constant | trace
    curve: Sequence[tuple[int, float]] | None = None  # (ns since zero, rate per second); then rate_per_s is not used
    trace: str | None = None  # path of recorded arrivals; then neither rate_per_s nor curve is used
    trace_speed: float = 1.0  # so many times as fast as recorded
    seed: int
    timeout_ns: int  # of a request, from when it was sent
    retries: int = 0  # of a request, at most
    retry_on: Sequence[str] = ()  # outcomes
    retry_backoff_ns: int = 50_000_000  # before the first retry; doubled for each further one
    retry_connection: str = "same"  # same | new: kind of connection of a retry
    attempt_timeout_ns: int | None = None  # of each attempt, within the timeout of the request
    hedge_after_ns: int | None = None  # a copy goes out when there is no answer by then; None: never
    kept_share: float = 0.5  # of the arrivals; the others open a connection each
    users: int  # of the whole load; they bound its requests in flight
    max_duration_ns: int  # the schedule ends here unless it is told to stop earlier
    out: str  # folder that requests-<worker>.arrows is written into
    worker: int = 0
    workers: int = 1
    source_address: str | None = None  # that outgoing connections are bound to
    web_ui: int | None = None  # port of Locust's web UI on loopback; None: there is none

    @property
    def port(self) -> int:
        """The port that the chosen protocol speaks to."""
        return self.grpc_port if self.protocol == GRPC else self.http_port

    @property
    def insists(self) -> bool:
        """Whether a request may take more than one attempt."""
        return self.retries > 0 or self.hedge_after_ns is not None

    @property
    def target(self) -> str:
        """host:port, for messages."""
        return f"{self.host}:{self.port}"

    @classmethod
    def read(cls, path: Path) -> LoadConfig:
        """The configuration in the file. Raises ConfigError with the field's name."""
        try:
            data = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise ConfigError(f"{path}: {error}") from error
        if not isinstance(data, dict):
            raise ConfigError(f"{path}: not a JSON object")
        return cls.parse(data)

    @classmethod
    def parse(cls, data: dict[str, Any]) -> LoadConfig:
        """The configuration in a JSON object. Raises ConfigError with the field's name."""
        known = {field.name: field for field in fields(cls)}
        if unknown := sorted(set(data) - set(known)):
            raise ConfigError(f"unknown field {unknown[0]}; known are {', '.join(known)}")
        missing = [name for name, field in known.items() if field.default is MISSING and name not in data]
        if missing:
            raise ConfigError(f"{missing[0]} is missing")
        config = cls(**data)
        for name, holds, rule in (
            ("protocol", config.protocol in (HTTP, GRPC), f"{HTTP} or {GRPC}"),
            ("user", config.user in ("tritonclient", "raw"), "tritonclient or raw"),
            (
                "user",
                config.user != "raw" or config.protocol == HTTP,
                f"tritonclient with {GRPC}: raw speaks HTTP only",
            ),
            ("arrivals", config.arrivals in ("poisson", "constant", "trace"), "poisson, constant or trace"),
            ("trace", (config.trace is not None) == (config.arrivals == "trace"), "there for arrivals trace alone"),
            ("trace_speed", config.trace_speed > 0, "more than 0"),
            (
                "curve",
                config.curve is None or _is_curve(config.curve),
                "points of [ns, rate above 0], in order, from 0",
            ),
            ("rate_per_s", config.rate_per_s > 0, "more than 0"),
            ("timeout_ns", config.timeout_ns > 0, "more than 0"),
            ("retries", config.retries >= 0, "at least 0"),
            (
                "retry_on",
                (config.retries == 0 or bool(config.retry_on)) and "wrong_answer" not in config.retry_on,
                "outcomes that a client can see, which a wrong answer is not",
            ),
            ("retry_backoff_ns", config.retry_backoff_ns >= 0, "at least 0"),
            ("retry_connection", config.retry_connection in ("same", "new"), "same or new"),
            (
                "attempt_timeout_ns",
                config.attempt_timeout_ns is None or config.attempt_timeout_ns > 0,
                "more than 0, or null",
            ),
            ("hedge_after_ns", config.hedge_after_ns is None or config.hedge_after_ns > 0, "more than 0, or null"),
            ("kept_share", 0 <= config.kept_share <= 1, "from 0 to 1"),
            ("users", config.users >= config.workers, "at least 1, and at least 1 of each worker"),
            ("max_duration_ns", config.max_duration_ns > 0, "more than 0"),
            ("workers", config.workers >= 1, "at least 1"),
            ("worker", 0 <= config.worker < config.workers, f"from 0 to {config.workers - 1}"),
        ):
            if not holds:
                raise ConfigError(f"{name} is {getattr(config, name)!r}, but must be {rule}")
        return config


def _is_curve(points: Any) -> bool:
    try:
        times, rates = zip(*points, strict=True)
        return times[0] == 0 and all(a <= b for a, b in pairwise(times)) and min(rates) > 0
    except (TypeError, ValueError):
        return False
