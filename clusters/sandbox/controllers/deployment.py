"""Moves a Deployment from one pod template to the next, as its strategy allows, and remembers the templates."""

from __future__ import annotations

from clusters.sandbox.controllers import rollout
from clusters.sandbox.controllers.deployment_status import progress_wait_s, status_of
from clusters.sandbox.controllers.loop import Informers, Reconciler
from clusters.sandbox.controllers.pods import (
    claim,
    condition,
    controller_key,
    is_active,
    is_terminating,
    newest_first,
    owner_reference,
    plain,
    reference_to,
    set_condition,
    template_hash,
)
from clusters.sandbox.controllers.revisions import (
    DESIRED,
    MAXIMUM,
    REVISION,
    bare,
    notes_of,
    renew,
    replica_set_for,
    revision_of,
    sizes,
)
from clusters.sandbox.errors import AlreadyExists, ApiError
from clusters.sandbox.objects import Object
from clusters.sandbox.selectors import label_matcher
from clusters.sandbox.store import Change, Store

_COMPONENT = "deployment-controller"


class Deployments:
    """The Deployment controller."""

    def __init__(self, informers: Informers) -> None:
        self._store: Store = informers.store
        self._queue = Reconciler("deployment", self._sync)
        informers.on("deployments", self._deployment_changed)
        informers.on("replicasets", self._replica_set_changed)
        informers.on("pods", self._pod_changed)

    def close(self) -> None:
        """Stops working."""
        self._queue.close()

    def _deployment_changed(self, change: Change) -> None:
        self._queue.add((change.obj["metadata"]["namespace"], change.obj["metadata"]["name"]))

    def _replica_set_changed(self, change: Change) -> None:
        key = controller_key(change.obj, "Deployment")
        if key is not None:
            self._queue.add(key)
            return
        if change.verb == "DELETED" or owner_reference(change.obj) is not None:
            return
        for deployment in self._store.list("deployments", change.obj["metadata"]["namespace"]):
            matches = label_matcher(deployment["spec"]["selector"])
            if matches is not None and matches(change.obj["metadata"].get("labels") or {}):
                self._queue.add((deployment["metadata"]["namespace"], deployment["metadata"]["name"]))

    def _pod_changed(self, change: Change) -> None:
        """Only for Recreate, which waits until the last old pod is really gone."""
        if change.verb != "DELETED":
            return
        key = controller_key(change.obj, "ReplicaSet")
        owner = self._store.find("replicasets", key[1], key[0]) if key else None
        above = controller_key(owner, "Deployment") if owner else None
        if above is not None:
            self._queue.add(above)

    def _sync(self, key: tuple[str, str]) -> None:
        deployment = self._store.find("deployments", key[1], key[0])
        if deployment is None:
            return
        owned = claim(self._store, "replicasets", deployment, "deployments")
        if is_terminating(deployment):
            self._write_status(deployment, owned)
            return
        self._note_pause(deployment)
        deployment = self._store.get("deployments", key[1], key[0])
        if deployment["spec"].get("paused"):
            new = self._find_new(deployment, owned)
            self._scale_proportionally(deployment, owned, new)
            self._clean_history(deployment, self._current(deployment), new)
        elif self._is_scaling(deployment, owned):
            self._scale_proportionally(deployment, owned, self._find_new(deployment, owned))
        else:
            new = self._make_new(deployment, owned)
            owned = self._current(deployment)
            if deployment["spec"].get("strategy", {}).get("type") == "Recreate":
                self._recreate(deployment, owned, new)
            else:
                self._roll(deployment, owned, new)
        self._write_status(deployment, self._current(deployment))

    # The ReplicaSets of a Deployment

    def _current(self, deployment: Object) -> list[Object]:
        """The ReplicaSets as they are now, after our own writes."""
        uid = deployment["metadata"]["uid"]
        return [
            rs
            for rs in self._store.list("replicasets", deployment["metadata"]["namespace"])
            if (owner := owner_reference(rs)) is not None and owner["uid"] == uid
        ]

    @staticmethod
    def _find_new(deployment: Object, owned: list[Object]) -> Object | None:
        """The ReplicaSet with the Deployment's template; the oldest if there are several."""
        wanted = plain(deployment["spec"]["template"])
        same = [rs for rs in owned if plain(bare(rs["spec"]["template"])) == wanted]
        return newest_first(same)[-1] if same else None

    def _make_new(self, deployment: Object, owned: list[Object]) -> Object:
        """The ReplicaSet of the Deployment's template, made if need be, with its revision number up to date."""
        meta, spec = deployment["metadata"], deployment["spec"]
        new = self._find_new(deployment, owned)
        others = [rs for rs in owned if new is None or rs["metadata"]["uid"] != new["metadata"]["uid"]]
        revision = str(1 + max((revision_of(rs) for rs in others), default=0))
        if new is not None:
            found = new
            new = self._store.mutate(
                "replicasets",
                found["metadata"]["name"],
                meta["namespace"],
                lambda rs: renew(rs, deployment, revision),
            )
            self._set_revision(deployment, new)
            if condition(deployment, "Progressing") is None:
                message = f'Found new replica set "{new["metadata"]["name"]}"'
                self._set_progressing(deployment, "True", "FoundNewReplicaSet", message)
            return new
        digest = template_hash(spec["template"], (deployment.get("status") or {}).get("collisionCount", 0))
        replica_set = replica_set_for(deployment, digest, revision)
        replica_set["metadata"]["ownerReferences"] = [reference_to(deployment, self._store.kind("deployments"))]
        replica_set["spec"]["replicas"] = rollout.new_replicas(deployment, owned, None)
        try:
            new = self._store.create("replicasets", replica_set)
        except AlreadyExists:
            self._count_collision(deployment)
            raise
        except ApiError as error:
            message = f'Failed to create new replica set "{replica_set["metadata"]["name"]}": {error.message}'
            self._set_progressing(deployment, "False", "ReplicaSetCreateError", message)
            raise
        if new["spec"]["replicas"]:
            self._say_scaled(deployment, new, 0, new["spec"]["replicas"])
        self._set_revision(deployment, new)
        message = f'Created new replica set "{new["metadata"]["name"]}"'
        self._set_progressing(deployment, "True", "NewReplicaSetCreated", message)
        return new

    def _count_collision(self, deployment: Object) -> None:
        meta = deployment["metadata"]

        def write(fresh: Object) -> None:
            status = fresh.setdefault("status", {})
            status["collisionCount"] = status.get("collisionCount", 0) + 1

        self._store.mutate("deployments", meta["name"], meta["namespace"], write, status=True)

    def _set_revision(self, deployment: Object, new: Object) -> None:
        meta, revision = deployment["metadata"], new["metadata"]["annotations"][REVISION]

        def write(fresh: Object) -> None:
            fresh["metadata"].setdefault("annotations", {})[REVISION] = revision

        self._store.mutate("deployments", meta["name"], meta["namespace"], write)

    def _scale(self, deployment: Object, replica_set: Object, replicas: int) -> None:
        """Sets the size of a ReplicaSet and notes on it what it was meant for."""
        meta, before = replica_set["metadata"], replica_set["spec"]["replicas"]

        def write(fresh: Object) -> None:
            fresh["spec"]["replicas"] = replicas
            fresh["metadata"].setdefault("annotations", {}).update(sizes(deployment))

        self._store.mutate("replicasets", meta["name"], meta["namespace"], write)
        if before != replicas:
            self._say_scaled(deployment, replica_set, before, replicas)

    def _say_scaled(self, deployment: Object, replica_set: Object, before: int, after: int) -> None:
        way = "up" if after > before else "down"
        message = f"Scaled {way} replica set {replica_set['metadata']['name']} from {before} to {after}"
        self._store.events.record(deployment, "Normal", "ScalingReplicaSet", message, _COMPONENT)

    # Strategies

    def _roll(self, deployment: Object, owned: list[Object], new: Object) -> None:
        # The counts of a ReplicaSet that has yet to follow its size are of the past: pods that are given up already
        # would count as available. A real controller takes them as they are; there it is a matter of milliseconds,
        # here of a hundred when the machine is busy. The ReplicaSet's next status brings us back.
        if any(rollout.lags(replica_set) for replica_set in owned):
            return
        wanted = rollout.new_replicas(deployment, owned, new)
        if wanted != new["spec"]["replicas"] or sizes(deployment).items() - notes_of(new).items():
            grows = wanted != new["spec"]["replicas"]
            self._scale(deployment, new, wanted)
            if grows:
                return
        old = [rs for rs in owned if rs["metadata"]["uid"] != new["metadata"]["uid"]]
        smaller = rollout.old_replicas(deployment, old, new)
        for replica_set in old:
            replicas = smaller.get(replica_set["metadata"]["name"])
            if replicas is not None:
                self._scale(deployment, replica_set, replicas)
        if rollout.is_complete(deployment, self._current(deployment), new):
            self._clean_history(deployment, self._current(deployment), new)

    def _recreate(self, deployment: Object, owned: list[Object], new: Object) -> None:
        old = [rs for rs in owned if rs["metadata"]["uid"] != new["metadata"]["uid"]]
        busy = [rs for rs in old if rs["spec"]["replicas"]]
        for replica_set in busy:
            self._scale(deployment, replica_set, 0)
        uids = {rs["metadata"]["uid"] for rs in old}
        for pod in self._store.list("pods", deployment["metadata"]["namespace"]):
            owner = owner_reference(pod)
            ended = not is_active(pod) and not is_terminating(pod)
            if owner is not None and owner["uid"] in uids and not ended:
                return
        if not busy:
            self._scale(deployment, new, deployment["spec"].get("replicas", 1))
            if rollout.is_complete(deployment, self._current(deployment), new):
                self._clean_history(deployment, self._current(deployment), new)

    @staticmethod
    def _is_scaling(deployment: Object, owned: list[Object]) -> bool:
        """Whether somebody changed spec.replicas since the ReplicaSets got their sizes."""
        wanted = str(deployment["spec"].get("replicas", 1))
        return any(rs["spec"]["replicas"] and notes_of(rs).get(DESIRED, wanted) != wanted for rs in owned)

    def _scale_proportionally(self, deployment: Object, owned: list[Object], new: Object | None) -> None:
        for name, replicas in rollout.proportional(deployment, owned, new, DESIRED, MAXIMUM).items():
            self._scale(deployment, next(rs for rs in owned if rs["metadata"]["name"] == name), replicas)

    def _clean_history(self, deployment: Object, owned: list[Object], new: Object | None) -> None:
        """Deletes the oldest empty ReplicaSets beyond revisionHistoryLimit."""
        limit = deployment["spec"].get("revisionHistoryLimit", 10)
        old = [
            rs
            for rs in owned
            if (new is None or rs["metadata"]["uid"] != new["metadata"]["uid"]) and not is_terminating(rs)
        ]
        for rs in sorted(old, key=revision_of)[: max(len(old) - limit, 0)]:
            status = rs.get("status") or {}
            settled = status.get("observedGeneration", 0) >= rs["metadata"]["generation"]
            if not status.get("replicas") and not rs["spec"]["replicas"] and settled:
                self._store.delete("replicasets", rs["metadata"]["name"], rs["metadata"]["namespace"])

    # Status

    def _note_pause(self, deployment: Object) -> None:
        """Says in the Progressing condition that the rollout was paused or resumed."""
        known = condition(deployment, "Progressing")
        if known is not None and known.get("reason") == "ProgressDeadlineExceeded":
            return
        paused = bool(deployment["spec"].get("paused"))
        said = known is not None and known.get("reason") == "DeploymentPaused"
        if paused and not said:
            self._set_progressing(deployment, "Unknown", "DeploymentPaused", "Deployment is paused")
        elif said and not paused:
            self._set_progressing(deployment, "Unknown", "DeploymentResumed", "Deployment is resumed")

    def _set_progressing(self, deployment: Object, status: str, reason: str, message: str) -> None:
        meta = deployment["metadata"]
        if deployment["spec"].get("progressDeadlineSeconds") is None:
            return
        self._store.mutate(
            "deployments",
            meta["name"],
            meta["namespace"],
            lambda fresh: set_condition(fresh, "Progressing", status, reason, message, updates=True),
            status=True,
        )

    def _write_status(self, deployment: Object, owned: list[Object]) -> None:
        meta = deployment["metadata"]
        fresh = self._store.get("deployments", meta["name"], meta["namespace"])
        new = self._find_new(fresh, owned)
        status = status_of(fresh, owned, new)

        def write(obj: Object) -> None:
            obj["status"] = status

        self._store.mutate("deployments", meta["name"], meta["namespace"], write, status=True)
        wait = progress_wait_s(fresh | {"status": status}, owned, new)
        if wait is not None:
            self._queue.add_after((meta["namespace"], meta["name"]), wait)
