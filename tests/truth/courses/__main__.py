"""All courses: `python -m tests.truth.courses [--only BATCHES] [--keep DIR]`; writes docs/truth.md when all were run.

Exit code 1 when a judgement was not the truth.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from fnmatch import fnmatch
from pathlib import Path

from loadtests.config import HTTP
from tests.truth.courses.compare import compare_all
from tests.truth.courses.document import tables, write
from tests.truth.courses.offer import offer
from tests.truth.courses.plan import Batch, batches
from tests.truth.courses.said import locust_said, poller_said
from tests.truth.courses.table import Line


def run(batch: Batch, folder: Path) -> list[Line]:
    """One batch, judged and compared."""
    watched = batch.load.protocol == HTTP  # what others are there that ask over gRPC?
    offered = offer(batch, folder / "load", bystanders=watched)
    return [
        Line(
            ours=one,
            poller=poller_said(offered, one) if watched else None,
            locust=locust_said(offered, one) if watched else None,
            rate=batch.load.rate,
            protocol=batch.load.protocol,
            user=batch.load.user,
            scheduler=offered.ready["scheduler"],
        )
        for one in compare_all(offered, folder / "judged")
    ]


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", help="batches, as a pattern: 'grpc-*'; may be given again")
    parser.add_argument("--keep", type=Path, help="a new folder for everything that was recorded")
    arguments = parser.parse_args()
    chosen = [batch for batch in batches() if any(fnmatch(batch.name, only) for only in arguments.only or ["*"])]
    if not chosen:
        parser.error(f"no batch is {' or '.join(arguments.only)}; there are {' '.join(b.name for b in batches())}")
    lines: list[Line] = []
    with tempfile.TemporaryDirectory(prefix="bulletproof-truth-") as temporary:
        for batch in chosen:
            found = run(batch, (arguments.keep or Path(temporary)) / batch.name)
            lines += found
            wrong = [line for line in found if line.ours.faults]
            print(f"{batch.name}: {len(found)} courses, {len(wrong)} judged wrongly", file=sys.stderr, flush=True)
            for line in wrong:
                one = line.ours
                print(f"  {one.course.name} {one.course.family}: {'; '.join(one.faults)}", file=sys.stderr, flush=True)
    print(*tables(lines).values(), sep="\n\n")
    if not arguments.only:
        write(lines)
    return 1 if any(line.ours.faults for line in lines) else 0


if __name__ == "__main__":
    sys.exit(main())
