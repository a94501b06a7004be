"""What the README says is true: its experiment validates, its commands and links exist."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BULLETPROOF = Path(sys.executable).parent / "bulletproof"


def test_the_first_experiment_of_ones_own_is_valid(tmp_path):
    """Ten lines, saved as the README says, pass `bulletproof validate` without a warning."""
    for folder in ("slos", "golden"):
        shutil.copytree(ROOT / "experiments" / folder, tmp_path / folder)
    path = tmp_path / "two-pods.yaml"
    path.write_text(re.search(r"```yaml\n(.*?)```", README, re.S)[1], encoding="utf-8")

    done = subprocess.run([BULLETPROOF, "validate", path], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_links_lead_to_files(link):
    """No dead link within the repository."""
    assert (ROOT / link).exists()


@pytest.mark.parametrize("target", sorted(set(re.findall(r"(?m)^    make ([a-z-]+)", README))))
def test_make_targets_exist(target):
    """`make TARGET` of the README is a target of the Makefile."""
    assert re.search(rf"(?m)^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", sorted(set(re.findall(r"(?m)^    bulletproof ([a-z]+)", README))))
def test_commands_exist(name):
    """`bulletproof COMMAND` of the README has a help of its own."""
    done = subprocess.run([BULLETPROOF, name, "--help"], capture_output=True, text=True, check=False)

    assert done.returncode == 0
    assert "bulletproof " + name in done.stdout
