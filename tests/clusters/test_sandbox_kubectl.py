"""kubectl works on the sandbox as it is. (CI installs it; without it these tests have nothing to run.)"""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest
import yaml
from conftest import wait_for

pytestmark = [
    pytest.mark.kubectl,
    pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed"),
]

MANIFEST = """
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: main
        image: test/tools:{version}
        command: [sh, -c, "echo started; exec sleep 600"]
        readinessProbe: {{exec: {{command: ["true"]}}, periodSeconds: 1}}
        ports: [{{containerPort: 80}}]
---
apiVersion: v1
kind: Service
metadata: {{name: web}}
spec: {{selector: {{app: web}}, ports: [{{port: 80}}]}}
"""


@pytest.fixture
def kubectl(sandbox, namespace, tmp_path_factory):
    """Runs kubectl in the test's namespace; gives its output, or fails with what it said."""
    home = tmp_path_factory.mktemp("kubectl")

    def run(*arguments, stdin=None, fails=False, timeout=60, within=("-n", namespace)):
        command = ["kubectl", "--kubeconfig", str(sandbox.kubeconfig), *within, *arguments]
        environment = os.environ | {"HOME": str(home), "KUBECACHEDIR": str(home / "cache")}
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=timeout, env=environment)
        assert fails == (done.returncode != 0), f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout + (done.stderr if fails else "")

    return run


@pytest.fixture
def web(kubectl):
    """A Deployment of two that is rolled out."""
    kubectl("apply", "-f", "-", stdin=MANIFEST.format(replicas=2, version=1))
    kubectl("rollout", "status", "deployment/web", "--timeout=30s")
    return "deployment/web"


def test_version_and_api_resources(kubectl):
    """Discovery is complete enough for every name that kubectl knows."""
    assert "v1.36.3-sandbox" in kubectl("version")
    listed = kubectl("api-resources", "--no-headers")
    for name in ("pods", "deployments", "poddisruptionbudgets", "endpointslices", "leases", "nodes"):
        assert any(line.split()[0] == name for line in listed.splitlines()), name
    assert kubectl("auth", "can-i", "create", "pods").strip() == "yes"


def test_get_prints_the_columns_of_each_kind(kubectl, web):
    """Tables from the server, wide ones too."""
    pods = kubectl("get", "pods").splitlines()
    assert pods[0].split() == ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]
    assert pods[1].split()[1:4] == ["1/1", "Running", "0"]
    assert kubectl("get", "pods", "-o", "wide").splitlines()[0].split()[5:7] == ["IP", "NODE"]
    assert kubectl("get", web).splitlines()[1].split()[1:4] == ["2/2", "2", "2"]
    assert kubectl("get", "nodes").splitlines()[1].split()[1] == "Ready"
    assert kubectl("get", "all", "-o", "name").count("pod/") == 2
    assert kubectl("get", "pods", "-l", "app=web", "-o", "jsonpath={.items[*].status.phase}") == "Running Running"
    assert "LAST SEEN" in kubectl("get", "events")


def test_describe_explains_pods_nodes_and_deployments(kubectl, web):
    """All the parts that a person at night looks for."""
    pod = kubectl("describe", "pods", "-l", "app=web")
    assert "Readiness:" in pod and "Events:" in pod and "Scheduled" in pod
    assert "nvidia.com/gpu" in kubectl("describe", "node")
    assert "RollingUpdateStrategy:  25% max unavailable, 25% max surge" in kubectl("describe", web)
    assert "Endpoints:" in kubectl("describe", "service", "web")


def test_apply_diff_and_delete(kubectl):
    """Created, unchanged, configured, and gone."""
    first, second = MANIFEST.format(replicas=0, version=1), MANIFEST.format(replicas=0, version=2)

    assert "deployment.apps/web created" in kubectl("apply", "-f", "-", stdin=first)
    assert "deployment.apps/web unchanged" in kubectl("apply", "-f", "-", stdin=first)
    assert "+        image: test/tools:2" in kubectl("diff", "-f", "-", stdin=second, fails=True).replace(
        "- image", "  image"
    )
    assert "deployment.apps/web configured" in kubectl("apply", "-f", "-", stdin=second)
    assert "serverside-applied" in kubectl("apply", "--server-side", "-f", "-", stdin=second)
    assert 'deployment.apps "web" deleted' in kubectl("delete", "-f", "-", stdin=second)
    assert "NotFound" in kubectl("get", "deployment", "web", fails=True)


