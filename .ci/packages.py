"""`python .ci/packages.py FOLDER REQUIREMENTS`: FOLDER gets links to the installed packages that the file names, and to
all that they need.

For the platform's image out of the environment that CI has anyway, with no second download.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def closure(asked: Iterable[Requirement]) -> set[str]:
    """The distributions and what they require here; extras only where they are asked for (`tritonclient[http]`)."""
    found: set[tuple[str, str]] = set()
    waiting = [(each.name, extra) for each in asked for extra in ("", *each.extras)]
    while waiting:
        name, extra = waiting.pop()
        if (canonicalize_name(name), extra) in found:
            continue
        found.add((canonicalize_name(name), extra))
        for line in distribution(name).requires or ():
            needs = Requirement(line)
            if needs.marker is None or needs.marker.evaluate({"extra": extra}):
                waiting += [(needs.name, each) for each in ("", *needs.extras)]
    return {name for name, _ in found}


def main() -> int:
    folder, requirements = Path(sys.argv[1]), Path(sys.argv[2])
    lines = requirements.read_text(encoding="utf-8").splitlines()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        names = closure(Requirement(line) for line in lines if line.partition("#")[0].strip())
    except PackageNotFoundError as missing:
        sys.exit(f"{requirements}: {missing.name} is not installed here, and the image needs it. Run make setup.")
    for name in sorted(names):
        for file in distribution(name).files or ():
            top = file.parts[0]
            link = folder / top
            if top not in ("..", "__pycache__", "bin") and not link.is_symlink():
                link.symlink_to(Path(str(distribution(name).locate_file(top))).resolve())
    return 0


if __name__ == "__main__":
    sys.exit(main())
