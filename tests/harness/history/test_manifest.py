"""The manifest: whatever is altered, added or removed after it was written shows."""

from __future__ import annotations

import json

import pytest

from harness.history.manifest import check_manifest, write_manifest
from tests.histories import build_run


def test_an_untouched_run_matches_its_manifest(tmp_path):
    """Also after it was moved elsewhere."""
    run_dir = build_run(tmp_path)
    write_manifest(run_dir)

    moved = run_dir.rename(tmp_path / "elsewhere")

    assert check_manifest(moved) == []
    assert "slos/detector.yaml" in json.loads((moved / "manifest.json").read_text())["files"]


def test_one_altered_byte_shows(tmp_path):
    """In any file of the folder."""
    run_dir = build_run(tmp_path)
    write_manifest(run_dir)
    path = run_dir / "requests-0.arrows"
    content = bytearray(path.read_bytes())
    content[5000] ^= 1
    path.write_bytes(content)

    assert check_manifest(run_dir) == ["requests-0.arrows was altered"]


def test_a_file_that_was_removed_or_added_shows(tmp_path):
    """Both ways."""
    run_dir = build_run(tmp_path)
    write_manifest(run_dir)
    (run_dir / "plan.json").unlink()
    (run_dir / "slos" / "other.yaml").write_text("x")
    (run_dir / "golden" / "manifest.json").write_text("{}")  # not the run's own

    assert check_manifest(run_dir) == [
        "plan.json is missing",
        "golden/manifest.json is not in the manifest",
        "slos/other.yaml is not in the manifest",
    ]


@pytest.mark.parametrize("content", [None, "", "[]", "{}", '{"files": 1}'])
def test_a_manifest_that_says_nothing_is_a_difference(tmp_path, content):
    """Nothing passes by absence."""
    run_dir = build_run(tmp_path)
    if content is not None:
        (run_dir / "manifest.json").write_text(content)

    assert check_manifest(run_dir)