def test_apply_refuses_unknown_fields(kubectl):
    """The server's strict validation reaches the user."""
    wrong = MANIFEST.format(replicas=0, version=1).replace("replicas:", "replica:")

    assert 'unknown field "spec.replica"' in kubectl("apply", "-f", "-", stdin=wrong, fails=True)


def test_scale_and_wait(kubectl, web):
    """The Deployment follows; wait sees conditions and deletions."""
    assert "scaled" in kubectl("scale", web, "--replicas=3")
    kubectl("wait", web, "--for=jsonpath={.status.readyReplicas}=3", "--timeout=30s")
    kubectl("wait", "pods", "-l", "app=web", "--for=condition=Ready", "--timeout=30s")
    kubectl("scale", web, "--replicas=0")
    kubectl("wait", "pods", "-l", "app=web", "--for=delete", "--timeout=30s")


def test_rollouts_go_forth_and_back(kubectl, web):
    """status, history, undo, restart."""
    kubectl("set", "image", web, "main=test/tools:2")
    assert "successfully rolled out" in kubectl("rollout", "status", web, "--timeout=30s")
    assert kubectl("rollout", "history", web).split()[-4:] == ["1", "<none>", "2", "<none>"]

    kubectl("rollout", "undo", web)
    kubectl("rollout", "status", web, "--timeout=30s")
    assert kubectl("get", web, "-o", "jsonpath={.spec.template.spec.containers[0].image}") == "test/tools:1"

    before = kubectl("get", "pods", "-l", "app=web", "-o", "name")
    kubectl("rollout", "restart", web)
    kubectl("rollout", "status", web, "--timeout=30s")
    wait_for(lambda: not set(before.split()) & set(kubectl("get", "pods", "-o", "name").split()), "only new pods")


def test_cordon_drain_uncordon(kubectl, web):
    """A drained node is empty and closed, and opens again."""
    node = kubectl("get", "pods", "-l", "app=web", "-o", "jsonpath={.items[0].spec.nodeName}")
    try:
        said = kubectl("drain", node, "--ignore-daemonsets", "--force", "--delete-emptydir-data", "--timeout=40s")

        assert f"node/{node} drained" in said
        assert "SchedulingDisabled" in kubectl("get", "node", node)
        assert kubectl("get", "pods", "--field-selector", f"spec.nodeName={node}", "-o", "name") == ""
    finally:
        kubectl("uncordon", node)
    assert "SchedulingDisabled" not in kubectl("get", "node", node)


def test_taint_label_annotate(kubectl):
    """Marks come and go."""
    node = kubectl("get", "nodes", "-o", "jsonpath={.items[0].metadata.name}")
    try:
        kubectl("taint", "node", node, "test=yes:PreferNoSchedule")
        assert "test=yes:PreferNoSchedule" in kubectl("describe", "node", node)
    finally:
        kubectl("taint", "node", node, "test-")
    kubectl("create", "configmap", "a", "--from-literal=k=v")
    kubectl("label", "configmap", "a", "x=y")
    kubectl("annotate", "configmap", "a", "note=text")
    assert kubectl("get", "configmap", "-l", "x=y", "-o", "jsonpath={.items[0].metadata.annotations.note}") == "text"
    kubectl("label", "configmap", "a", "x-")
    assert kubectl("get", "configmap", "-l", "x=y", "-o", "name") == ""


