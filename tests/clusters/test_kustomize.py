"""A kustomize folder becomes the objects that kustomize makes of it; what is not supported is refused by name."""

from __future__ import annotations

import json

import pytest
import yaml

from clusters.kustomize import build
from clusters.provider import ClusterError, overlay, platforms

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {tier: front}}
spec:
  replicas: 2
  template:
    spec:
      containers:
      - name: main
        image: registry:5000/team/web:1
        env: [{name: A, value: "1"}, {name: B, value: "2"}]
        readinessProbe: {tcpSocket: {port: 80}}
      - {name: side, image: helper}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {ports: [{port: 80}]}
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "web.yaml").write_text(DEPLOYMENT)
    (tmp_path / "base" / "namespace.yaml").write_text("{apiVersion: v1, kind: Namespace, metadata: {name: old}}")
    (tmp_path / "base" / "kustomization.yaml").write_text("resources: [namespace.yaml, web.yaml]")
    return tmp_path


def built(folder, **kustomization):
    over = folder / "over"
    over.mkdir(exist_ok=True)
    (over / "kustomization.yaml").write_text(yaml.safe_dump({"resources": ["../base"]} | kustomization))
    return {obj["kind"]: obj for obj in build(over)}


def containers(objects):
    return {each["name"]: each for each in objects["Deployment"]["spec"]["template"]["spec"]["containers"]}


def test_resources_come_in_their_order(folder):
    assert list(built(folder)) == ["Namespace", "Deployment", "Service"]


def test_a_namespace_is_set_on_what_lives_in_one_and_names_the_namespace(folder):
    objects = built(folder, namespace="prod")

    assert objects["Namespace"]["metadata"] == {"name": "prod"}
    assert objects["Deployment"]["metadata"]["namespace"] == objects["Service"]["metadata"]["namespace"] == "prod"


def test_a_strategic_patch_merges_lists_by_their_key(folder):
    """Containers by name, variables by name; null removes; what is not named stays."""
    patch = """
    apiVersion: apps/v1
    kind: Deployment
    metadata: {name: web}
    spec:
      template:
        spec:
          containers:
          - name: main
            readinessProbe: null
            env: [{name: B, value: "3"}, {name: C, value: "4"}]
    """
    main = containers(built(folder, patches=[{"patch": patch}]))["main"]

    assert {each["name"]: each["value"] for each in main["env"]} == {"A": "1", "B": "3", "C": "4"}
    assert "readinessProbe" not in main
    assert main["image"] == "registry:5000/team/web:1"


def test_a_patch_can_delete_an_object_or_an_item(folder):
    service = "{apiVersion: v1, kind: Service, metadata: {name: web}, $patch: delete}"
    side = """
    apiVersion: apps/v1
    kind: Deployment
    metadata: {name: web}
    spec: {template: {spec: {containers: [{name: side, $patch: delete}]}}}
    """
    objects = built(folder, patches=[{"patch": service}, {"patch": side}])

    assert "Service" not in objects
    assert list(containers(objects)) == ["main"]


@pytest.mark.parametrize(
    "target",
    [{"kind": "Deployment"}, {"name": "w.*", "kind": "Dep.*"}, {"group": "apps"}, {"labelSelector": "tier=front"}],
)
def test_a_json_patch_meets_its_target(folder, target):
    """By kind, name (anchored regular expressions), group or labels."""
    patch = "[{op: replace, path: /spec/replicas, value: 7}]"
    objects = built(folder, patches=[{"patch": patch, "target": target}])

    assert objects["Deployment"]["spec"]["replicas"] == 7


def test_a_patch_can_stand_in_a_file(folder):
    (folder / "over").mkdir()
    (folder / "over" / "more.yaml").write_text("[{op: add, path: /spec/paused, value: true}]")

    objects = built(folder, patches=[{"path": "more.yaml", "target": {"kind": "Deployment"}}])

    assert objects["Deployment"]["spec"]["paused"] is True


@pytest.mark.parametrize(
    ("change", "image"),
    [
        ({"newTag": "2"}, "registry:5000/team/web:2"),
        ({"newName": "mine/web"}, "mine/web:1"),
        ({"newName": "mine/web", "newTag": "2"}, "mine/web:2"),
        ({"digest": "sha256:abc"}, "registry:5000/team/web@sha256:abc"),
    ],
)
def test_images_are_renamed(folder, change, image):
    """A registry's port is not taken for a tag, and other images stay."""
    found = containers(built(folder, images=[{"name": "registry:5000/team/web"} | change]))

    assert (found["main"]["image"], found["side"]["image"]) == (image, "helper")


@pytest.mark.parametrize(
    ("kustomization", "said"),
    [
        ({"namePrefix": "x-"}, "namePrefix"),
        ({"configMapGenerator": []}, "configMapGenerator"),
        ({"patches": [{"patch": "[]", "options": {}}]}, "options"),
        ({"patches": [{"patch": "[]", "target": {"annotationSelector": "a=b"}}]}, "annotationSelector"),
        ({"patches": [{"patch": "[]"}]}, "needs a target"),
        ({"patches": [{"patch": "[]", "target": {"kind": "Job"}}]}, "no object matches"),
        ({"patches": [{"patch": "[{op: remove, path: /spec/none}]", "target": {"kind": "Service"}}]}, "patches[0]"),
        ({"images": [{"name": "helper", "tagSuffix": "x"}]}, "tagSuffix"),
        ({"resources": ["../nowhere"]}, "../nowhere"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(folder, kustomization, said):
    """With the file, so that nobody deploys less than was written."""
    with pytest.raises(ClusterError) as refusal:
        built(folder, **kustomization)

    assert said in refusal.value.message
    assert "kustomization.yaml" in refusal.value.message


@pytest.mark.parametrize("platform", platforms())
def test_every_shipped_platform_builds(platform):
    """With an inference namespace that opts in, a Deployment, a Service and a release policy."""
    objects = {obj["kind"]: obj for obj in build(overlay(platform))}

    assert objects["Namespace"]["metadata"]["labels"] == {"bulletproof.dev/chaos": "allowed"}
    assert {"Deployment", "Service", "ConfigMap"} <= set(objects)
    assert all(obj["metadata"].get("namespace") == "inference" for kind, obj in objects.items() if kind != "Namespace")


def test_each_planted_weakness_differs_from_the_healthy_platform():
    """In what its name says, and the others have only their own."""
    healthy = json.dumps(build(overlay("healthy")), sort_keys=True)
    made = {name: json.dumps(build(overlay(name)), sort_keys=True) for name in platforms()}

    assert [name for name, text in made.items() if text == healthy] == ["healthy"]
    assert len(set(made.values())) == len(made)
