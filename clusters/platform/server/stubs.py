"""The KServe v2 gRPC messages and stubs, as tritonclient ships them, without importing tritonclient's client.

`import tritonclient.grpc` runs the client's __init__ (120 ms of CPU and 3 MB in every pod of a sandbox that has two
cores to start three of them); the generated modules in the same folder need none of it.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import tritonclient


def _load() -> tuple[Any, Any]:
    if "tritonclient.grpc" in sys.modules:
        from tritonclient.grpc import service_pb2, service_pb2_grpc

        return service_pb2, service_pb2_grpc
    package = ModuleType("tritonclient.grpc")
    package.__path__ = [f"{folder}/grpc" for folder in tritonclient.__path__]
    sys.modules["tritonclient.grpc"] = package
    try:
        from tritonclient.grpc import service_pb2, service_pb2_grpc
    finally:
        # Whoever imports the client itself later (a test in this process) gets the real package.
        del sys.modules["tritonclient.grpc"]
    return service_pb2, service_pb2_grpc


messages, services = _load()
