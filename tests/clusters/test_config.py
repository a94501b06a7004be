"""The configuration file of a cluster, and what is filled into its commands."""

from __future__ import annotations

from pathlib import Path

import pytest

from clusters.config import find, read
from clusters.node_commands import BadWordError, filled, words_of
from clusters.provider import ClusterError, node_commands, provider_for

COMMANDS = 'node_stop: [power, "off", "{node}"]\nnode_start: [power, "on", "{node}"]\n'
NODE = {
    "metadata": {"name": "gpu-1", "labels": {"topology.kubernetes.io/zone": "eu-1a"}},
    "spec": {"providerID": "aws:///eu-1a/i-0abc"},
    "status": {"addresses": [{"type": "Hostname", "address": "h"}, {"type": "InternalIP", "address": "10.0.0.7"}]},
}


def written(folder: Path, text: str, name: str = "staging.yaml") -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(text)
    return path


def test_the_file_that_names_the_context_is_found(tmp_path, monkeypatch):
    """Whatever the file is called: a context's name may hold what a file's cannot."""
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "clusters", f"context: arn:aws:eks/staging\n{COMMANDS}node_within: 3m\n", "a.yaml")
    written(tmp_path / "clusters", "context: other\n", "b.yaml")
    written(tmp_path / "clusters", "kind: Cluster\n", "kind.yaml")

    found = find("arn:aws:eks/staging")

    assert found is not None
    assert found.node_commands is not None
    assert found.node_commands.stop == ("power", "off", "{node}")
    assert (found.node_commands.within_s, found.node_commands.origin) == (180.0, "clusters/a.yaml")
    assert find("nowhere") is None
    assert node_commands(None, "arn:aws:eks/staging") == found.node_commands


def test_two_files_about_one_context_are_refused(tmp_path, monkeypatch):
    """Which one counts is nobody's guess."""
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "clusters", "context: staging\n", "a.yaml")
    written(tmp_path / "clusters", "context: staging\n", "b.yaml")

    with pytest.raises(ClusterError, match="are both about the context"):
        find("staging")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- a\n", "a mapping is expected"),
        ("context: [a\n", "is no YAML"),
        ("node_stopp: [a]\n", "Did you mean node_stop?"),
        ('node_stop: [a, "{node}"]\n', "node_stop needs node_start"),
        ('node_stop: power {node}\nnode_start: [b, "{node}"]\n', "is no list of words"),
        ('node_stop: [a, "{nod}"]\nnode_start: [b, "{node}"]\n', r"there is no \{nod\} to fill in"),
        ('node_stop: [a]\nnode_start: [b, "{node}"]\n', "names no node"),
        (COMMANDS + "node_within: 15\n", "15 is no duration"),
        ("node_within: 15s\n", "says nothing without"),
        ("clocks: {grace: 16s}\n", "There are node_lease_renew"),
        ("clocks: {node_monitor_grace: 0s}\n", "is no duration"),
        ("context: 5\n", "is no name of a context"),
    ],
)
def test_a_wrong_file_is_refused_with_what_is_right(tmp_path, text, said):
    """Nothing is guessed about what switches machines off."""
    with pytest.raises(ClusterError, match=said):
        read(written(tmp_path, text))


def test_a_file_serves_only_its_own_kind_of_cluster(tmp_path):
    """Machines of a sandbox are the sandbox's; clocks of a cluster that is there are that cluster's."""
    about = written(tmp_path, f"context: staging\n{COMMANDS}")

    with pytest.raises(ClusterError, match='is about the context "staging"'):
        provider_for("context:production", about)
    with pytest.raises(ClusterError, match="a sandbox has its own node_stop"):
        provider_for("sandbox", about)
    with pytest.raises(ClusterError, match="clocks"):
        provider_for("context:any", written(tmp_path, "clocks: {node_monitor_grace: 16s}\n", "clocks.yaml"))
    with pytest.raises(ClusterError, match="takes no configuration file"):
        provider_for("kind", about)


def test_words_of_a_node_are_filled_in():
    """What a cloud's command line needs: the machine's own name, and where it is."""
    words = words_of(NODE)

    assert words == {"node": "gpu-1", "address": "10.0.0.7", "instance": "i-0abc", "zone": "eu-1a"}
    assert filled(("stop", "--zone={zone}", "{instance}", "{node}@{address}"), words) == [
        "stop",
        "--zone=eu-1a",
        "i-0abc",
        "gpu-1@10.0.0.7",
    ]


@pytest.mark.parametrize("value", ["-oProxyCommand=sh", "a b", "a;b", "../x", "$(id)"])
def test_what_is_no_plain_name_is_filled_into_no_command(value):
    """Labels are written by whoever may write them: none of them becomes an option or a path."""
    with pytest.raises(BadWordError, match="no plain name"):
        filled(("ssh", "{zone}"), {"zone": value})


def test_a_word_that_the_node_has_not_is_an_error():
    """A half-filled command is not run."""
    with pytest.raises(BadWordError, match=r"has no \{instance\}"):
        filled(("stop", "{instance}"), {"node": "gpu-1"})
