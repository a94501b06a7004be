"""manifest.json: a hash of every file of a run, so that a report that was altered or mixed up shows."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

NAME = "manifest.json"
FORMAT = 1


def write_manifest(run_dir: Path) -> Path:
    """manifest.json describes every other file of the folder as it is now. Returns its path."""
    body = {"format": FORMAT, "algorithm": "sha256", "files": _hashes(run_dir)}
    path = run_dir / NAME
    temporary = run_dir / f".{NAME}"
    temporary.write_text(json.dumps(body, indent=2) + "\n", encoding="utf-8")
    temporary.replace(path)
    return path


def check_manifest(run_dir: Path) -> list[str]:
    """What differs from the manifest, a sentence each; empty when nothing does. A missing manifest is a difference."""
    try:
        body = json.loads((run_dir / NAME).read_text(encoding="utf-8"))
        written = {str(name): str(digest) for name, digest in body["files"].items()}
    except FileNotFoundError:
        return [f"{NAME} is missing"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return [f"{NAME} cannot be read: {error}"]
    found = _hashes(run_dir)
    return [
        *(f"{name} is missing" for name in sorted(written.keys() - found.keys())),
        *(f"{name} is not in the manifest" for name in sorted(found.keys() - written.keys())),
        *(f"{name} was altered" for name in sorted(written) if name in found and found[name] != written[name]),
    ]


def _hashes(run_dir: Path) -> dict[str, str]:
    own = (run_dir / NAME, run_dir / f".{NAME}")
    files = (path for path in run_dir.rglob("*") if path.is_file() and path not in own)
    return {path.relative_to(run_dir).as_posix(): _sha256(path) for path in sorted(files)}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
