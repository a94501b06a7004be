"""What the server is told by its environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MODELS = Path(__file__).parents[1] / "models" / "detector"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One server. The name of the variable stands beside each field."""

    host: str = "0.0.0.0"  # POD_IP
    http_port: int = 8000  # HTTP_PORT
    grpc_port: int = 8001  # GRPC_PORT
    pod: str = "local"  # POD_NAME
    version: str = "1"  # MODEL_VERSION
    models: Path = MODELS  # MODEL_DIR: config.json, and VERSION/model.onnx with VERSION/config.json
    load_s: float | None = None  # MODEL_LOAD_SECONDS: how long loading takes; default: as the version's config says
    compute_s: float | None = None  # COMPUTE_SECONDS: simulated accelerator time of an answer; default: as above
    drain: bool = True  # DRAIN=off: SIGTERM ends the process at once, as without a handler
    drain_s: float = 2.0  # DRAIN_SECONDS: kept connections are served this long after SIGTERM, each told to close
    peers: str | None = None  # GROUP_PEERS, HOST:PORT: ask there for a group to join before loading (group.py)
    join_window_s: float = 6.0  # GROUP_JOIN_SECONDS: how long a group admits members after it was formed

    @classmethod
    def read(cls, env: Mapping[str, str]) -> Settings:
        """Raises ValueError when a number is none."""

        def number(name: str, default: float | None = None) -> Any:
            return float(env[name]) if env.get(name) else default

        return cls(
            host=env.get("POD_IP") or "0.0.0.0",
            http_port=int(env.get("HTTP_PORT") or 8000),
            grpc_port=int(env.get("GRPC_PORT") or 8001),
            pod=env.get("POD_NAME") or env.get("HOSTNAME") or "local",
            version=env.get("MODEL_VERSION") or "1",
            models=Path(env.get("MODEL_DIR") or MODELS),
            load_s=number("MODEL_LOAD_SECONDS"),
            compute_s=number("COMPUTE_SECONDS"),
            drain=env.get("DRAIN", "on") != "off",
            drain_s=number("DRAIN_SECONDS", 2.0),
            peers=env.get("GROUP_PEERS") or None,
            join_window_s=number("GROUP_JOIN_SECONDS", 6.0),
        )
