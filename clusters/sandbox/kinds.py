"""Which resources there are: names, groups, scope and subresources."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Kind:
    """One resource as discovery names it. `key` is what the store and the controllers call it."""

    plural: str
    kind: str
    group: str = ""
    version: str = "v1"
    namespaced: bool = True
    short: tuple[str, ...] = ()
    subresources: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    custom: bool = False  # an instance of a CustomResourceDefinition
    versions: tuple[str, ...] = ()  # served beside `version`
    read_only: bool = False
    schema: dict[str, dict[str, Any]] = field(default_factory=dict, compare=False, hash=False)  # by version
    columns: tuple[tuple[str, str, str], ...] = ()  # of custom kinds: name (`*` for wide output), type, JSON path
    served: bool = True  # under `version`

    @property
    def key(self) -> str:
        """The plural; custom resources carry their group, since two groups may use one plural."""
        return f"{self.plural}.{self.group}" if self.custom else self.plural

    @property
    def served_versions(self) -> tuple[str, ...]:
        """The preferred one first."""
        return (self.version, *self.versions) if self.served else self.versions

    @property
    def api_version(self) -> str:
        """As it stands in `apiVersion`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        """As error messages name it: `pods`, `deployments.apps`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def singular(self) -> str:
        return self.kind.lower()

    @property
    def has_status(self) -> bool:
        """Whether status is written through its own subresource only."""
        return "status" in self.subresources


BUILT_IN: tuple[Kind, ...] = (
    Kind("namespaces", "Namespace", namespaced=False, short=("ns",), subresources=("status", "finalize")),
    Kind("nodes", "Node", namespaced=False, short=("no",), subresources=("status", "proxy")),
    Kind(
        "pods",
        "Pod",
        short=("po",),
        subresources=("status", "binding", "eviction", "log", "exec", "attach", "proxy", "portforward", "resize"),
        categories=("all",),
    ),
    Kind("services", "Service", short=("svc",), subresources=("status", "proxy"), categories=("all",)),
    Kind("endpoints", "Endpoints", short=("ep",), read_only=True),
    Kind("configmaps", "ConfigMap", short=("cm",)),
    Kind("secrets", "Secret"),
    Kind("events", "Event", short=("ev",)),
    Kind("serviceaccounts", "ServiceAccount", short=("sa",), subresources=("token",)),
    Kind("resourcequotas", "ResourceQuota", short=("quota",), subresources=("status",)),
    Kind(
        "deployments",
        "Deployment",
        "apps",
        short=("deploy",),
        subresources=("status", "scale"),
        categories=("all",),
    ),
    Kind("replicasets", "ReplicaSet", "apps", short=("rs",), subresources=("status", "scale"), categories=("all",)),
    Kind("daemonsets", "DaemonSet", "apps", short=("ds",), subresources=("status",), categories=("all",)),
    Kind("controllerrevisions", "ControllerRevision", "apps"),
    Kind("endpointslices", "EndpointSlice", "discovery.k8s.io"),
    Kind("leases", "Lease", "coordination.k8s.io"),
    Kind("poddisruptionbudgets", "PodDisruptionBudget", "policy", short=("pdb",), subresources=("status",)),
    Kind("roles", "Role", "rbac.authorization.k8s.io"),
    Kind("rolebindings", "RoleBinding", "rbac.authorization.k8s.io"),
    Kind("clusterroles", "ClusterRole", "rbac.authorization.k8s.io", namespaced=False),
    Kind("clusterrolebindings", "ClusterRoleBinding", "rbac.authorization.k8s.io", namespaced=False),
    Kind("priorityclasses", "PriorityClass", "scheduling.k8s.io", namespaced=False, short=("pc",)),
    Kind(
        "horizontalpodautoscalers",
        "HorizontalPodAutoscaler",
        "autoscaling",
        version="v2",
        short=("hpa",),
        subresources=("status",),
        categories=("all",),
        versions=("v1",),
    ),
    Kind(
        "customresourcedefinitions",
        "CustomResourceDefinition",
        "apiextensions.k8s.io",
        namespaced=False,
        short=("crd", "crds"),
        subresources=("status",),
        categories=("api-extensions",),
    ),
)
