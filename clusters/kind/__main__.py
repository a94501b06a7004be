"""`python -m clusters.kind stop|start CLUSTER NODE`: how experiments switch a kind cluster's nodes."""

from __future__ import annotations

import sys

from clusters.kind import nodes
from clusters.provider import ClusterError

ACTS = {"stop": nodes.stop, "start": nodes.start}


def main(arguments: list[str]) -> int:
    """0 when the node is as asked."""
    if len(arguments) != 3 or arguments[0] not in ACTS:
        sys.stderr.write(f"{__doc__}\n")
        return 64
    try:
        ACTS[arguments[0]](*arguments[1:])
    except ClusterError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
