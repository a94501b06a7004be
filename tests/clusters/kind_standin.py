"""Stand-ins for kind, docker and podman: strict about what they are asked, and told beforehand how to fail.

    tools.py kind|docker|podman ARGUMENTS...

What there is lives in $STANDIN/state.json, every call is appended to $STANDIN/calls.jsonl. The commands and flags are
those of `kind --help` (0.33.0) and `docker --help` (28.2.2), as far as the driver uses them; all else is refused, as
the real programs refuse what they do not know. $STANDIN/fail.json maps "kind create cluster" to [exit code, output].
It is run with `python -S`, which starts in a third of the time; `packages` brings what a few commands need.
"""

import json
import os
import sys
import time
import uuid
from pathlib import Path

HOME = Path(os.environ["STANDIN"])
LABEL = "io.x-k8s.kind.cluster"
# command -> (flags with a value, number of arguments: at least, at most)
KIND = {
    "create cluster": ({"--config", "--image", "--kubeconfig", "--name", "--wait"}, 0, 0),
    "delete cluster": ({"--kubeconfig", "--name"}, 0, 0),
    "get clusters": (set(), 0, 0),
    "get kubeconfig": ({"--name"}, 0, 0),
    "load docker-image": ({"--name", "--nodes"}, 1, 99),
    "load image-archive": ({"--name", "--nodes"}, 1, 1),
}
ENGINE = {
    "ps": ({"--filter", "--format"}, 0, 0),
    "inspect": ({"--type", "--format"}, 1, 99),
    "image inspect": ({"--format"}, 1, 99),
    "build": ({"--file", "--tag", "--build-arg"}, 1, 1),
    "pause": (set(), 1, 99),
    "unpause": (set(), 1, 99),
    "start": (set(), 1, 99),
    "port": (set(), 1, 2),
    "save": ({"--output"}, 1, 99),
}
SWITCHES = {"--quiet"}


def packages():
    """What is installed can be imported from now on."""
    import site

    site.main()


def die(code, text):
    sys.stderr.write(text + "\n")
    sys.exit(code)


def parse(tool, commands, arguments):
    """The command, its flags and its other arguments."""
    words = next((n for n in (2, 1) if " ".join(arguments[:n]) in commands), 0)
    if not words:
        die(1, f"unknown command {arguments[:2]} for {tool}")
    command = " ".join(arguments[:words])
    known, least, most = commands[command]
    flags, rest, left = {}, [], arguments[words:]
    while left:
        word = left.pop(0)
        if word in SWITCHES:
            flags[word] = True
        elif word.startswith("-"):
            name, equals, value = word.partition("=")
            if name not in known or (not equals and not left):
                die(1, f"unknown flag: {word}")
            flags.setdefault(name, []).append(value if equals else left.pop(0))
        else:
            rest.append(word)
    if not least <= len(rest) <= most:
        die(1, f"{tool} {command}: {len(rest)} arguments, {least} to {most} are taken")
    return command, flags, rest


def read(name, default):
    path = HOME / name
    return json.loads(path.read_text()) if path.exists() else default


def write(state):
    (HOME / "state.json").write_text(json.dumps(state))


def kubeconfig(cluster):
    """The kubeconfig of the cluster that stands behind, under kind's names."""
    packages()
    import yaml

    config = yaml.safe_load((HOME / "kubeconfig").read_text())
    name = f"kind-{cluster}"
    for section, entry in (("clusters", "cluster"), ("users", "user"), ("contexts", "context")):
        config[section] = [{"name": name, entry: config[section][0][entry]}]
    config["contexts"][0]["context"] |= {"cluster": name, "user": name}
    return yaml.safe_dump({**config, "current-context": name})


def kind(command, flags, rest, state):
    cluster = flags.get("--name", ["kind"])[-1]
    engine = os.environ.get("KIND_EXPERIMENTAL_PROVIDER", "docker")
    if command == "get clusters":
        if not state["clusters"]:
            sys.stderr.write("No kind clusters found.\n")
        print("\n".join(state["clusters"]))
    elif command == "get kubeconfig":
        if cluster not in state["clusters"]:
            die(1, f'ERROR: could not locate any control plane nodes for cluster named "{cluster}".')
        print(kubeconfig(cluster))
    elif command == "create cluster":
        if cluster in state["clusters"]:
            die(1, f'ERROR: failed to create cluster: node(s) already exist for a cluster with the name "{cluster}"')
        roles = check_config(Path(flags["--config"][-1]))
        numbers = {"control-plane": 0, "worker": 0}
        for role in roles:
            numbers[role] += 1
            suffix = role if numbers[role] == 1 else f"{role}{numbers[role]}"
            state["containers"][f"{cluster}-{suffix}"] = {
                "id": uuid.uuid4().hex,
                "cluster": cluster,
                "state": "running",
            }
        state["clusters"].append(cluster)
        write(state)
        fail("kind create cluster, in the middle")
        while (HOME / "slow").exists():
            time.sleep(0.05)
        Path(flags["--kubeconfig"][-1]).write_text(kubeconfig(cluster))
    elif command == "delete cluster":
        if any(one["cluster"] == cluster and one["state"] == "paused" for one in state["containers"].values()):
            die(1, "ERROR: failed to delete cluster: Container is paused. Unpause the container before killing")
        state["clusters"] = [name for name in state["clusters"] if name != cluster]
        state["containers"] = {name: one for name, one in state["containers"].items() if one["cluster"] != cluster}
        write(state)
    elif command == "load docker-image":
        if engine != "docker":
            die(1, "ERROR: load docker-image asks docker, whatever KIND_EXPERIMENTAL_PROVIDER says")
        for image in rest:
            if image not in state["images"]:
                die(1, f'ERROR: image: "{image}" not present locally')
        state["loaded"] += rest
        write(state)
    elif command == "load image-archive":
        state["loaded"] += json.loads(Path(rest[0]).read_text())
        write(state)


