"""A cluster that is there: found by its context, judged by what it lets us do, never started and never ended by us."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clusters.api import Api
from clusters.provider import Access, ClusterError, NodeCommands, Progress


class ContextProvider:
    """`context:NAME` of the kubeconfig files that kubectl would read."""

    ephemeral = False
    tracks_connections = True

    def __init__(self, context: str, config: Path | None = None) -> None:
        self.name = f"context:{context}"
        self._context = context
        self._commands = _node_commands(context, config)

    def up(self) -> Access:
        """The cluster answers; raises ClusterError when it does not, or the context is not there."""
        from clusters.context.offers import offers

        kubeconfig = self.kubeconfig()
        api = Api.connect(kubeconfig, self._context)
        api.request("GET", "/version")
        return Access(
            name=self.name,
            provider="context",
            kubeconfig=kubeconfig,
            context=self._context,
            offers=offers(api, self._commands),
            ephemeral=False,
            node_commands=self._commands,
        )

    def deploy(self, access: Access, platform: str, progress: Progress, image: str | None = None) -> None:
        """The reference platform serves. Its image must be on the nodes already or be pullable."""
        from clusters import apply, reference

        api = Api.connect(access.kubeconfig, access.context)
        objects = reference.objects(platform, image)
        for obj in objects:
            if obj["kind"] == "Service":
                # Load comes from outside: where cluster IPs are not routed to here, a node port is the way.
                obj["spec"]["type"] = "NodePort"
        apply.deploy(api, objects, progress)

    def load_endpoint(self, access: Access, namespace: str, service: str, port: str | int) -> tuple[str, int]:
        """Load balancer, cluster IP or node port, whichever takes a connection from here first."""
        from clusters.context.reach import endpoint

        return endpoint(Api.connect(access.kubeconfig, access.context), namespace, service, port)

    def source_address(self, access: Access) -> str | None:
        """None: which addresses of this machine are routed to the cluster is not ours to choose."""
        return None

    def down(self, access: Access | None = None) -> bool:
        """The cluster was there before, and stays."""
        return False

    def status(self) -> dict[str, Any]:
        """Whether it answers, with its version and what it offers."""
        from clusters.context.offers import offers

        about: dict[str, Any] = {"name": self.name, "provider": "context", "running": False}
        try:
            api = Api.connect(self.kubeconfig(), self._context)
            about["version"] = api.request("GET", "/version")["gitVersion"]
            about["running"] = True
            about["offers"] = sorted(offers(api, self._commands))
        except ClusterError as error:
            about["reason"] = error.message
        return about

    def lasting(self) -> ContextProvider:
        """Itself: the cluster stays anyway."""
        return self

    def kubeconfig(self) -> Path:
        """The file, of those that kubectl would read, which has the context. Raises ClusterError."""
        import yaml
        from kubernetes.config import kube_config

        files = [Path(name).expanduser() for name in kube_config.KUBE_CONFIG_DEFAULT_LOCATION.split(":") if name]
        known: list[str] = []
        for file in files:
            if file.is_file():
                try:
                    contexts = (yaml.safe_load(file.read_text(encoding="utf-8")) or {}).get("contexts") or []
                    names = [entry["name"] for entry in contexts]
                except (yaml.YAMLError, UnicodeDecodeError, AttributeError, KeyError, TypeError) as error:
                    raise ClusterError(f"{file} is no kubeconfig: {error}") from error
                if self._context in names:
                    return file.absolute()
                known += names
        where = ", ".join(map(str, files))
        raise ClusterError(
            f"There is no context {self._context} in {where}.",
            hint=f"There are {', '.join(known)}." if known else "Set KUBECONFIG to the kubeconfig's path.",
        )


def _node_commands(context: str, file: Path | None) -> NodeCommands | None:
    from clusters.config import ConfigError, find

    config = find(context, file)
    if config is not None and config.clocks:
        raise ConfigError(f"{config.file}: clocks: those of a cluster that is there are its own.")
    return config.node_commands if config else None
