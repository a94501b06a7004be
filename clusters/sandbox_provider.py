"""`sandbox` and `sandbox:NAME`: the embedded cluster, started when it is needed."""

from __future__ import annotations

import os
import random
import secrets
import sys
import tempfile
from pathlib import Path
from typing import Any

from clusters.api import Api
from clusters.provider import Access, ClusterError, NodeCommands, Progress

OFFERS = frozenset({"pods", "services", "gpu", "nodes", "eviction", "deployments", "pod-proxy", "node-stop"})


class SandboxProvider:
    """Without a name: fresh for this process, ends with `down`. With one: found or started, and stays."""

    tracks_connections = False

    def __init__(self, name: str | None = None, *, nodes: int = 3, gpus: int = 2, config: Path | None = None) -> None:
        self.name = f"sandbox:{name}" if name else "sandbox"
        self.ephemeral = name is None
        self._name = name
        self._nodes = nodes
        self._gpus = gpus
        self._config = config
        self._clocks = _clocks(config)
        self._own: Path | None = None  # folder of the one without a name

    def up(self) -> Access:
        """The sandbox answers and its nodes are Ready."""
        from clusters.sandbox import client

        size: dict[str, Any] = {"nodes": self._nodes, "gpus": self._gpus, "arguments": self._clocks}
        try:
            if self._name:
                running = client.start(self._folder(self._name), name=self._name, **size)
            else:
                if self._own is None:
                    self._own = Path(tempfile.mkdtemp(prefix="bulletproof-sandbox-"))
                # It outlives us for a while when we are killed, so that `bulletproof recover` finds it.
                running = client.start(self._own, owner_pid=os.getpid(), **size)
        except client.SandboxError as error:
            raise ClusterError(str(error)) from error
        return Access(
            name=self.name,
            provider="sandbox",
            kubeconfig=running.kubeconfig,
            context=running.context,
            offers=OFFERS,
            ephemeral=self.ephemeral,
            default_platform="healthy",
            disposable=True,
            node_commands=node_commands(running.dir),
        )

    def deploy(self, access: Access, platform: str, progress: Progress, image: str | None = None) -> None:
        """The reference platform serves."""
        from clusters import apply, reference

        if image is not None:
            raise ClusterError(
                f"{self.name} runs programs of this machine in the place of images, and has none named {image}.",
                hint="Leave --image out: it names a copy of the platform's image for a real cluster.",
            )
        apply.deploy(Api.connect(access.kubeconfig, access.context), reference.objects(platform, None), progress)

    def load_endpoint(self, access: Access, namespace: str, service: str, port: str | int) -> tuple[str, int]:
        """The Service's cluster IP: it is an address of this machine."""
        from clusters.context.reach import port_of

        api = Api.connect(access.kubeconfig, access.context)
        found = api.find(f"/api/v1/namespaces/{namespace}/services/{service}")
        if found is None:
            raise ClusterError(f"There is no Service {service} in namespace {namespace}.")
        return found["spec"]["clusterIP"], port_of(found, port)["port"]

    def source_address(self, access: Access) -> str | None:
        """An address of the sandbox's own network that is no pod's, node's or Service's; another one each time."""
        from clusters.sandbox import client

        running = client.info(access.kubeconfig.parent)
        if running is None:
            raise ClusterError(f"{self.name} does not run any more.")
        return f"{running.network}.{random.randint(224, 254)}.{random.randint(1, 254)}"

    def down(self, access: Access | None = None) -> bool:
        """The sandbox and all its processes have ended, and its folder is gone."""
        from clusters.sandbox import client

        folder = access.kubeconfig.parent if access else self._folder(self._name) if self._name else self._own
        try:
            if folder is not None:
                client.stop(folder, remove=True)
        except client.SandboxError as error:
            raise ClusterError(str(error)) from error
        self._own = None
        return True

    def status(self) -> dict[str, Any]:
        """Whether it runs, and where."""
        from clusters.sandbox import client

        running = client.find(self._name) if self._name else client.info(self._own) if self._own else None
        about: dict[str, Any] = {"name": self.name, "provider": "sandbox", "running": running is not None}
        if running is not None:
            about |= {"pid": running.pid, "kubeconfig": str(running.kubeconfig), "nodes": running.nodes}
            about |= {"address": f"https://{running.address}:6443", "offers": sorted(OFFERS)}
        return about

    def lasting(self) -> SandboxProvider:
        """Itself when it has a name; else one of a name that nobody else has."""
        if self._name:
            return self
        name = f"shared-{os.getpid()}-{secrets.token_hex(2)}"
        return SandboxProvider(name, nodes=self._nodes, gpus=self._gpus, config=self._config)

    def _folder(self, name: str) -> Path:
        from clusters.sandbox import client

        return client.state_folder() / name


def node_commands(folder: Path) -> NodeCommands:
    """How the machines of the sandbox in `folder` are switched off and on."""
    to, whose = [sys.executable, "-m", "clusters.sandbox.node"], ["{node}", "--dir", str(folder)]
    return NodeCommands(stop=(*to, "stop", *whose), start=(*to, "start", *whose), within_s=30.0, origin="the sandbox")


def _clocks(file: Path | None) -> tuple[str, ...]:
    """Arguments of `python -m clusters.sandbox`; for one that runs already they come too late."""
    from clusters.config import ConfigError, read

    if file is None:
        return ()
    config = read(file)
    if config.node_commands is not None:
        raise ConfigError(f"{config.file}: a sandbox has its own node_stop and node_start.")
    return tuple(word for name, value in config.clocks.items() for word in ("--clock", f"{name}_s={value:g}"))
