"""Another tool's action is a fault only by its own word: who takes that writes so into the experiment."""

from __future__ import annotations

import shutil

import pytest

from harness.errors import FileErrors
from harness.experiment.loader import load
from harness.experiment.shipped import folder

KUBECTL = """
- type: action
  name: scale
  provider: {type: process, path: kubectl, arguments: scale deployment/detector --replicas 2}
- type: probe
  name: look
  provider: {type: process, path: kubectl, arguments: get pods}
rollbacks:"""


@pytest.fixture
def written(tmp_path):
    """A shipped experiment with another tool's action and probe in its method, and this `trust`."""

    def write(trust):
        for part in ("slos", "golden"):
            shutil.copytree(folder() / part, tmp_path / part, dirs_exist_ok=True)
        text = (folder() / "gpu-pod-kill.yaml").read_text().replace("\nrollbacks:", KUBECTL)
        path = tmp_path / "experiment.yaml"
        path.write_text(text.replace("  workload:", f"  {trust}\n  workload:"))
        return path

    return write


def test_named_it_is_taken_on_trust(written):
    """A probe changes nothing and needs no word; our own faults are proven."""
    experiment = load(written("trust: [scale]"))

    assert experiment.foreign_actions == ["scale"]
    assert experiment.bulletproof.trust == ("scale",)


@pytest.mark.parametrize(
    ("trust", "said"),
    [
        ("# nobody", '15: method[1].name: "scale" is another tool\'s action, and nothing would prove what it did. '
                     "Use a fault of harness.faults, or take its word for it: bulletproof.trust: [scale]."),
        ("trust: [scale, scael]", 'bulletproof.trust.1: the method has no such action "scael". Did you mean scale?'),
        ("trust: [scale, kill-one-gpu-pod]", 'bulletproof.trust.1: the method has no such action "kill-one-gpu-pod". '
                                             "It names actions of the method that are of other tools."),
        ("trust: [scale, look]", 'the method has no such action "look".'),
    ],
)  # fmt: skip
def test_what_is_trusted_is_named_exactly(written, trust, said):
    """File, line, field, and what to do."""
    with pytest.raises(FileErrors) as raised:
        load(written(trust))

    assert said in str(raised.value)