def test_logs_and_exec(kubectl, web):
    """Followed to the end, and a command with its exit code."""
    assert kubectl("logs", web) == "started\n"
    kubectl("run", "once", "--image=test/tools:1", "--restart=Never", "--", "sh", "-c", "echo 1; sleep 0.3; echo 2")
    kubectl("wait", "pod/once", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=20s")
    assert kubectl("logs", "-f", "once") == "1\n2\n"
    assert kubectl("exec", web, "--", "echo", "hello") == "hello\n"
    assert kubectl("exec", "-i", web, "--", "sh", "-c", "tr a-z A-Z", stdin="upper") == "UPPER"
    assert "exit code 3" in kubectl("exec", web, "--", "sh", "-c", "exit 3", fails=True)


def test_a_watch_prints_changes(kubectl, sandbox, namespace, web):
    """get --watch shows what is there, then each change as a row."""
    command = ["kubectl", "--kubeconfig", str(sandbox.kubeconfig), "-n", namespace, "get", web, "--watch"]
    watching = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert watching.stdout.readline().split()[0] == "NAME"
        assert watching.stdout.readline().split()[:2] == ["web", "2/2"]
        kubectl("scale", web, "--replicas=1")
        wait_for(lambda: watching.stdout.readline().split()[1] == "1/1", "row of the scaled Deployment")
    finally:
        watching.kill()
        watching.communicate()


def test_create_sends_protobuf_and_is_understood(kubectl):
    """Since 1.32 kubectl's typed commands write protobuf; what arrives is what JSON would have said."""
    kubectl("create", "deployment", "made", "--image=test/tools:1", "--replicas=0", "--port=80")
    kubectl("create", "secret", "generic", "made", "--from-literal=key=text")
    kubectl("create", "service", "clusterip", "made", "--tcp=80:http")
    kubectl("create", "poddisruptionbudget", "made", "--selector=app=made", "--min-available=50%")
    kubectl("create", "priorityclass", "test-made", "--value=7")
    try:
        spec = kubectl(
            "get", "deployment", "made", "-o", "jsonpath={.spec.replicas} {.spec.strategy.type} {.spec.template}"
        )
        assert spec.startswith("0 RollingUpdate ")
        assert '"ports":[{"containerPort":80,"protocol":"TCP"}]' in spec
        assert kubectl("get", "secret", "made", "-o", "jsonpath={.data.key}") == "dGV4dA=="
        assert kubectl("get", "service", "made", "-o", "jsonpath={.spec.ports[0].targetPort}") == "http"
        assert kubectl("get", "poddisruptionbudget", "made", "-o", "jsonpath={.spec.minAvailable}") == "50%"
    finally:
        kubectl("delete", "priorityclass", "test-made")


def test_roles_tokens_and_can_i(kubectl, namespace):
    """create role, rolebinding and token; can-i for oneself and --as another; what a token may not is Forbidden."""
    kubectl("create", "serviceaccount", "robot")
    kubectl("create", "role", "reader", "--verb=get,list", "--resource=pods,deployments.apps")
    kubectl("create", "rolebinding", "reader", "--role=reader", f"--serviceaccount={namespace}:robot")
    robot = f"--as=system:serviceaccount:{namespace}:robot"

    assert kubectl("auth", "can-i", "list", "pods", robot).strip() == "yes"
    assert kubectl("auth", "can-i", "delete", "pods", robot, fails=True).startswith("no")
    assert "deployments.apps" in kubectl("auth", "can-i", "--list", robot)
    assert f"system:serviceaccounts:{namespace}" in kubectl("auth", "whoami", robot)
    assert "Role/reader" in kubectl("get", "rolebinding", "reader")
    assert "ServiceAccount  robot" in kubectl("describe", "rolebinding", "reader")
    token = kubectl("create", "token", "robot", "--duration=20m").strip()
    assert kubectl("get", "pods", "-o", "name", robot) == ""
    assert "Forbidden" in kubectl("get", "services", robot, fails=True)
    assert token.count(".") == 2


def test_quotas_are_described_and_enforced(kubectl):
    """create quota, describe quota with what is used, and the refusal in the server's words."""
    kubectl("create", "quota", "few", "--hard=pods=1,requests.nvidia.com/gpu=2")
    kubectl("run", "one", "--image=test/tools:1", "--restart=Never", "--", "sleep", "60")
    kubectl("wait", "quota/few", "--for=jsonpath={.status.used.pods}=1", "--timeout=20s")

    described = [line.split() for line in kubectl("describe", "quota", "few").splitlines()]
    assert ["pods", "1", "1"] in described and ["requests.nvidia.com/gpu", "0", "2"] in described
    assert "pods: 1/1" in kubectl("get", "quota", "few")
    said = kubectl("run", "two", "--image=test/tools:1", "--restart=Never", "--", "sleep", "60", fails=True)
    assert "exceeded quota: few, requested: pods=1, used: pods=1, limited: pods=1" in said
    kubectl("delete", "pod", "one", "--now")


DEFINITION = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {{name: models.{group}}}
spec:
  group: {group}
  scope: Namespaced
  names: {{plural: models, kind: Model, shortNames: [mdl]}}
  versions:
  - name: v1
    served: true
    storage: true
    additionalPrinterColumns:
    - {{name: Replicas, type: integer, jsonPath: .spec.replicas}}
    - {{name: Ready, type: string, jsonPath: '.status.conditions[?(@.type=="Ready")].status'}}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            properties: {{replicas: {{type: integer, maximum: 9}}}}
          status: {{type: object, x-kubernetes-preserve-unknown-fields: true}}
"""
INSTANCE = """
apiVersion: {group}/v1
kind: Model
metadata: {{name: detector}}
spec: {{replicas: {replicas}}}
status: {{conditions: [{{type: Ready, status: "True"}}]}}
"""


def test_instances_of_definitions_are_applied_and_printed(kubectl, namespace):
    """apply of a definition and of an instance, columns by its short name, diff, and the schema's refusal."""
    group = f"{namespace}.example.com"
    kubectl("apply", "-f", "-", stdin=DEFINITION.format(group=group))
    try:
        kubectl("wait", f"crd/models.{group}", "--for=condition=Established", "--timeout=20s")
        assert "model" in kubectl("apply", "-f", "-", stdin=INSTANCE.format(group=group, replicas=3))
        assert "unchanged" in kubectl("apply", "-f", "-", stdin=INSTANCE.format(group=group, replicas=3))
        assert "+  replicas: 4" in kubectl(
            "diff", "-f", "-", stdin=INSTANCE.format(group=group, replicas=4), fails=True
        )
        assert "configured" in kubectl("apply", "-f", "-", stdin=INSTANCE.format(group=group, replicas=4))
        printed = [line.split() for line in kubectl("get", "mdl").splitlines()]
        assert printed == [["NAME", "REPLICAS", "READY"], ["detector", "4", "True"]]
        refused = kubectl("apply", "-f", "-", stdin=INSTANCE.format(group=group, replicas=10), fails=True)
        assert "spec.replicas in body should be less than or equal to 9" in refused
    finally:
        kubectl("delete", "crd", f"models.{group}")
    assert "the server doesn't have a resource type" in kubectl("get", f"models.{group}", fails=True)


def test_events_of_one_object_and_by_type(kubectl, web):
    """kubectl events, for one object, by type, and get events sorted."""
    said = kubectl("events", "--for", web)
    assert "ScalingReplicaSet" in said and "Scaled up replica set web-" in said
    assert kubectl("events", "--types=Warning") == ""
    lines = kubectl("get", "events", "--sort-by=.metadata.creationTimestamp", "-o", "custom-columns=R:.reason")
    assert {"Scheduled", "Pulled", "Started"} <= set(lines.split())


def test_logs_are_followed_while_the_container_runs(kubectl, sandbox, namespace):
    """logs -f shows each line when it is written, and ends with the container; --tail and --previous look back."""
    program = "echo one; while [ ! -e /tmp/go ]; do sleep 0.05; done; echo two"
    kubectl(
        "run",
        "talker",
        "--image=test/tools:1",
        "--restart=Never",
        "--",
        "sh",
        "-c",
        program.replace("/tmp/", "$TMPDIR/"),
    )
    kubectl("wait", "pod/talker", "--for=condition=Ready", "--timeout=20s")
    command = ["kubectl", "--kubeconfig", str(sandbox.kubeconfig), "-n", namespace, "logs", "-f", "talker"]
    following = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert following.stdout.readline() == "one\n"
        assert following.poll() is None
        kubectl("exec", "talker", "--", "sh", "-c", "touch $TMPDIR/go")
        assert following.stdout.read() == "two\n"
        assert following.wait(timeout=30) == 0
    finally:
        following.kill()
        following.communicate()
    assert kubectl("logs", "talker", "--tail=1") == "two\n"


def test_deletes_by_label_and_with_orphans(kubectl, web):
    """--cascade=orphan leaves the pods, -l deletes what is labelled and waits for its end."""
    kubectl("delete", web, "--cascade=orphan")
    owned = kubectl("get", "replicasets", "-l", "app=web", "-o", "name")
    assert kubectl("get", "pods", "-l", "app=web", "-o", "name").count("pod/") == 2
    assert owned.count("replicaset") == 1
    kubectl("delete", "replicasets,pods", "-l", "app=web", "--timeout=30s")
    assert kubectl("get", "pods", "-l", "app=web", "-o", "name") == ""


def test_autoscale_makes_an_autoscaler(kubectl, web):
    """kubectl autoscale, with its targets printed."""
    kubectl("autoscale", web, "--min=1", "--max=4", "--cpu-percent=60")
    made = [line.split() for line in kubectl("get", "hpa", "web").splitlines()]
    assert made[1][:2] == ["web", "Deployment/web"] and "4" in made[1]
    assert kubectl("get", "hpa", "web", "-o", "jsonpath={.spec.metrics[0].resource.target.averageUtilization}") == "60"


def test_patch_replace_and_set(kubectl, web):
    """The other ways to change an object."""
    kubectl("patch", web, "-p", '{"spec": {"minReadySeconds": 1}}')
    kubectl("patch", web, "--type=json", "-p", '[{"op": "replace", "path": "/spec/minReadySeconds", "value": 0}]')
    kubectl("set", "env", web, "COLOR=red")
    assert "COLOR=red" in kubectl("set", "env", web, "--list")
    kubectl("rollout", "pause", web)
    assert kubectl("get", web, "-o", "jsonpath={.spec.paused}") == "true"
    kubectl("rollout", "resume", web)
    kubectl("rollout", "status", web, "--timeout=30s")
    kubectl("replace", "-f", "-", stdin=MANIFEST.format(replicas=0, version=2).partition("---")[0])
    assert kubectl("get", web, "-o", "jsonpath={.spec.template.spec.containers[0].image}") == "test/tools:2"


def test_the_rights_of_a_run_are_applied_as_they_are_shipped(kubectl, namespace):
    """apply -k clusters/rbac: kubectl builds what the harness reads, and the account has these rights."""
    from clusters import grants, kustomize

    for folder in (grants.FOLDER, *grants.folders()):
        built = kubectl("kustomize", str(folder))
        wanted = sorted(
            (o["kind"], o["metadata"].get("namespace", ""), o["metadata"]["name"]) for o in kustomize.build(folder)
        )
        objects = [o for o in yaml.safe_load_all(built) if o]
        assert sorted((o["kind"], o["metadata"].get("namespace", ""), o["metadata"]["name"]) for o in objects) == wanted
    kubectl("create", "namespace", "inference")
    try:
        kubectl("apply", "-k", str(grants.FOLDER), within=())
        robot = "--as=system:serviceaccount:bulletproof:bulletproof"
        assert kubectl("auth", "can-i", "delete", "pods", "--namespace=inference", robot).strip() == "yes"
        assert kubectl("auth", "can-i", "delete", "pods", "--namespace=default", robot, fails=True).startswith("no")
        assert kubectl("auth", "can-i", "list", "nodes", robot, fails=True).startswith("no")
    finally:
        kubectl("delete", "-k", str(grants.FOLDER), "--ignore-not-found", within=())
        kubectl("delete", "namespace", "inference")
