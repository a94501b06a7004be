"""What a container finds: configuration, secrets, the downward API; logs, exec and events."""

from __future__ import annotations

import json

import pytest

from tests.conformance.api import Api, Object, RefusedError, status_of
from tests.conformance.manifests import IDLE, config_map, container, nowhere, pod

SHOW = """
import json, os, sys
print(json.dumps({"env": dict(os.environ), "args": sys.argv[1:]}), flush=True)
"""
READ = "import sys; print(*[open(p).read() for p in sys.argv[1:]], sep='|', flush=True)"
DONE = {"restartPolicy": "Never"}


def _shown(api: Api, *arguments: str, **more: object) -> Object:
    """Environment and arguments of a pod `one`."""
    api.create("pods", pod(api, "one", SHOW, *arguments, spec=DONE | more.pop("spec_", {}), **more))
    found = api.until("pods", "one", lambda p: p["status"]["phase"] in ("Succeeded", "Failed"), "ended")
    assert found["status"]["phase"] == "Succeeded", found["status"]
    return json.loads(api.log("one"))


def test_variables_come_from_config_maps_and_secrets(api: Api) -> None:
    """ConfigMaps / Secrets, using them as environment variables: valueFrom, envFrom with prefix."""
    api.create("configmaps", config_map("conf", colour="red", size="9"))
    api.create("secrets", {"metadata": {"name": "hidden"}, "stringData": {"word": "hush"}})
    env = [
        {"name": "COLOUR", "valueFrom": {"configMapKeyRef": {"name": "conf", "key": "colour"}}},
        {"name": "WORD", "valueFrom": {"secretKeyRef": {"name": "hidden", "key": "word"}}},
        {"name": "NONE", "valueFrom": {"configMapKeyRef": {"name": "nobody", "key": "x", "optional": True}}},
    ]
    env_from = [{"prefix": "C_", "configMapRef": {"name": "conf"}}]
    found = _shown(api, env=env, envFrom=env_from)["env"]

    assert (found["COLOUR"], found["WORD"], found["C_size"]) == ("red", "hush", "9")
    assert "NONE" not in found


def test_variables_refer_to_earlier_ones(api: Api) -> None:
    """Define Dependent Environment Variables: $(NAME), $$(NAME) escaped, unknown ones stay; also in args."""
    env = [
        {"name": "A", "value": "1"},
        {"name": "B", "value": "$(A)/$(NOBODY)/$$(A)"},
    ]
    found = _shown(api, "$(B)", "$$(A)", env=env)

    assert found["env"]["B"] == "1/$(NOBODY)/$(A)"
    assert found["args"] == ["1/$(NOBODY)/$(A)", "$(A)"]


def test_a_pod_knows_itself_through_the_downward_api(api: Api) -> None:
    """Downward API: fieldRef and resourceFieldRef as environment variables."""
    fields = {
        "NAME": "metadata.name",
        "SPACE": "metadata.namespace",
        "UID": "metadata.uid",
        "NODE": "spec.nodeName",
        "IP": "status.podIP",
        "LABEL": "metadata.labels['app']",
    }
    env = [{"name": k, "valueFrom": {"fieldRef": {"fieldPath": v}}} for k, v in fields.items()]
    env.append({"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}}})
    found = _shown(api, env=env, resources={"limits": {"cpu": "250m"}})["env"]
    now = api.get("pods", "one")

    assert (found["NAME"], found["SPACE"], found["LABEL"]) == ("one", api.namespace, "one")
    assert (found["UID"], found["NODE"]) == (now["metadata"]["uid"], now["spec"]["nodeName"])
    assert (found["IP"], found["CPU"]) == (now["status"]["podIP"], "250")
    assert found["HOSTNAME"] == "one"


def test_services_are_in_the_environment(api: Api) -> None:
    """Service, discovering services by environment variables: KUBERNETES_SERVICE_HOST and _PORT at least."""
    found = _shown(api)["env"]

    assert found["KUBERNETES_SERVICE_HOST"]
    assert found["KUBERNETES_SERVICE_PORT"].isdigit()


def test_volumes_hold_config_maps_secrets_and_the_downward_api(api: Api) -> None:
    """Volumes: configMap, secret, downwardAPI and projected as files; items choose their paths."""
    api.create("configmaps", config_map("conf", a="from-config"))
    api.create("secrets", {"metadata": {"name": "hidden"}, "stringData": {"s": "from-secret"}})
    label = {"path": "app", "fieldRef": {"fieldPath": "metadata.labels['app']"}}
    sources = [{"configMap": {"name": "conf", "items": [{"key": "a", "path": "deep/a"}]}}]
    sources.append({"downwardAPI": {"items": [label]}})
    volumes = [
        {"name": "c", "configMap": {"name": "conf"}},
        {"name": "s", "secret": {"secretName": "hidden"}},
        {"name": "p", "projected": {"sources": sources}},
    ]
    mounts = [{"name": n, "mountPath": f"/conformance/{n}"} for n in "csp"]
    paths = ["/conformance/c/a", "/conformance/s/s", "/conformance/p/deep/a", "/conformance/p/app"]
    api.create("pods", pod(api, "one", READ, *paths, volumeMounts=mounts, spec=DONE | {"volumes": volumes}))
    api.until("pods", "one", lambda p: p["status"]["phase"] == "Succeeded", "succeeded")

    assert api.log("one") == "from-config|from-secret|from-config|one\n"


def test_an_empty_dir_is_shared_and_outlives_a_restart(api: Api) -> None:
    """Volumes, emptyDir: as long as the pod is on its node, also across container crashes."""
    program = """
import os, sys
if os.path.exists(sys.argv[1]):
    print("again", open(sys.argv[1]).read(), flush=True)
else:
    open(sys.argv[1], "w").write("kept")
    sys.exit(1)
"""
    mounts = [{"name": "e", "mountPath": "/conformance/e"}]
    spec = {"restartPolicy": "OnFailure", "volumes": [{"name": "e", "emptyDir": {}}]}
    api.create("pods", pod(api, "one", program, "/conformance/e/file", volumeMounts=mounts, spec=spec))

    api.said("one", "again kept")


def test_a_container_waits_for_a_config_map_that_is_missing(api: Api) -> None:
    """ConfigMaps: a pod that refers to a missing one does not start until it is there."""
    env = [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "late", "key": "a"}}}]
    api.create("pods", pod(api, "one", env=env))

    def waiting(found: Object) -> bool:
        state = (status_of(found).get("state") or {}).get("waiting", {})
        return state.get("reason") == "CreateContainerConfigError" and 'configmap "late" not found' in state["message"]

    api.until("pods", "one", waiting, "waiting")
    api.create("configmaps", config_map("late", a="1"))
    api.ready("one", 120)


