"""A run's rights: asked for before anything is touched, named one by one, granted by clusters/rbac and no more."""

from __future__ import annotations

import json
import uuid

import pytest
import yaml

from clusters import grants, kustomize
from clusters.api import Api
from clusters.provider import manifest_granting, provider_for
from harness import rights
from harness.cli import main
from harness.errors import EXIT_PASSED, EXIT_USAGE
from harness.experiment.loader import load
from harness.experiment.shipped import experiment_files
from harness.judge import judge

PODS_ONLY = ("account", "workload", "lock", "nodes-read")  # what gpu-pod-kill is said to need


@pytest.fixture(scope="module")
def sandbox():
    """A sandbox with the healthy platform."""
    provider = provider_for(f"sandbox:test-rights-{uuid.uuid4().hex[:6]}")
    access = provider.up()
    try:
        provider.deploy(access, "healthy", lambda _: None)
        yield access
    finally:
        provider.down(access)


@pytest.fixture(scope="module")
def admin(sandbox):
    return Api.connect(sandbox.kubeconfig, sandbox.context)


@pytest.fixture(scope="module")
def robot(sandbox, admin, tmp_path_factory):
    """A kubeconfig whose only context, `robot`, is the ServiceAccount of clusters/rbac with a token of its own."""
    for obj in kustomize.build(grants.FOLDER / "account"):
        admin.apply(obj)
    token = admin.request("POST", "/api/v1/namespaces/bulletproof/serviceaccounts/bulletproof/token", {"spec": {}})
    config = yaml.safe_load(sandbox.kubeconfig.read_text())
    config["users"] = [{"name": "robot", "user": {"token": token["status"]["token"]}}]
    config["contexts"] = [
        {"name": "robot", "context": {"cluster": config["clusters"][0]["name"], "user": "robot"}},
    ]
    config["current-context"] = "robot"
    path = tmp_path_factory.mktemp("robot") / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.fixture
