"""`python -m tests.truth.parity SANDBOX_RUNS REAL_RUNS [--out docs/parity.md]`: the same verdicts on both clusters?

Reads the verdict.json of every run folder below the two folders, takes the newest run of each experiment on each
platform, and puts them side by side. Exit code 1 where a verdict differs, is not the table's, or is missing on a side.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.truth.rows import ROWS

HEAD = """# The same verdicts on the sandbox and on a real cluster

Written by `make real KUBECONFIG=FILE CONTEXT=NAME` from the verdict.json of each run; not by hand.

{about}

"Recovery" is the interval in which service was back, from the proven start; "-" where no request was bad. "Lost"
are the bad requests of the whole run, of so many scheduled. Figures are one run each: verdicts are what must agree.
Phases are shorter than in the shipped files ([rows.py](../tests/truth/rows.py)).

| experiment | platform | cluster | verdict | failed checks | recovery | lost |
|---|---|---|---|---|---|---|
"""


@dataclass(frozen=True, slots=True)
class Run:
    """What is told of one run."""

    experiment: str
    platform: str
    verdict: str
    failed: tuple[str, ...]
    recovery: str
    lost: str
    cluster: dict[str, Any]
    started_ns: int

    @classmethod
    def read(cls, path: Path) -> Run:
        """From a verdict.json."""
        verdict = json.loads(path.read_text(encoding="utf-8"))
        about, measured = verdict["environment"], verdict["measurements"]
        return cls(
            experiment=about["experiment"],
            platform=about["platform"],
            verdict=verdict["verdict"],
            failed=tuple(check["name"] for check in verdict["checks"] if check["verdict"] != "PASSED"),
            recovery=_recovery(measured.get("recovery")),
            lost=_lost(measured.get("requests")),
            cluster=about.get("cluster") or {},
            started_ns=about["started_wall_ns"],
        )


def newest(folder: Path) -> dict[tuple[str, str], Run]:
    """The newest run of each experiment on each platform below a folder."""
    found: dict[tuple[str, str], Run] = {}
    for run in sorted((Run.read(path) for path in folder.rglob("verdict.json")), key=lambda run: run.started_ns):
        found[run.experiment, run.platform] = run
    return found


def differences(sandbox: dict[tuple[str, str], Run], real: dict[tuple[str, str], Run]) -> list[str]:
    """A line for each row of the table that is missing somewhere, or whose verdicts differ."""
    lines = []
    expected = {(row.experiment, row.platform): "FAILED" if row.fails else "PASSED" for row in ROWS}
    for key in _keys(sandbox, real):
        here, there = sandbox.get(key), real.get(key)
        if here is None or there is None:
            lines.append(f"{' on '.join(key)}: no run on the {'sandbox' if here is None else 'real cluster'}")
        elif here.verdict != there.verdict:
            lines.append(f"{' on '.join(key)}: {here.verdict} on the sandbox, {there.verdict} on the real cluster")
        elif here.verdict != expected.get(key, here.verdict):
            lines.append(f"{' on '.join(key)}: {here.verdict} on both, and {expected[key]} was expected")
    return lines


def page(sandbox: dict[tuple[str, str], Run], real: dict[tuple[str, str], Run]) -> str:
    """docs/parity.md."""
    told = differences(sandbox, real)
    keys = _keys(sandbox, real)
    same = len(keys) - len(told)
    lines = [f"- {_cluster(runs)}" for runs in (sandbox, real)]
    lines += ["", f"**{same} of {len(keys)} rows have the same verdict on both.**", *(f"- {line}" for line in told)]
    rows = list(_rows(keys, sandbox, real))
    return HEAD.format(about="\n".join(lines)) + "\n".join(rows) + "\n"


def _rows(
    keys: list[tuple[str, str]], sandbox: dict[tuple[str, str], Run], real: dict[tuple[str, str], Run]
) -> Iterator[str]:
    for key in keys:
        for name, runs in (("sandbox", sandbox), ("real", real)):
            run = runs.get(key)
            if run is None:
                yield f"| {key[0]} | {key[1]} | {name} | no run | | | |"
            else:
                failed = ", ".join(f"`{check}`" for check in run.failed)
                yield f"| {key[0]} | {key[1]} | {name} | {run.verdict} | {failed} | {run.recovery} | {run.lost} |"


def _keys(*all_runs: dict[tuple[str, str], Run]) -> list[tuple[str, str]]:
    """The rows of the table in its order, then what else was run."""
    table = [(row.experiment, row.platform) for row in ROWS]
    return [*table, *sorted({key for runs in all_runs for key in runs} - set(table))]


def _cluster(runs: dict[tuple[str, str], Run]) -> str:
    found = next((run.cluster for run in runs.values() if run.cluster), {})
    name = "sandbox" if found.get("provider") == "sandbox" else "real"
    return f"{name}: Kubernetes {found.get('version', 'unknown')}, {found.get('nodes', 'unknown')} nodes"


def _recovery(measured: dict[str, Any] | None) -> str:
    if not measured or measured.get("by_ns") is None:
        return "never" if measured else "-"
    start, after, by = (measured[key] for key in ("start_ns", "after_ns", "by_ns"))
    return "-" if after == start else f"{(after - start) / 1e9:.2f} to {(by - start) / 1e9:.2f} s"


def _lost(measured: dict[str, Any] | None) -> str:
    return f"{measured['bad']:,} of {measured['scheduled']:,}" if measured else "-"


def main() -> int:
    """Write the page; 1 where the clusters differ."""
    parser = argparse.ArgumentParser(prog="python -m tests.truth.parity", description=__doc__)
    parser.add_argument("sandbox", type=Path)
    parser.add_argument("real", type=Path)
    parser.add_argument("--out", type=Path, default=Path("docs/parity.md"))
    given = parser.parse_args()
    sandbox, real = newest(given.sandbox), newest(given.real)
    given.out.write_text(page(sandbox, real), encoding="utf-8")
    told = differences(sandbox, real)
    sys.stdout.write("\n".join([*told, f"{given.out}: {len(told)} differences"]) + "\n")
    return 1 if told else 0


if __name__ == "__main__":
    sys.exit(main())