def test_the_log_is_what_the_container_wrote(api: Api) -> None:
    """Logging Architecture: stdout and stderr; tailLines, limitBytes, timestamps."""
    program = "import sys; [print('line', n, flush=True) for n in range(5)]; print('end', file=sys.stderr, flush=True)"
    api.create("pods", pod(api, "one", program, spec=DONE))
    api.until("pods", "one", lambda p: p["status"]["phase"] == "Succeeded", "succeeded")

    assert sorted(api.said("one", "end").splitlines()) == sorted([*(f"line {n}" for n in range(5)), "end"])
    assert len(api.log("one", tailLines=2).splitlines()) == 2
    assert api.log("one", limitBytes=6) == api.log("one")[:6]
    stamped = api.log("one", timestamps="true").splitlines()[0]
    assert stamped[:2] == "20"
    assert stamped.split(" ", 1)[1] in api.log("one")


def test_the_log_of_the_run_before_is_kept(api: Api) -> None:
    """Debug Running Pods: previous=true is the log of the container before its restart."""
    program = "import sys, time; print('run', flush=True); time.sleep(1); sys.exit(1)"
    api.create("pods", pod(api, "one", program))

    api.said("one", "run", previous="true")


def test_a_log_of_several_containers_must_say_which(api: Api) -> None:
    """API reference, pod log: 400 when the container is not named."""
    made = pod(api, "one")
    made["spec"]["containers"].append(container(api, IDLE, name="second"))
    api.create("pods", made)
    api.ready("one")

    code, status, _ = api.send("GET", api.path("pods", "one", "log"))
    assert code == 400
    assert "a container name must be specified for pod one, choose one of: [main second]" in status["message"]


def test_a_log_can_be_followed(api: Api) -> None:
    """API reference, pod log: follow=true streams until the container ends."""
    program = "import time; print('first', flush=True); time.sleep(2); print('last', flush=True)"
    api.create("pods", pod(api, "one", program, spec=DONE))
    api.until("pods", "one", lambda p: p["status"]["phase"] != "Pending", "started")

    assert api.log("one", follow="true").splitlines() == ["first", "last"]


def test_a_command_runs_beside_the_container(api: Api) -> None:
    """Get a Shell to a Running Container: exec gives output and exit code."""
    api.create("pods", pod(api, "one", env=[{"name": "MARK", "value": "here"}]))
    api.ready("one")

    output, code = api.exec("one", "python3", "-c", "import os, sys; print(os.environ['MARK']); sys.exit(3)")
    assert (output.strip(), code) == ("here", 3)


def test_a_pods_first_steps_are_events(api: Api) -> None:
    """Event: Scheduled, Pulled, Created, Started, about the pod, from scheduler and kubelet."""
    api.create("pods", pod(api, "one"))
    api.ready("one")

    for reason, who in (
        ("Scheduled", "default-scheduler"),
        ("Pulled", "kubelet"),
        ("Created", "kubelet"),
        ("Started", "kubelet"),
    ):
        event = api.event("one", reason)
        assert event["involvedObject"]["kind"] == "Pod"
        assert event["type"] == "Normal"
        source = event.get("reportingComponent") or event["source"]["component"]
        assert source == who
    uid = api.get("pods", "one")["metadata"]["uid"]
    assert api.event("one", "Scheduled")["involvedObject"]["uid"] == uid


def test_a_pod_without_a_node_has_no_log_and_runs_no_command(api: Api) -> None:
    """API reference, pod log and exec: no content, and a refusal."""
    api.create("pods", nowhere(api, "one"))

    code, text, _ = api.send("GET", api.path("pods", "one", "log"))
    assert (code, text) == (204, "")
    with pytest.raises(RefusedError) as told:
        api.call("POST", api.path("pods", "one", "exec"), command="true", stdout="true")
    assert told.value.code in (400, 404, 500)
