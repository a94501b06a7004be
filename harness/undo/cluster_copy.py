"""The journal in the target cluster: a ConfigMap beside the workload, so that anyone with the kubeconfig can undo.

Data keys: `holder` (JSON), and one for each entry that is not verified yet: `<number>.<entry id>` (JSON).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from harness.kube import Cluster, Object, Refused
from harness.undo.entry import JOURNAL_LABEL, Entry
from harness.undo.holder import Holder

HOLDER_KEY = "holder"


def name_of(run_id: str) -> str:
    """The ConfigMap of a run."""
    # An experiment's file name may hold what the name of an object may not.
    return f"bulletproof-journal-{re.sub(r'[^a-z0-9.-]', '-', run_id.lower())}"


class ClusterCopy:
    """The ConfigMap of one run."""

    def __init__(self, cluster: Cluster, namespace: str, run_id: str) -> None:
        self.name = name_of(run_id)
        self.namespace = namespace
        self._cluster = cluster

    def create(self, holder: Holder) -> None:
        """It is there after this, also when it was before."""
        metadata = {"name": self.name, "namespace": self.namespace, "labels": {JOURNAL_LABEL: "true"}}
        body = {"metadata": metadata, "data": {HOLDER_KEY: json.dumps(holder.to_json())}}
        try:
            self._cluster.create("ConfigMap", body, self.namespace)
        except Refused as error:
            if error.code != 409:
                raise
            self._patch({HOLDER_KEY: json.dumps(holder.to_json())})

    def put(self, entry: Entry) -> None:
        """The entry is in the cluster after this."""
        self._patch({_key(entry): json.dumps(entry.to_json())})

    def drop(self, entry: Entry) -> None:
        """The entry is not in the cluster after this."""
        try:
            self._patch({_key(entry): None})
        except Refused as error:
            if not error.not_found:
                raise

    def remove(self) -> None:
        """No trace of the journal is left."""
        self._cluster.delete("ConfigMap", self.name, self.namespace)

    def _patch(self, data: Mapping[str, Any]) -> None:
        self._cluster.patch("ConfigMap", self.name, self.namespace, {"data": dict(data)})


def holder_in(config_map: Object) -> Holder | None:
    """Who wrote the journal; None when that cannot be read."""
    try:
        return Holder(**json.loads(config_map["data"][HOLDER_KEY]))
    except (KeyError, TypeError, ValueError):
        return None


def entries_in(config_map: Object) -> dict[str, Mapping[str, Any]]:
    """Entries by id, as data. Raises ValueError where one is not JSON."""
    found: dict[str, Mapping[str, Any]] = {}
    for key, text in sorted((config_map.get("data") or {}).items()):
        if key != HOLDER_KEY:
            entry = json.loads(text)
            found[entry["entry_id"]] = entry
    return found


def _key(entry: Entry) -> str:
    return f"{entry.number:04d}.{entry.entry_id}"
