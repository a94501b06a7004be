"""`python .ci/packages.py FOLDER NAME...`: FOLDER gets links to installed packages and to all that they need.

For an image of the reference server out of the environment that CI has anyway, with no second download.
"""

from __future__ import annotations

import re
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path


def closure(names: list[str]) -> set[str]:
    """The distributions and what they require here; extras only where they are asked for (`tritonclient[http]`)."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name, _, extra = waiting.pop().partition("[")
        name = re.sub(r"[-_.]+", "-", name).lower()
        if name in found and not extra:
            continue
        found.add(name)
        try:
            required = distribution(name).requires or []
        except PackageNotFoundError:
            found.discard(name)  # for another platform, or optional
            continue
        for line in required:
            word, _, marker = line.partition(";")
            if "extra ==" in marker and not (extra and f'"{extra.rstrip("]")}"' in marker.replace("'", '"')):
                continue
            waiting.append(re.match(r"[A-Za-z0-9._-]+(\[[^\]]*\])?", word.strip())[0])
    return found


def main() -> int:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name in sorted(closure(sys.argv[2:])):
        for file in distribution(name).files or ():
            top = file.parts[0]
            link = folder / top
            if top not in ("..", "__pycache__", "bin") and not link.is_symlink():
                link.symlink_to(Path(str(distribution(name).locate_file(top))).resolve())
    return 0


if __name__ == "__main__":
    sys.exit(main())