def check_config(path):
    """The roles of the nodes; dies on a field that kind does not know."""
    packages()
    import yaml

    config = yaml.safe_load(path.read_text())
    if set(config) - {"kind", "apiVersion", "nodes", "networking"} or config["apiVersion"] != "kind.x-k8s.io/v1alpha4":
        die(1, "ERROR: failed to create cluster: unable to decode config")
    for node in config["nodes"]:
        if set(node) - {"role", "image", "labels", "extraMounts", "extraPortMappings", "kubeadmConfigPatches"}:
            die(1, "ERROR: failed to create cluster: unable to decode config: field not found in type v1alpha4.Node")
        for port in node.get("extraPortMappings", ()):
            if set(port) - {"containerPort", "hostPort", "listenAddress", "protocol"}:
                die(1, "ERROR: failed to create cluster: unable to decode config")
    return [node["role"] for node in config["nodes"]]


def engine(tool, command, flags, rest, state):
    containers = state["containers"]
    for name in rest if command in ("pause", "unpause", "start", "inspect", "port") else ():
        if name.partition("/")[0].isdigit() or name in containers:
            continue
        die(1, f"Error response from daemon: No such container: {name}")
    if command == "ps":
        wanted = dict(each.partition("=")[::2] for each in flags.get("--filter", ()))
        for name, one in containers.items():
            if wanted.get("label") in (None, f"{LABEL}={one['cluster']}") and wanted.get("status") in (
                None,
                one["state"],
            ):
                print(name)
    elif command == "inspect":
        (form,) = flags["--format"]
        for name in rest:
            one = containers[name]
            answers = {
                "{{.Id}}": one["id"],
                f'{{{{index .Config.Labels "{LABEL}"}}}} {{{{.State.Status}}}}': f"{one['cluster']} {one['state']}",
            }
            print(answers[form])
    elif command == "image inspect":
        for name in rest:
            if name not in state["images"]:
                die(1, f"Error response from daemon: No such image: {name}")
            print("sha256:1234")
    elif command in ("pause", "unpause"):
        for name in rest:
            if containers[name]["state"] == "paused" and command == "pause":
                die(1, f"Error response from daemon: Container {name} is already paused")
            if containers[name]["state"] != "paused" and command == "unpause":
                die(1, f"Error response from daemon: Container {name} is not paused")
            containers[name]["state"] = "paused" if command == "pause" else "running"
        write(state)
    elif command == "start":
        for name in rest:
            containers[name]["state"] = "running"
        write(state)
    elif command == "port":
        print(mapped(int(rest[1].partition("/")[0])))
    elif command == "save":
        Path(flags["--output"][-1]).write_text(json.dumps(rest))
    elif command == "build":
        folder = Path(rest[0])
        state["context"] = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
        state["images"] += flags["--tag"]
        write(state)


def mapped(node_port):
    """Where a node port is reached: what stands behind has none, so the address of the Service that asked for it."""
    packages()
    import yaml

    from clusters.api import Api

    path = HOME / "kubeconfig"
    api = Api.connect(path, yaml.safe_load(path.read_text())["current-context"])
    for service in api.items("/api/v1/services"):
        for port in service["spec"].get("ports") or ():
            if port.get("nodePort") == node_port:
                return f"{service['spec']['clusterIP']}:{port['port']}"
    return die(1, f"Error: No public port '{node_port}/tcp' published")


def fail(what):
    """Ends as the test has ordered."""
    if what in (orders := read("fail.json", {})):
        code, output = orders[what]
        die(code, output)


def main(tool, arguments):
    command, flags, rest = parse(tool, KIND if tool == "kind" else ENGINE, arguments)
    with (HOME / "calls.jsonl").open("a") as calls:
        calls.write(json.dumps([tool, *arguments]) + "\n")
    fail(f"{tool} {command}")
    state = {"clusters": [], "containers": {}, "images": [], "loaded": []} | read("state.json", {})
    if tool == "kind":
        kind(command, flags, rest, state)
    else:
        engine(tool, command, flags, rest, state)


main(sys.argv[1], sys.argv[2:])