def bulletproof(robot, monkeypatch, capsys):
    """The command line as the ServiceAccount; gives exit code and output."""
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(robot))

    def call(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        code = main(arguments)
        told = capsys.readouterr()
        return code, told.out + told.err

    return call


@pytest.fixture
def granted(admin):
    """Applies parts of clusters/rbac, and takes back what they grant when the test ends."""
    made = []

    def apply(*parts: str, change=None) -> None:
        for part in parts:
            for obj in kustomize.build(grants.FOLDER / part):
                made.append(admin.path(admin.apply(change(obj) if change else obj)))

    yield apply
    for path in made:
        if "rbac.authorization" in path:
            admin.request("DELETE", path)


def objects():
    return [(folder.name, obj) for folder in grants.folders() for obj in kustomize.build(folder)]


def without(verb: str, resource: str):
    """A change that takes one verb on one resource out of a role."""

    def change(obj):
        obj = json.loads(json.dumps(obj))
        for rule in obj.get("rules", ()):
            if resource in rule["resources"] and verb in rule["verbs"]:
                rule["resources"].remove(resource)
                rest = [each for each in rule["verbs"] if each != verb]
                kept = {**rule, "resources": [resource], "verbs": rest}
                obj["rules"] = [*(r for r in obj["rules"] if r["resources"]), *([kept] if rest else [])]
                return obj
        return obj

    return change


@pytest.mark.parametrize("name", experiment_files())
def test_every_right_that_a_shipped_experiment_takes_is_granted_by_a_manifest(name):
    """No experiment needs more than clusters/rbac gives."""
    experiment = load(experiment_files()[name])
    workload = experiment.bulletproof.workload.namespace

    for right in rights.needed(experiment):
        resource, _, subresource = right.resource.partition("/")
        found = manifest_granting(
            verb=right.verb, group=right.group, resource=resource, subresource=subresource, name=right.name,
            namespace=right.namespace, workload=workload,
        )  # fmt: skip
        assert found, right


def test_the_manifests_grant_nothing_that_no_run_needs():
    """Each verb of each rule is some shipped experiment's; no wildcard, no cluster-admin, no secrets."""
    wanted = {
        (right.verb, right.group, right.resource, right.namespace)
        for path in experiment_files().values()
        for right in rights.needed(load(path))
    }
    for folder, namespace, rule in grants.rules():
        assert "*" not in [*rule["verbs"], *rule["resources"], *rule["apiGroups"]], folder
        assert not rule.get("nonResourceURLs")
        for verb in rule["verbs"]:
            for resource in rule["resources"]:
                assert (verb, rule["apiGroups"][0], resource, namespace) in wanted, (folder.name, verb, resource)
    assert {obj["roleRef"]["name"] for _, obj in objects() if obj["kind"].endswith("Binding")} == {
        obj["metadata"]["name"] for _, obj in objects() if obj["kind"] in ("Role", "ClusterRole")
    }


def test_who_runs_no_node_fault_gives_no_node_rights():
    """Neither in the manifests that are applied by default, nor in what a run without nodes asks for."""
    default = kustomize.build(grants.FOLDER)

    assert {obj["kind"] for obj in default} == {"Namespace", "ServiceAccount", "Role", "RoleBinding"}
    pod_latency = load(experiment_files()["pod-latency"])
    without_gpu = pod_latency.bulletproof.model_copy(update={"requires": ("pods", "services")})
    plain = pod_latency.model_copy(update={"bulletproof": without_gpu})
    assert not [right for right in rights.needed(plain) if not right.namespace]
    assert not rights.strikes_or_reads_nodes(plain)
    assert rights.strikes_or_reads_nodes(load(experiment_files()["gpu-node-drain"]))


def test_a_plan_works_with_exactly_the_manifests(bulletproof, granted):
    """The account of clusters/rbac sees every target; nodes-change is for those who drain nodes."""
    granted(*PODS_ONLY)

    code, said = bulletproof("plan", "gpu-pod-kill", "--cluster", "context:robot")
    assert code == EXIT_PASSED, said
    assert "strikes pod detector-" in said

    code, said = bulletproof("plan", "gpu-node-drain", "--cluster", "context:robot")
    assert code == EXIT_USAGE
    assert "patch nodes (for node_drain)" in said and "create pods/eviction (for node_drain)" in said
    assert f"kubectl apply -k {grants.FOLDER / 'nodes-change'}" in said

    granted("nodes-change")
    code, said = bulletproof("plan", "gpu-node-drain", "--cluster", "context:robot")
    assert code == EXIT_PASSED, said


@pytest.mark.parametrize(
    ("verb", "resource", "part", "told"),
    [
        ("delete", "pods", "workload", "delete pods in namespace inference (for pod_kill)"),
        ("watch", "events", "workload", "watch events in namespace inference (for the record of the run)"),
        ("create", "configmaps", "workload", "create configmaps in namespace inference (for the undo journal)"),
        ("get", "namespaces", "workload", "get namespaces in namespace inference (for the guard)"),
        ("create", "leases", "lock", "create leases.coordination.k8s.io in namespace default (for the lock)"),
        ("watch", "nodes", "nodes-read", "watch nodes (for the record of the nodes)"),
    ],
)
def test_one_right_less_is_named_before_anything_is_touched(
    bulletproof, granted, admin, tmp_path, verb, resource, part, told
):
    """Exactly that right, the manifest that grants it, exit code 64; a run as well as a plan."""
    granted(*PODS_ONLY, change=without(verb, resource))
    before = admin.items("/api/v1/namespaces/inference/pods")

    for command in (("plan", "gpu-pod-kill"), ("run", "gpu-pod-kill", "--out", str(tmp_path / "run"))):
        code, said = bulletproof(*command, "--cluster", "context:robot")

        assert code == EXIT_USAGE, said
        assert "lacks a right that this run needs. Nothing was touched." in said
        assert [line.strip() for line in said.splitlines() if "(for " in line] == [told]
        assert f"kubectl apply -k {grants.FOLDER / part}" in said
    assert {pod["metadata"]["uid"] for pod in before} == {
        pod["metadata"]["uid"] for pod in admin.items("/api/v1/namespaces/inference/pods")
    }
    assert not [m for m in admin.items("/api/v1/namespaces/inference/configmaps") if "journal" in m["metadata"]["name"]]


def test_another_namespace_than_the_manifests_name_is_told(bulletproof, granted, tmp_path):
    """The remedy says what to change in it."""
    granted("account")
    text = experiment_files()["gpu-pod-kill"].read_text().replace("namespace: inference", "namespace: chat")
    source = experiment_files()["gpu-pod-kill"].parent
    for each in ("slos/detector.yaml", "golden/detector.json"):
        (tmp_path / each).parent.mkdir(exist_ok=True)
        (tmp_path / each).write_bytes((source / each).read_bytes())
    (tmp_path / "mine.yaml").write_text(text)

    code, said = bulletproof("plan", str(tmp_path / "mine.yaml"), "--cluster", "context:robot")

    assert code == EXIT_USAGE
    assert f"{grants.FOLDER / 'workload'} (from a kustomization with namespace: chat)" in said


def test_a_suite_asks_for_all_of_its_experiments_before_the_first(bulletproof, granted, tmp_path):
    """A right that only the last one needs does not come up hours later."""
    granted(*PODS_ONLY)

    code, said = bulletproof("run", "nightly", "--cluster", "context:robot", "--out", str(tmp_path / "runs"))

    assert code == EXIT_USAGE, said
    assert "patch nodes (for node_drain)" in said
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_a_whole_run_needs_no_more_than_the_manifests(bulletproof, granted, tmp_path):
    """gpu-pod-kill from the preflight to the report as the ServiceAccount: no watch, strike or undo was refused.

    Whether clients were content is another test's question: a busy machine may be too slow for the load.
    """
    granted(*PODS_ONLY)
    folder = tmp_path / "run"

    code, said = bulletproof("run", "gpu-pod-kill", "--cluster", "context:robot", "--out", str(folder))

    assert code != EXIT_USAGE, said
    answers = {check.name: check.verdict.value for check in judge(folder).checks}
    for name in ("stopped", "history_complete", "fault_proven", "undo_verified"):
        assert answers[name] == "PASSED", (name, said)
    assert "forbidden" not in (folder / "actions.jsonl").read_text() + (folder / "log.txt").read_text()
    kinds = {json.loads(line)["kind"] for line in (folder / "cluster.jsonl").read_text().splitlines()}
    assert {"Pod", "EndpointSlice", "Deployment", "ReplicaSet", "Event", "Node", "Lease"} <= kinds
