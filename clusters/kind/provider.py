"""A kind cluster: made with three workers when there is none of its name, used as it is when there is.

What we made we take down, by the id of its container and not by its name; anybody else's stays.
"""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from clusters import programs
from clusters.api import Api, ApiUnreachable
from clusters.kind import gpus, mark, nodes, reach
from clusters.provider import Access, ClusterError, Progress
from clusters.reference import qualified

DEFAULT_NAME = "bulletproof"
CONFIG = Path(__file__).with_name("cluster.yaml")
CREATE_S = 600.0
CONTROL_PLANE_S = 180
LOAD_S = 300.0


class KindProvider:
    """`kind` and `kind:NAME`."""

    ephemeral = False
    tracks_connections = True

    def __init__(self, name: str | None = None, *, gpus_per_node: int = gpus.PER_NODE) -> None:
        self.name = f"kind:{name}" if name else "kind"
        self.cluster = name or DEFAULT_NAME
        self._gpus = gpus_per_node
        self._keeper: gpus.Keeper | None = None

    @property
    def _folder(self) -> Path:
        return mark.state_folder() / self.cluster

    @property
    def _kubeconfig(self) -> Path:
        return self._folder / "kubeconfig"

    # -- the cluster --------------------------------------------------------------------------------------------------

    def up(self) -> Access:
        """The cluster answers and its nodes are Ready."""
        programs.check_engine(programs.engine())
        with self._alone():
            if self.cluster in self._clusters():
                self._find()
            else:
                self._make()
        api = self._api()
        try:
            nodes.wait_until_ready(api)
        except ApiUnreachable as error:
            raise ClusterError(
                f"The kind cluster {self.cluster} is there and does not answer. {error.message}",
                hint=f"After a restart of the machine its containers may be stopped: {programs.engine()} start "
                f"$(kind get nodes --name {self.cluster}). Or make it anew: bulletproof cluster down {self.name}",
            ) from error
        ours = self._ours()
        if ours:
            self._offer_gpus(api)
        return self._access(api, ours)

    def down(self, access: Access | None = None) -> bool:
        """The cluster is gone if we made it; of anybody else's, the GPUs are gone that we gave its nodes."""
        if self._keeper is not None:
            self._keeper.stop()
        with self._alone():
            known = mark.read(self._folder)
            there = self.cluster in self._clusters()
            ours = there and self._ours()
            if ours:
                nodes.thaw(self.cluster)
                self._delete()
            elif there and known.gpus and known.container == mark.container_id(self.cluster):
                api = self._api()
                names = {node["metadata"]["name"] for node in gpus.workers(api)}
                gpus.offer(api, names.intersection(known.gpus), 0)
        shutil.rmtree(self._folder, ignore_errors=True)
        return ours or not there

    def status(self) -> dict[str, Any]:
        """Whether it is there and answers, whose it is, and what it offers."""
        about: dict[str, Any] = {"name": self.name, "provider": "kind", "running": False, "exists": False}
        try:
            about["engine"] = programs.engine()
            about["exists"] = self.cluster in self._clusters()
            if not about["exists"]:
                return about
            about["ours"] = self._ours()
            if not self._kubeconfig.exists():
                self._write_kubeconfig()
            api = self._api()
            about["version"] = api.request("GET", "/version")["gitVersion"]
            about["running"] = True
            about |= {"nodes": len(api.items("/api/v1/nodes")), "kubeconfig": str(self._kubeconfig)}
            about["offers"] = sorted(self._access(api, about["ours"]).offers)
        except ClusterError as error:
            about["reason"] = error.message
        return about

    def lasting(self) -> KindProvider:
        """Itself: the cluster stays until it is taken down."""
        return self

    # -- the platform -------------------------------------------------------------------------------------------------

    def deploy(self, access: Access, platform: str, progress: Progress, image: str | None = None) -> None:
        """The reference platform serves. Its image comes from this machine's engine and is loaded into the nodes."""
        from clusters import apply, reference

        api = self._api()
        objects = reference.objects(platform, image)
        reach.give_node_ports(objects)
        for name in reference.images(objects):
            progress(f"loading image {name} into the nodes")
            self._load_image(name)
        self._offer_gpus(api)
        apply.deploy(api, objects, progress, endpoint=self._endpoint)

    def load_endpoint(self, access: Access, namespace: str, service: str, port: str | int) -> tuple[str, int]:
        """A port of the control plane's node."""
        return self._endpoint(self._api(), namespace, service, port)

    def source_address(self, access: Access) -> str | None:
        """None: this machine has one address on the containers' network."""
        return None

    # -- how ----------------------------------------------------------------------------------------------------------

    def _find(self) -> None:
        """The kubeconfig of a cluster that is there, and whose it is."""
        there = mark.container_id(self.cluster)
        if not there or mark.read(self._folder).container != there:
            mark.write(self._folder, mark.Mark(container=there))
        self._write_kubeconfig()

    def _make(self) -> None:
        """A new cluster, marked as ours as soon as its first container is there. What did not get ready is removed."""
        mark.write(self._folder, mark.Mark())

        def remember() -> None:
            if not mark.read(self._folder).made and (made := mark.container_id(self.cluster)):
                mark.write(self._folder, mark.Mark(container=made, made=True))

        asked = ("create", "cluster", "--name", self.cluster, "--config", str(CONFIG))
        wait = ("--wait", f"{CONTROL_PLANE_S}s")
        try:
            programs.watched("kind", *asked, *wait, *self._own_kubeconfig(), timeout_s=CREATE_S, while_it_runs=remember)
        except programs.ToolFailed as error:
            if "already exist for a cluster" in error.output:  # somebody made one since we looked: it is theirs
                mark.write(self._folder, mark.Mark())
            else:
                remember()
                self._remove_half_made()
            raise
        except BaseException:
            self._remove_half_made()
            raise
        remember()

    def _remove_half_made(self) -> None:
        if mark.read(self._folder).made:
            with contextlib.suppress(ClusterError):  # the mark stays, and `cluster down` can try again
                self._delete()
                mark.write(self._folder, mark.Mark())

    def _delete(self) -> None:
        programs.run("kind", "delete", "cluster", "--name", self.cluster, *self._own_kubeconfig())

    def _ours(self) -> bool:
        known = mark.read(self._folder)
        return known.made and known.container == mark.container_id(self.cluster)

    def _clusters(self) -> list[str]:
        return programs.run("kind", "get", "clusters").split()

    def _own_kubeconfig(self) -> tuple[str, str]:
        """The user's own kubeconfig is never written to."""
        return "--kubeconfig", str(self._kubeconfig)

    def _write_kubeconfig(self) -> None:
        text = programs.run("kind", "get", "kubeconfig", "--name", self.cluster)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._kubeconfig.touch(mode=0o600)
        self._kubeconfig.write_text(text, encoding="utf-8")

    def _api(self) -> Api:
        return Api.connect(self._kubeconfig, f"kind-{self.cluster}")

    def _access(self, api: Api, ours: bool) -> Access:
        from clusters.context.offers import offers

        commands = nodes.commands(self.cluster)
        return Access(
            name=self.name,
            provider="kind",
            kubeconfig=self._kubeconfig,
            context=f"kind-{self.cluster}",
            offers=offers(api, commands) | {"gpu"},
            ephemeral=False,
            node_commands=commands,
            default_platform="healthy" if ours else None,  # in somebody's cluster something else may be called that
            disposable=ours,
        )

    def _offer_gpus(self, api: Api) -> None:
        """The workers have GPUs: their own, or ours, which are kept while this process lives."""
        workers = gpus.workers(api)
        known = mark.read(self._folder)
        if not known.gpus and any(gpus.has_gpus(node) for node in workers):
            return  # a device plugin is at work
        names = [node["metadata"]["name"] for node in workers]
        mark.write(self._folder, replace(known, gpus=tuple(names)))
        gpus.offer(api, [node["metadata"]["name"] for node in workers if not gpus.has_gpus(node)], self._gpus)
        if self._keeper is None:
            self._keeper = gpus.Keeper(api, names, count=self._gpus)
            self._keeper.start()

    def _load_image(self, image: str) -> None:
        """The image of this machine's engine is on every node. Raises ClusterError when it is not on this machine."""
        engine, image = programs.engine(), qualified(image)
        try:
            programs.run(engine, "image", "inspect", "--format", "{{.Id}}", image)
        except programs.ToolFailed as error:
            raise ClusterError(
                f"{engine} has no image {image}.",
                hint="Build it: bulletproof cluster image build. A copy under another name: --image NAME.",
            ) from error
        if engine == "docker":
            programs.run("kind", "load", "docker-image", image, "--name", self.cluster, timeout_s=LOAD_S)
            return
        # kind load docker-image asks docker whatever the engine is (kind 0.33).
        with tempfile.TemporaryDirectory() as folder:
            archive = str(Path(folder) / "image.tar")
            programs.run(engine, "save", "--output", archive, image, timeout_s=LOAD_S)
            programs.run("kind", "load", "image-archive", archive, "--name", self.cluster, timeout_s=LOAD_S)

    def _endpoint(self, api: Api, namespace: str, service: str, port: str | int) -> tuple[str, int]:
        return reach.endpoint(self.cluster, api, namespace, service, port)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """No other process of ours makes or removes a kind cluster meanwhile."""
        mark.state_folder().mkdir(parents=True, exist_ok=True)
        with (mark.state_folder() / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
